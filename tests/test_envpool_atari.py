"""EnvPool's batch against ours, game by game, and where they must differ."""

import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import tree

import environments
from agents.impala import config
from environments import atari, batch, suites
from programs import runs


def _has_rom(game):
  try:
    return bool(atari.find_rom(game))
  except environments.MissingError:
    return False


needs_roms = pytest.mark.skipif(
  not _has_rom('breakout'), reason='no Atari ROMs: see ALE_PY_ROM_DIR'
)


def settings(engine='envpool', max_noops=1, **others):
  return environments.Settings(
    atari_engine=engine, max_noops=max_noops, **others
  )


class Counts(NamedTuple):
  """What happened: a test that saw none of it has shown little.

  Attributes:
    lost: Lives, in games that went on.
    over: Games that terminated.
    truncated: Games that were.
    stale: Games that were over before the last two frames of a step.
    rewarded: Lost lives in a step that gave a reward.
  """

  lost: int
  over: int
  truncated: int
  stale: int
  rewarded: int


class UncutAtari(atari.Atari):
  """Ends an episode after the agent step in which a life is lost, not in it."""

  def _repeat(self, raw_action):
    ends, self._ends_at_lost_life = self._ends_at_lost_life, False
    reward = super()._repeat(raw_action)
    self._ends_at_lost_life = ends
    return reward


def make_uncut(games, how):
  """What EnvPool is to show, from the emulator of ale_py."""
  return batch.EnvironmentBatch([UncutAtari(g, 0, False, how) for g in games])


def assert_equal(pool, ale):
  """Compares timesteps of a batch of EnvPool's and one of ours, of all fields.

  Returns:
    How many newest pictures of games that are over are the one before.
  """
  for name in pool._fields[1:]:
    np.testing.assert_array_equal(getattr(pool, name), getattr(ale, name), name)
  differs = (pool.observation != ale.observation).any(axis=(1, 2, 3))
  for index in np.flatnonzero(differs):
    assert np.isfinite(pool.episode_return[index])
    assert pool.discount[index] == 0.0
    stale, wanted = pool.observation[index], ale.observation[index]
    np.testing.assert_array_equal(stale[..., :3], wanted[..., :3])
    np.testing.assert_array_equal(stale[..., 3], stale[..., 2])
  return int(differs.sum())


def play_both(pool, ale, num_steps, resets=()):
  """Steps both with the same random actions; compares all that they show."""
  assert pool.observation_spec == ale.observation_spec
  assert pool.action_spec == ale.action_spec
  rng, num = np.random.default_rng(0), pool.num_environments
  lost = over = truncated = stale = rewarded = 0
  for index in range(num_steps):
    actions = rng.integers(pool.action_spec.num_values, size=num)
    shown, wanted = pool.step(actions), ale.step(actions)
    if index in resets:
      shown, wanted = pool.reset(), ale.reset()
    stale += assert_equal(shown, wanted)
    has_ended = np.isfinite(shown.episode_return)
    has_terminated = (shown.discount == 0) & ~shown.start_of_episode
    is_lost = has_terminated & ~has_ended
    lost += int(is_lost.sum())
    rewarded += int((is_lost & (shown.reward != 0)).sum())
    over += int((has_terminated & has_ended).sum())
    truncated += int((has_ended & ~has_terminated).sum())
  return Counts(lost, over, truncated, stale, rewarded)


@needs_roms
@pytest.mark.parametrize(
  'game', ['pong', 'breakout', 'seaquest', 'space_invaders', 'qbert']
)
def test_both_engines_show_the_same(game):
  # Where a whole number of steps is left after the no-op, limits agree too.
  how = settings(max_episode_frames=1 + 4 * 600)
  pool = environments.make_batch(f'atari_{game}', [1, 2], 0, how)
  ale = make_uncut([game] * 2, how)
  counts = play_both(pool, ale, 1000, resets=(5, 650))
  if game == 'pong':
    assert counts == Counts(lost=0, over=0, truncated=2, stale=0, rewarded=0)
  else:
    assert counts.lost and counts.over
    assert counts.stale or game != 'breakout'


@needs_roms
def test_the_engine_in_use_shows_the_same_until_a_life_is_lost():
  pool, ale = [
    environments.make_batch('atari_breakout', [1, 2], 0, settings(engine))
    for engine in ('envpool', 'gym')
  ]
  assert isinstance(ale, batch.EnvironmentBatch)
  rng = np.random.default_rng(0)
  for num_steps in range(1000):
    actions = rng.integers(4, size=2)
    shown, wanted = pool.step(actions), ale.step(actions)
    if num_steps and not shown.discount.all():
      break
    assert_equal(shown, wanted)
  assert 10 < num_steps < 999


