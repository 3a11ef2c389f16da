"""Atari, on Tetris, whose ROM is inside ale_py, and on games that need ROMs."""

import dataclasses
import functools
import itertools
import pathlib
import shutil

import ale_py
import dm_env
import episodes
import numpy as np
import pytest
from absl.testing import absltest

import environments
from environments import atari

TETRIS = pathlib.Path(ale_py.__file__).parent / 'roms' / 'tetris.bin'
PLAIN = environments.Settings(max_noops=0)


def _has_rom(game):
  try:
    return bool(atari.find_rom(game))
  except environments.MissingError:
    return False


needs_roms = pytest.mark.skipif(
  not _has_rom('breakout'), reason='no Atari ROMs: see ALE_PY_ROM_DIR'
)


def make(game='tetris', seed=1, evaluation=False, settings=PLAIN):
  return atari.Atari(game, seed, evaluation, settings)


class TrainingConformanceTest(episodes.Conformance, absltest.TestCase):
  num_steps = 60
  evaluation = False

  def make_object_under_test(self):
    settings = environments.Settings(max_episode_frames=120)
    return make('tetris', 1, self.evaluation, settings)


class EvaluationConformanceTest(TrainingConformanceTest):
  evaluation = True


@pytest.mark.parametrize(
  'settings',
  [
    environments.Settings(max_episode_frames=100),
    environments.Settings(
      max_episode_frames=100, repeat_action_probability=0.5, max_noops=0
    ),
  ],
  ids=['no-ops', 'sticky'],
)
def test_seeds_repeat_episodes_exactly(settings):
  episodes.check_seeds(lambda seed: make(seed=seed, settings=settings), 80)


def load(game):
  """The emulator without the adapter, at the start of a game."""
  ale = ale_py.ALEInterface()
  ale.setFloat('repeat_action_probability', 0.0)
  ale.loadROM(atari.find_rom(game))
  ale.reset_game()
  return ale


def raw_screens(game, actions, num_repeats):
  """Every grey raw frame of a game, played without the adapter.

  Returns:
    The screen at the start and, for each action, `[repeats, 210, 160]`.
  """
  ale = load(game)
  raw_actions = ale.getMinimalActionSet()
  start = ale.getScreenGrayscale()
  steps, rewards = [], []
  for action in actions:
    reward, screens = 0, []
    for _ in range(num_repeats):
      reward += ale.act(raw_actions[action])
      screens.append(ale.getScreenGrayscale())
    steps.append(np.stack(screens))
    rewards.append(reward)
  return start, steps, rewards


@functools.cache
def area_weights(size_in, size_out):
  """`[out, in]`: share of each input cell in each output cell."""
  weights = np.zeros((size_out, size_in))
  for out in range(size_out):
    low, high = out * size_in / size_out, (out + 1) * size_in / size_out
    for cell in range(size_in):
      weights[out, cell] = max(0.0, min(high, cell + 1) - max(low, cell))
  return weights * size_out / size_in


def shrink(screen):
  rows, columns = (area_weights(size, 84) for size in screen.shape)
  return rows @ screen @ columns.T


@pytest.mark.parametrize(
  ('game', 'num_repeats'),
  [
    ('tetris', 1),
    ('tetris', 2),
    pytest.param('breakout', 4, marks=needs_roms),
    pytest.param('space_invaders', 4, marks=needs_roms),
  ],
)
def test_observations_against_a_slow_oracle(game, num_repeats):
  # Long enough to hit something that is worth more than a point.
  num_steps = 150 if game == 'space_invaders' else 40
  actions = np.random.default_rng(0).integers(4, size=num_steps)
  start, steps, rewards = raw_screens(game, actions, num_repeats)
  pictures = [shrink(start)] * 4
  pictures += [shrink(step[-2:].max(axis=0)) for step in steps]
  environment = make(
    game,
    evaluation=True,
    settings=environments.Settings(max_noops=0, num_action_repeats=num_repeats),
  )
  timesteps = [environment.reset()]
  timesteps += [environment.step(action) for action in actions]
  for index, timestep in enumerate(timesteps):
    wanted = np.stack(pictures[index : index + 4], axis=-1)
    assert timestep.observation.shape == (84, 84, 4)
    assert np.abs(timestep.observation - wanted).max() <= 0.51
  assert [timestep.reward for timestep in timesteps[1:]] == rewards
  assert max(rewards) > 1 or game != 'space_invaders'
  # The oracle saw movement, and frames where the maximum matters.
  assert any(np.abs(a - b).max() > 20 for a, b in itertools.pairwise(pictures))
  if num_repeats > 1:
    assert any((step[-1] < step[-2]).any() for step in steps)


