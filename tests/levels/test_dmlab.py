"""DeepMind Lab: the adapter, against a double of the simulator's C module.

The simulator's wheel is on no package index. The last test runs where the real
module is installed.
"""

import importlib.util
import pathlib
import sys
import threading

import episodes
import numpy as np
import pytest
from absl.testing import absltest

import environments
from environments import dmlab, suites

DOUBLE = (
  pathlib.Path(__file__).absolute().parents[1] / 'doubles/deepmind_lab.py'
)
LEVEL = 'explore_goal_locations_small'


def use_double(monkeypatch):
  """Make `import deepmind_lab` find the double until the test ends."""
  spec = importlib.util.spec_from_file_location('deepmind_lab', DOUBLE)
  module = importlib.util.module_from_spec(spec)
  monkeypatch.setitem(sys.modules, 'deepmind_lab', module)
  spec.loader.exec_module(module)


@pytest.fixture
def make(monkeypatch):
  use_double(monkeypatch)
  made = []

  def make_one(level=LEVEL, seed=1, evaluation=False, **settings):
    made.append(
      environments.make(
        level, seed, evaluation, environments.Settings(**settings)
      )
    )
    return made[-1]

  yield make_one
  for environment in made:
    environment.close()


class ConformanceTest(episodes.Conformance, absltest.TestCase):
  def make_object_under_test(self):
    patch = pytest.MonkeyPatch()
    self.addCleanup(patch.undo)
    use_double(patch)
    return environments.make(LEVEL, 1)


def newest_lab():
  """Return the double that was made last."""
  return sys.modules['deepmind_lab'].made[-1]


def test_a_level_is_played_as_the_reference_plays_it(make):
  environment, lab = make(), newest_lab()
  assert lab.level == f'contributed/dmlab30/{LEVEL}'
  assert lab.renderer == 'software'
  assert lab.level_cache is None
  assert lab.config == {
    'width': '96',
    'height': '72',
    'datasetPath': '',
    'logLevel': 'WARN',
  }
  environment.reset()
  for action in range(9):
    environment.step(action)
  # experiment.py and environments.py of the reference.
  assert lab.actions == [
    ((0, 0, 0, 1, 0, 0, 0), 4),
    ((0, 0, 0, -1, 0, 0, 0), 4),
    ((0, 0, -1, 0, 0, 0, 0), 4),
    ((0, 0, 1, 0, 0, 0, 0), 4),
    ((-20, 0, 0, 0, 0, 0, 0), 4),
    ((20, 0, 0, 0, 0, 0, 0), 4),
    ((-20, 0, 0, 1, 0, 0, 0), 4),
    ((20, 0, 0, 1, 0, 0, 0), 4),
    ((0, 0, 0, 0, 1, 0, 0), 4),
  ]
  environment.reset()
  expected = np.random.RandomState(1)
  assert lab.seeds == [expected.randint(0, 2**31 - 1) for _ in range(2)]


def test_evaluation_plays_the_held_out_maps(make):
  make(evaluation=True)
  lab = newest_lab()
  assert lab.config['allowHoldOutLevels'] == 'true'
  assert lab.config['mixerSeed'] == '1611489005'


def test_settings_reach_the_simulator(make):
  environment = make(
    width=64,
    height=48,
    dataset_path='dummy',
    renderer='hardware',
    num_action_repeats=2,
    extended_actions=True,
  )
  lab = newest_lab()
  assert (lab.config['width'], lab.config['height']) == ('64', '48')
  assert lab.config['datasetPath'] == 'dummy'
  assert lab.config['gpuDeviceIndex'] == '0'
  assert lab.renderer == 'hardware'
  assert environment.action_spec().num_values == 15
  assert environment.reset().observation['RGB_INTERLEAVED'].shape == (48, 64, 3)
  for action in range(15):
    environment.step(action)
  assert lab.actions[7] == ((60, 0, 0, 0, 0, 0, 0), 2)
  assert len(set(lab.actions)) == 15
  with pytest.raises(ValueError, match='action must be 0 to 14, got 15'):
    environment.step(15)


