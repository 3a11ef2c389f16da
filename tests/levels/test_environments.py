import pytest

import environments


def test_the_names_are_those_of_every_simulator():
  assert len(environments.LEVEL_NAMES) == len(set(environments.LEVEL_NAMES))
  # Two levels of DMLab-30 have another name when tested.
  assert len(environments.LEVEL_NAMES) == 2 + 11 + 57 + 30 + 2 + 12
  assert environments.LEVEL_NAMES[:2] == ('catch', 'memory')
  for game in ('pong', 'space_invaders', 'ms_pacman', 'up_n_down', 'zaxxon'):
    environments.check(f'atari_{game}')
  for scenario in ('basic', 'benchmark', 'battle', 'deathmatch'):
    environments.check(f'doom_{scenario}')


@pytest.mark.parametrize(
  ('level_name', 'nearest'),
  [
    ('atari_spaceinvaders', 'nearest: atari_space_invaders'),
    ('pong', 'nearest: atari_pong'),
    ('PongNoFrameskip-v4', 'catch'),
    ('cach', 'nearest: catch'),
    ('x' * 30, 'catch'),
  ],
)
def test_an_unknown_level_lists_the_nearest(level_name, nearest):
  with pytest.raises(ValueError, match='level_name must be') as error:
    environments.make(level_name, seed=0)
  assert nearest in str(error.value)
  assert repr(level_name) in str(error.value)


@pytest.mark.parametrize(
  ('field', 'value', 'rule'),
  [
    ('num_action_repeats', 0, 'at least 1'),
    ('max_episode_frames', 0, 'at least 1'),
    ('max_noops', -1, 'at least 0'),
    ('repeat_action_probability', 1.0, 'below 1'),
    ('repeat_action_probability', -0.1, 'at least 0'),
    ('width', 90, 'a multiple of 4'),
    ('height', 0, 'a multiple of 4'),
    ('renderer', 'soft', 'software or hardware'),
  ],
)
def test_settings_out_of_range_are_refused(field, value, rule):
  with pytest.raises(ValueError, match=f'{field} must be .*{rule}.*{value}'):
    environments.Settings(**{field: value})


def test_frames_are_agent_steps_times_action_repeats():
  settings = environments.Settings(num_action_repeats=3)
  assert environments.action_repeats('atari_pong', settings) == 3
  assert environments.action_repeats('catch', settings) == 1
  with pytest.raises(ValueError, match='level_name must be'):
    environments.action_repeats('atari_tetris', settings)


@pytest.mark.parametrize(
  ('level_name', 'message'),
  [
    ('catch,cach', "nearest: catch.*got 'cach'"),
    ('catch,catch', "each level once, got 'catch,catch'"),
    ('catch,', "got ''"),
    ('atari58', "nearest: atari57.*got 'atari58'"),
    ('catch,atari57', "a suite alone or levels, got 'catch,atari57'"),
  ],
)
def test_wrong_lists_of_levels_are_refused(level_name, message):
  with pytest.raises(ValueError, match=f'level_name must.*{message}'):
    environments.check(level_name)


def test_levels_that_one_network_cannot_play_are_refused():
  with pytest.raises(
    ValueError, match=r'same observations and actions, got catch.*memory'
  ):
    environments.check_specs('catch,memory')


@pytest.mark.parametrize(
  ('level_name', 'seed', 'message'),
  [
    ('atari57', 0, "level_name must be one level, got 'atari57'"),
    ('catch', -1, 'seed must be at least 0, got -1'),
  ],
)
def test_one_environment_plays_one_level_by_a_seed(level_name, seed, message):
  with pytest.raises(ValueError, match=message):
    environments.make(level_name, seed)
