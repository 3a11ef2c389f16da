"""Atari, on Tetris, whose ROM is inside ale_py, and on games that need ROMs."""

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


def _has_rom(game):
  try:
    return bool(atari.find_rom(game))
  except environments.MissingError:
    return False


needs_roms = pytest.mark.skipif(
  not _has_rom('breakout'), reason='no Atari ROMs: see ALE_PY_ROM_DIR'
)


def make(game='tetris', seed=1, evaluation=False, max_noops=0, **settings):
  settings = atari.Settings(max_noops=max_noops, **settings)
  return atari.Atari(game, seed, evaluation, settings)


class TrainingConformanceTest(episodes.Conformance, absltest.TestCase):
  evaluation = False

  def make_object_under_test(self):
    return make('tetris', 1, self.evaluation, 30, max_episode_frames=120)


class EvaluationConformanceTest(TrainingConformanceTest):
  evaluation = True


@pytest.mark.parametrize(
  'settings', [{'max_noops': 30}, {'repeat_action_probability': 0.5}]
)
def test_seeds_repeat_episodes_exactly(settings):
  episodes.check_seeds(
    lambda seed: make(seed=seed, max_episode_frames=100, **settings), 80
  )


def load(game):
  """Return the emulator alone, at the start of a game."""
  ale = ale_py.ALEInterface()
  ale.setFloat('repeat_action_probability', 0.0)
  ale.loadROM(atari.find_rom(game))
  ale.reset_game()
  return ale


def repeat(ale, action, num_repeats):
  """Return the reward, and the grey screen and the lives after each frame."""
  raw_action, frames = ale.getMinimalActionSet()[action], []
  for _ in range(num_repeats):
    reward = ale.act(raw_action)
    frames.append((reward, ale.getScreenGrayscale(), ale.lives()))
  rewards, screens, lives = zip(*frames, strict=True)
  return sum(rewards), np.stack(screens), lives


@functools.cache
def area_weights(size_in, size_out):
  """Return `[out, in]`: fraction of each input cell in each output cell."""
  edges = np.arange(size_out + 1)[:, np.newaxis] * size_in / size_out
  cells = np.arange(size_in)
  overlap = np.minimum(edges[1:], cells + 1) - np.maximum(edges[:-1], cells)
  return overlap.clip(0) * size_out / size_in


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
  ale = load(game)
  images = [shrink(ale.getScreenGrayscale())] * 4
  rewards, steps, _ = zip(
    *(repeat(ale, action, num_repeats) for action in actions), strict=True
  )
  images += [shrink(step[-2:].max(axis=0)) for step in steps]
  environment = make(game, evaluation=True, num_action_repeats=num_repeats)
  timesteps = [environment.reset()]
  timesteps += [environment.step(action) for action in actions]
  for index, timestep in enumerate(timesteps):
    wanted = np.stack(images[index : index + 4], axis=-1)
    assert timestep.observation.shape == (84, 84, 4)
    assert np.abs(timestep.observation - wanted).max() <= 0.51
  assert [timestep.reward for timestep in timesteps[1:]] == [*rewards]
  assert max(rewards) > 1 or game != 'space_invaders'
  # The oracle saw movement, and frames where the maximum matters.
  assert any(np.abs(a - b).max() > 20 for a, b in itertools.pairwise(images))
  if num_repeats > 1:
    assert any((step[-1] < step[-2]).any() for step in steps)


@pytest.mark.parametrize('evaluation', [False, True])
def test_the_frame_limit_is_a_truncation_that_ends_the_game(evaluation):
  environment = make(evaluation=evaluation, max_episode_frames=38)
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


@pytest.mark.parametrize('evaluation', [False, True])
def test_games_start_with_one_to_max_noops(evaluation):
  def count_noops(environment):
    """Return how many of the 12 frames until the truncation are no-ops."""
    environment.reset()
    num_frames = 1
    while not environment.step(0).last():
      num_frames += 1
    return 12 - num_frames

  settings = {'num_action_repeats': 1, 'max_episode_frames': 12}
  environment = make(evaluation=evaluation, max_noops=6, **settings)
  assert {count_noops(environment) for _ in range(60)} == set(range(1, 7))
  assert count_noops(make(evaluation=evaluation, **settings)) == 0


@needs_roms
def test_a_lost_life_ends_the_training_episode_and_the_game_goes_on():
  environment = make('breakout', max_noops=30)
  rng = np.random.default_rng(0)
  timestep, ends, game_return = environment.reset(), [], 0.0
  while not ends or not ends[-1]:
    previous = timestep
    timestep = environment.step(rng.integers(4))
    if previous.last():
      assert timestep.first()
      image = previous.observation[..., -1:]
      np.testing.assert_array_equal(
        timestep.observation, np.repeat(image, 4, axis=-1)
      )
    else:
      game_return += timestep.reward
    if timestep.last():
      assert timestep.discount == 0.0
      ends.append(environment.game_over)
  assert ends == [False] * 4 + [True]
  # What follows is a new game, with its bricks and points back.
  assert not np.array_equal(
    environment.step(0).observation[..., 0], timestep.observation[..., -1]
  )
  assert game_return > 0


def find_cut_life(rng):
  """Play Breakout in the emulator until a life is lost early in a step.

  Returns:
    The actions, the image of the frame in which the life was lost, and the
    image of the step if it were not cut there.
  """
  while True:
    ale = load('breakout')
    actions, lives, screens = [], [5], None
    while lives[-1] == 5:
      actions.append(rng.integers(4))
      before = screens
      _, screens, lives = repeat(ale, actions[-1], 4)
    cut = lives.index(4)
    image = shrink(screens[cut])
    uncut_image = shrink(np.maximum(*screens[-2:]))
    stale_image = shrink(np.maximum(screens[cut], before[-2]))
    if cut < 2 and all(
      np.abs(image - wrong).max() > 20 for wrong in (uncut_image, stale_image)
    ):
      return actions, image, uncut_image


@needs_roms
def test_a_step_is_cut_short_where_a_life_is_lost():
  actions, image, uncut_image = find_cut_life(np.random.default_rng(0))
  for evaluation, wanted in ((False, image), (True, uncut_image)):
    environment = make('breakout', evaluation=evaluation)
    environment.reset()
    timesteps = [environment.step(action) for action in actions]
    assert [timestep.last() for timestep in timesteps] == (
      [False] * (len(actions) - 1) + [not evaluation]
    )
    newest = timesteps[-1].observation[..., -1]
    assert np.abs(newest - wanted).max() <= 0.51


@needs_roms
def test_make_passes_evaluation_and_settings_on():
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
def test_actions_of_minimal_and_full_sets(game, is_full, num_actions):
  environment = make(game, full_action_set=is_full)
  assert environment.action_spec().num_values == num_actions
  environment.reset()
  environment.step(num_actions - 1)
  for action in (-1, num_actions):
    with pytest.raises(ValueError, match=f'{num_actions - 1}, got {action}'):
      environment.step(action)


needs_bare_package = pytest.mark.skipif(
  TETRIS.with_name('pong.bin').exists(),
  reason='ROMs are inside the ale_py package',
)


@needs_bare_package
def test_a_missing_rom_names_the_ways_to_get_it(monkeypatch, tmp_path):
  monkeypatch.setenv('ALE_PY_ROM_DIR', str(tmp_path))
  with pytest.raises(
    environments.MissingError,
    match=f'{tmp_path}/pong.bin.*./impala roms.*ALE_PY_ROM_DIR=',
  ):
    environments.make('atari_pong', seed=0)


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