@pytest.mark.parametrize('evaluation', [False, True])
def test_the_frame_limit_is_a_truncation_that_ends_the_game(evaluation):
  settings = environments.Settings(max_noops=0, max_episode_frames=38)
  environment = make(evaluation=evaluation, settings=settings)
  for _ in range(2):
    timesteps = episodes.play(environment, 10)
    assert [timestep.last() for timestep in timesteps] == [False] * 10 + [True]
    assert timesteps[-1].discount == 1.0
    assert environment.game_over
    assert environment.step(0).step_type is dm_env.StepType.FIRST
    assert not environment.game_over


def test_a_game_over_is_a_termination():
  environment = make(evaluation=True)
  for timestep in episodes.play(environment, 3):
    assert not timestep.last() and not environment.game_over
  while not timestep.last():
    timestep = environment.step(0)
  assert timestep.discount == 0.0
  assert environment.game_over


def count_noops(environment, limit):
  """No-ops of one start: frames missing until the limit truncates."""
  environment.reset()
  num_frames = 1
  while not environment.step(0).last():
    num_frames += 1
  return limit - num_frames


@pytest.mark.parametrize('evaluation', [False, True])
def test_games_start_with_one_to_max_noops(evaluation):
  settings = environments.Settings(
    num_action_repeats=1, max_noops=6, max_episode_frames=12
  )
  environment = make(evaluation=evaluation, settings=settings)
  counts = [count_noops(environment, 12) for _ in range(60)]
  assert set(counts) == set(range(1, 7))
  none = dataclasses.replace(settings, max_noops=0)
  assert count_noops(make(evaluation=evaluation, settings=none), 12) == 0


@needs_roms
def test_a_lost_life_ends_the_training_episode_and_the_game_goes_on():
  environment = make('breakout', settings=environments.Settings())
  rng = np.random.default_rng(0)
  timestep, ends, game_return, at_end = environment.reset(), [], 0.0, None
  while not ends or not ends[-1]:
    previous = timestep
    timestep = environment.step(rng.integers(4))
    if previous.last():
      assert timestep.first()
      picture = previous.observation[..., -1:]
      np.testing.assert_array_equal(
        timestep.observation, np.repeat(picture, 4, axis=-1)
      )
    else:
      game_return += timestep.reward
    if timestep.last():
      assert timestep.discount == 0.0
      ends.append(environment.game_over)
      at_end = timestep
  assert ends == [False] * 4 + [True]
  # What follows is a new game, with its bricks and points back.
  assert not np.array_equal(
    environment.step(0).observation[..., 0], at_end.observation[..., -1]
  )
  assert game_return > 0


def find_cut_life(rng):
  """Plays raw Breakout until a ball is lost before a step's last repeats.

  Returns:
    The actions, the picture of the frame in which the life was lost, and the
    picture of the step if it were not cut there.
  """
  while True:
    ale = load('breakout')
    raw_actions = ale.getMinimalActionSet()
    actions, lives, screens = [], [5], []
    while lives[-1] == 5:
      actions.append(rng.integers(4))
      stale = screens[-2:-1]
      screens, lives = [], []
      for _ in range(4):
        ale.act(raw_actions[actions[-1]])
        screens.append(ale.getScreenGrayscale())
        lives.append(ale.lives())
    cut = lives.index(4)
    picture = shrink(screens[cut])
    uncut_picture = shrink(np.maximum(*screens[-2:]))
    stale_picture = shrink(np.maximum(screens[cut], stale[0]))
    if cut < 2 and all(
      np.abs(picture - wrong).max() > 20
      for wrong in (uncut_picture, stale_picture)
    ):
      return actions, picture, uncut_picture