def test_the_last_observation_is_repeated_at_the_end(make):
  environment = make()
  # Two seconds of 60 frames, four frames a step.
  timesteps = episodes.play(environment, 30)
  assert [timestep.last() for timestep in timesteps] == [False] * 30 + [True]
  last = timesteps[-1]
  assert last.discount == 0.0
  np.testing.assert_array_equal(
    last.observation['RGB_INTERLEAVED'],
    timesteps[-2].observation['RGB_INTERLEAVED'],
  )
  assert last.observation['INSTR'] == timesteps[-2].observation['INSTR']
  assert environment.step(0).first()


def test_the_same_seed_and_actions_repeat_the_same_episodes(make):
  episodes.check_seeds(lambda seed: make(seed=seed), 70)


@pytest.mark.parametrize(
  ('level', 'asked_for'),
  [
    ('tests/empty_room_test', 'tests/empty_room_test'),
    ('contributed/dmlab30/rooms_watermaze',) * 2,
    (
      'rooms_exploit_deferred_effects_test',
      'contributed/dmlab30/rooms_exploit_deferred_effects_test',
    ),
  ],
)
def test_levels_by_name_and_by_path(make, level, asked_for):
  environments.check(level)
  make(level)
  assert newest_lab().level == asked_for


def test_every_level_of_dmlab_30_can_be_played_by_one_network(monkeypatch):
  use_double(monkeypatch)
  for evaluation in (False, True):
    spec = environments.check_specs('dmlab30', evaluation=evaluation)
    assert spec.actions.num_values == 9
    made = {lab.level for lab in sys.modules['deepmind_lab'].made[-30:]}
    levels = suites.split('dmlab30', evaluation)
    assert made == {f'contributed/dmlab30/{level}' for level in levels}


def test_unknown_levels_and_broken_simulators_are_refused(make, monkeypatch):
  with pytest.raises(ValueError, match='must be a level of DeepMind'):
    make('tests/no_such')

  def fail(*arguments, **options):
    raise RuntimeError('Failed to connect RL API')

  monkeypatch.setattr(sys.modules['deepmind_lab'], 'Lab', fail)
  with pytest.raises(
    environments.MissingError, match=r'does not start.*RL API'
  ):
    make()


def test_maps_are_made_once_and_shared(make, tmp_path):
  folder = tmp_path / 'maps'
  for _ in range(2):
    make(level_cache=str(folder)).reset()
  (kept,) = folder.iterdir()
  assert kept.stat().st_size == 32


def test_a_map_is_whole_or_absent(make, tmp_path):
  make()
  cache = dmlab.LevelCache(str(tmp_path / 'maps'))
  source, target = tmp_path / 'source', tmp_path / 'target'
  source.write_bytes(b'x' * 1_000_000)
  assert not cache.fetch('a', str(target))
  stop = threading.Event()

  def write():
    while not stop.is_set():
      cache.write('a', str(source))

  thread = threading.Thread(target=write)
  thread.start()
  try:
    num_read = 0
    while num_read < 30:
      if cache.fetch('a', str(target)):
        assert target.stat().st_size == 1_000_000
        num_read += 1
  finally:
    stop.set()
    thread.join()
  assert [path.name for path in (tmp_path / 'maps').iterdir()] == ['a.pk3']


def test_a_missing_simulator_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'deepmind_lab', None)
  with pytest.raises(environments.MissingError, match='needs DeepMind Lab'):
    environments.make(LEVEL, seed=0)


@pytest.mark.skipif(
  not importlib.util.find_spec('deepmind_lab'),
  reason='deepmind_lab is not installed: its wheel is on no package index',
)
def test_the_real_simulator_plays():
  environment = environments.make(LEVEL, 1)
  timestep = environment.reset()
  for action in range(9):
    assert timestep.observation['RGB_INTERLEAVED'].shape == (72, 96, 3)
    assert isinstance(timestep.observation['INSTR'], str)
    timestep = environment.step(action)
  environment.close()
