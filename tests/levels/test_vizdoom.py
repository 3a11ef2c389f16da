"""ViZDoom's scenarios, on the real engine."""

import os
import pathlib
import subprocess
import sys

import episodes
import numpy as np
import processes
import psutil
import pytest
from absl.testing import absltest
from dm_env import StepType

import environments
from environments import vizdoom

IN_THE_PACKAGE = [
  level for level, file in vizdoom.SCENARIOS.items() if file != 'battle.cfg'
]


@pytest.fixture
def make():
  made = []

  def make_one(level='doom_basic', seed=1, **settings):
    made.append(
      environments.make(level, seed, settings=environments.Settings(**settings))
    )
    return made[-1]

  yield make_one
  for environment in made:
    environment.close()


class ConformanceTest(episodes.Conformance, absltest.TestCase):
  num_steps = 120

  def make_object_under_test(self):
    return environments.make('doom_basic', 1)


def engine(environment):
  """Return the process of the engine."""
  folder = str(environment._folder)
  found = [
    child
    for child in psutil.Process().children(recursive=True)
    if any(folder in part for part in child.cmdline())
  ]
  assert len(found) == 1
  return found[0]


@pytest.mark.parametrize('level', IN_THE_PACKAGE)
def test_every_scenario_of_the_package_plays(make, level):
  timesteps = episodes.play(make(level), 20)
  for timestep in timesteps:
    assert timestep.observation.shape == (72, 128, 3)
    assert timestep.observation.dtype == np.uint8
  assert np.std(timesteps[-1].observation) > 1


def test_actions_are_nothing_and_each_button(make):
  assert make().action_spec().num_values == 1 + 3
  # Of deathmatch's 20 buttons three are deltas.
  assert make('doom_deathmatch').action_spec().num_values == 1 + 17
  with pytest.raises(ValueError, match='action must be 0 to 3, got 4'):
    environment = make()
    environment.reset()
    environment.step(4)


def test_the_same_seed_and_actions_repeat_the_same_episodes(make):
  episodes.check_seeds(lambda seed: make(seed=seed), 200)


def test_a_timeout_is_a_truncation_and_repeats_the_last_image(make):
  environment = make()
  timestep = environment.reset()
  total, steps = 0.0, 0
  while not timestep.last():
    before = timestep
    timestep = environment.step(0)
    total += timestep.reward
    steps += 1
  # 300 tics of -1 each, four tics a step.
  assert (total, steps, timestep.discount) == (-300.0, 75, 1.0)
  np.testing.assert_array_equal(timestep.observation, before.observation)
  assert environment.step(0).step_type is StepType.FIRST


def test_a_death_is_a_termination(make):
  environment = make('doom_take_cover')
  timestep = environment.reset()
  while not timestep.last():
    timestep = environment.step(0)
  assert timestep.discount == 0.0


def test_a_crash_costs_its_episode_and_nothing_else(make):
  environment = make()
  environment.reset()
  for crashes in range(1, 4):
    shown = environment.step(0)
    assert shown.mid() and not environment.has_crashed
    engine(environment).kill()
    ended = environment.step(0)
    assert ended.last() and environment.has_crashed
    assert (ended.reward, ended.discount) == (0.0, 1.0)
    np.testing.assert_array_equal(ended.observation, shown.observation)
    assert environment.step(0).first() and not environment.has_crashed
    assert environment.num_restarts == crashes


def test_nothing_is_left_behind(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  environment = environments.make('doom_basic', 1)
  child, folder = engine(environment).pid, environment._folder
  episodes.play(environment, 5)
  assert os.listdir(tmp_path) == []
  environment.close()
  processes.wait_until(lambda: not processes.is_alive(child), 10)
  assert not folder.exists()


def test_the_engine_dies_with_its_parent_and_the_next_one_removes_its_files(
  make,
):
  code = """if True:
    import os, signal, environments, psutil
    environment = environments.make('doom_basic', 1)
    environment.reset()
    print(psutil.Process().children()[0].pid, environment._folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
  """
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  assert done.returncode == -9, done.stderr
  child, folder = done.stdout.split()
  processes.wait_until(lambda: not processes.is_alive(int(child)), 20)
  arguments = pathlib.Path(folder, 'arguments').read_text().split()
  name = arguments[arguments.index('+viz_instance_id') + 1]
  memory = pathlib.Path('/dev/shm', f'ViZDoomSM{name}')
  assert memory.exists()
  living = make()
  assert not memory.exists()
  assert not pathlib.Path(folder).exists()
  make()
  assert living._folder.exists()
  assert living.reset().first()


def test_a_missing_scenario_names_the_ways_to_get_it(monkeypatch, tmp_path):
  monkeypatch.setenv('IMPALA_SCENARIOS_DIR', str(tmp_path))
  with pytest.raises(
    environments.MissingError, match=rf'{tmp_path} or .*\./impala scenarios'
  ):
    vizdoom.find_scenario('doom_benchmark')
  mine = pathlib.Path(tmp_path, 'basic.cfg')
  mine.write_text('')
  assert vizdoom.find_scenario('doom_basic') == mine