@needs_roms
def test_the_engine_in_use_shows_the_same_where_there_are_no_lives():
  pool, ale = [
    environments.make_batch('atari_pong', [1], 0, settings(engine))
    for engine in ('envpool', 'gym')
  ]
  counts = play_both(pool, ale, 1300)
  assert counts == Counts(lost=0, over=1, truncated=0, stale=0, rewarded=0)


@needs_roms
@pytest.mark.parametrize('num_repeats', [2, 40])
def test_any_number_of_repeats_from_two_is_the_same(num_repeats):
  how = settings(num_action_repeats=num_repeats)
  pool = environments.make_batch('atari_riverraid', [1, 2], 0, how)
  counts = play_both(pool, make_uncut(['riverraid'] * 2, how), 100)
  if num_repeats == 40:
    assert counts.over and counts.rewarded


@needs_roms
def test_sticky_actions_are_the_same_for_the_same_random_numbers():
  how = settings(repeat_action_probability=0.25)
  pool = environments.make_batch('atari_breakout', [1, 2], 0, how)
  first_seed = pool._pools[0][1].config['seed']
  games = []
  for index in range(2):
    games.append(UncutAtari('breakout', 0, False, how))
    games[-1]._ale = atari._load_game('breakout', first_seed + index, how)
  counts = play_both(pool, batch.EnvironmentBatch(games), 600)
  assert counts.lost and counts.over


@needs_roms
def test_several_games_are_one_batch():
  how = settings(full_action_set=True)
  games = ('pong', 'breakout', 'qbert')
  names = ','.join(f'atari_{game}' for game in games)
  pool = environments.make_batch(names, [1, 2, 3, 4, 5], 1, how)
  assert pool.levels.tolist() == [1, 2, 0, 1, 2]
  assert pool.levels.dtype == np.int32
  ale = make_uncut([games[level] for level in pool.levels], how)
  counts = play_both(pool, ale, 400, resets=(333,))
  assert counts.lost and counts.over


@pytest.mark.slow
@needs_roms
@pytest.mark.parametrize(
  'level',
  [
    pytest.param(level, marks=() if number % 8 == 0 else pytest.mark.thorough)
    for number, level in enumerate(suites.suites()['atari57'].levels)
  ],
)
def test_every_game_is_the_same(level):
  how = settings()
  pool = environments.make_batch(level, [1, 2], 0, how)
  ale = make_uncut([level.removeprefix(suites.ATARI_PREFIX)] * 2, how)
  play_both(pool, ale, 500)


@needs_roms
def test_games_of_other_actions_are_refused():
  with pytest.raises(ValueError, match='action_spec must be equal'):
    environments.make_batch('atari_pong,atari_breakout', [1, 2], 0, settings())


@needs_roms
@pytest.mark.parametrize('engine', environments.ATARI_ENGINES)
@pytest.mark.parametrize('game', ['breakout', 'pong'])
def test_each_stack_is_the_one_before_moved_on_by_a_picture(engine, game):
  how = settings(engine, max_noops=30, max_episode_frames=600)
  pool = environments.make_batch(f'atari_{game}', [1, 2, 3], 0, how)
  rng, num_starts, num_lost = np.random.default_rng(0), 0, 0
  before = tree.map_structure(np.copy, pool.reset())
  for _ in range(450):
    shown = pool.step(rng.integers(4, size=3))
    starts, stacks = shown.start_of_episode, shown.observation
    assert (stacks[starts] == stacks[starts][..., -1:]).all()
    np.testing.assert_array_equal(
      stacks[~starts][..., :3], before.observation[~starts][..., 1:]
    )
    # After a lost life the first picture is the last one before.
    is_lost = ~before.start_of_episode & (before.discount == 0)
    is_lost &= np.isnan(before.episode_return)
    assert starts[is_lost].all()
    np.testing.assert_array_equal(
      stacks[is_lost][..., -1], before.observation[is_lost][..., -1]
    )
    num_starts += starts.sum()
    num_lost += is_lost.sum()
    before = tree.map_structure(np.copy, shown)
  assert num_starts >= 6 and bool(num_lost) == (game == 'breakout')


@needs_roms
def test_games_start_with_one_to_max_noops():
  how = settings(max_noops=6)
  ale = atari._load_game('freeway', 0, how)
  ale.reset_game()
  num_noops = {}  # Picture -> after how many: the cars move in every frame.
  for count in range(30):
    screen = ale.getScreenGrayscale()
    picture = cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)
    assert num_noops.setdefault(picture.tobytes(), count) == count
    ale.act(0)
  pool = environments.make_batch('atari_freeway', range(8), 0, how)
  counts = set()
  for _ in range(8):
    starts = pool.reset().observation[..., -1]
    counts |= {num_noops[start.tobytes()] for start in starts}
  assert counts == set(range(1, 7))