@needs_roms
def test_a_step_is_cut_short_where_a_life_is_lost():
  actions, picture, uncut_picture = find_cut_life(np.random.default_rng(0))
  for evaluation, wanted in ((False, picture), (True, uncut_picture)):
    environment = make('breakout', evaluation=evaluation)
    environment.reset()
    timesteps = [environment.step(action) for action in actions]
    assert [timestep.last() for timestep in timesteps] == (
      [False] * (len(actions) - 1) + [not evaluation]
    )
    newest = timesteps[-1].observation[..., -1]
    assert np.abs(newest - wanted).max() <= 0.51


@needs_roms
def test_the_door_hands_on_evaluation_and_settings():
  settings = environments.Settings(full_action_set=True, num_action_repeats=1)
  name = 'atari_breakout'
  assert environments.spec(name, settings).actions.num_values == 18
  in_batch = environments.make_batch(name, [0], settings=settings)
  assert in_batch.action_spec.num_values == 18
  for evaluation in (False, True):
    environment = environments.make(name, 0, evaluation)
    timestep = environment.reset()
    while not timestep.last():
      timestep = environment.step(1)
    assert environment.game_over == evaluation
    assert timestep.discount == 0.0


@pytest.mark.parametrize(
  ('game', 'is_full', 'num_actions'),
  [
    ('tetris', False, 5),
    ('tetris', True, 18),
    pytest.param('breakout', False, 4, marks=needs_roms),
    pytest.param('freeway', False, 3, marks=needs_roms),
  ],
)
def test_minimal_and_full_action_sets(game, is_full, num_actions):
  settings = environments.Settings(full_action_set=is_full)
  environment = make(game, settings=settings)
  assert environment.action_spec().num_values == num_actions
  environment.reset()
  environment.step(num_actions - 1)


@pytest.mark.parametrize('action', [-1, 5])
def test_other_actions_are_refused(action):
  environment = make()
  environment.reset()
  with pytest.raises(ValueError, match=f'0 to 4, got {action}'):
    environment.step(action)


needs_bare_package = pytest.mark.skipif(
  TETRIS.with_name('pong.bin').exists(),
  reason='ROMs stand inside the ale_py package',
)


@needs_bare_package
def test_a_missing_rom_names_the_ways_to_get_it(monkeypatch, tmp_path):
  monkeypatch.setenv('ALE_PY_ROM_DIR', str(tmp_path))
  with pytest.raises(environments.MissingError) as error:
    environments.make('atari_pong', seed=0)
  for part in ('./impala roms', 'ALE_PY_ROM_DIR=', str(tmp_path / 'pong.bin')):
    assert part in str(error.value)


@needs_bare_package
@pytest.mark.parametrize('content', [b'not the game', TETRIS.read_bytes()])
def test_another_dump_or_game_is_refused(monkeypatch, tmp_path, content):
  (tmp_path / 'pong.bin').write_bytes(content)
  monkeypatch.setenv('ALE_PY_ROM_DIR', str(tmp_path))
  with pytest.raises(environments.MissingError, match='md5'):
    atari.find_rom('pong')


def test_the_folder_that_is_named_goes_first(monkeypatch, tmp_path):
  monkeypatch.setenv('ALE_PY_ROM_DIR', str(tmp_path))
  assert atari.find_rom('tetris') == TETRIS
  shutil.copy(TETRIS, tmp_path)
  assert atari.find_rom('tetris') == tmp_path / 'tetris.bin'


@needs_roms
def test_games_of_other_actions_are_one_task_with_all_of_them():
  names = 'atari_pong,atari_breakout'
  with pytest.raises(ValueError, match='--full_action_set'):
    environments.check_specs(names)
  environments.check_specs(names, environments.Settings(full_action_set=True))