@needs_roms
def test_the_same_seeds_repeat_the_same_episodes():
  def play(seeds):
    how = settings(max_noops=30, repeat_action_probability=0.25)
    pool = environments.make_batch('atari_breakout', seeds, 0, how)
    rng = np.random.default_rng(0)
    shown = []
    for _ in range(200):
      # The same actions in all: only the seeds make them differ.
      shown.append(pool.step(np.repeat(rng.integers(4), 3)).observation.copy())
    return np.stack(shown)

  first = play([1, 2, 3])
  np.testing.assert_array_equal(play([1, 2, 3]), first)
  other = play([2, 3, 4])
  streams = [*np.moveaxis(first, 1, 0), *np.moveaxis(other, 1, 0)]
  assert len({stream.tobytes() for stream in streams}) == 6


@needs_roms
def test_actions_are_checked_where_they_are_executed():
  pool = environments.make_batch('atari_pong', [1, 2], 0, settings())
  pool.step(np.array([6, -1]))  # Starts the first episode.
  with pytest.raises(ValueError, match=r'actions must be 0 to 5, got \[0, 6\]'):
    pool.step(np.array([0, 6]))
  with pytest.raises(ValueError, match=r'0 to 5, got \[-1, 0\]'):
    pool.step(np.array([-1, 0]))
  with pytest.raises(ValueError, match=r'shape \(2,\), got \(3,\)'):
    pool.step(np.zeros(3, int))


@needs_roms
def test_threads_sleep_are_free_to_move_and_end():
  tasks = pathlib.Path('/proc/self/task')
  before = {path.name for path in tasks.iterdir()}
  pool = environments.make_batch('atari_pong', [1, 2], 0, settings())
  pool.step(np.zeros(2, int))
  threads = {path.name for path in tasks.iterdir()} - before
  assert threads
  for thread in threads:
    assert os.sched_getaffinity(int(thread)) == os.sched_getaffinity(0)
  time.sleep(0.1)
  start = time.process_time()
  time.sleep(0.5)
  assert time.process_time() - start < 0.1
  pool.close()
  assert not threads & {path.name for path in tasks.iterdir()}


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'num_action_repeats': 1}, 'num_action_repeats must be at least 2 .*1'),
    ({'max_noops': 0}, 'max_noops must be at least 1 .*0'),
  ],
)
def test_what_envpool_cannot_do_is_refused(fields, message):
  how = settings(**fields)
  for level_name in ('atari_pong', 'atari57'):
    with pytest.raises(ValueError, match=message):
      runs.Configuration(
        runs.RunConfig(level_name=level_name, num_envs_per_actor=57),
        config.ImpalaConfig(),
        how,
      )
    with pytest.raises(ValueError, match=message):
      environments.make_batch(level_name, [1], 0, how)
  # No matter of levels that it does not step, nor of the other engine.
  environments.make_batch('catch', [1], 0, how).close()
  environments.check_engine('atari_pong', settings('gym', **fields))


def test_processes_are_refused():
  with pytest.raises(ValueError, match=r'env_processes must be 0 .*got 2'):
    runs.Configuration(
      runs.RunConfig('atari_pong', num_envs_per_actor=4, env_processes=2),
      config.ImpalaConfig(),
      settings(),
    )


def test_another_engine_is_refused():
  with pytest.raises(ValueError, match="gym, envpool, got 'ale'"):
    settings('ale')


def test_a_missing_package_says_what_mends_it(monkeypatch):
  monkeypatch.delitem(sys.modules, 'environments.envpool_atari', False)
  monkeypatch.delattr(environments, 'envpool_atari', False)
  monkeypatch.setitem(sys.modules, 'envpool', None)
  with pytest.raises(environments.MissingError, match=r'package envpool .*pip'):
    environments.make_batch('atari_pong', [1], 0, settings())


@needs_roms
def test_roms_are_those_that_were_asked_for(monkeypatch, tmp_path):
  monkeypatch.setenv('ALE_PY_ROM_DIR', str(tmp_path))
  # EnvPool has its own; without ours nobody has said that he may use them.
  monkeypatch.setattr(environments, 'spec', lambda *_: None)
  with pytest.raises(environments.MissingError, match=str(tmp_path)):
    environments.make_batch('atari_pong', [1], 0, settings())


def test_importing_it_prints_nothing():
  child = subprocess.run(
    [sys.executable, '-c', 'from environments import envpool_atari'],
    capture_output=True,
    cwd=pathlib.Path(environments.__file__).parents[1],
    timeout=120,
    check=True,
  )
  assert child.stdout + child.stderr == b''
