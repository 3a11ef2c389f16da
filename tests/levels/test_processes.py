"""Environments in child processes that are really killed."""

import functools
import os
import pathlib
import signal
import subprocess
import sys

import dm_env
import numpy as np
import processes as looks
import pytest
from dm_env import specs

import environments
from environments import batch, catch, processes


class Broken(dm_env.Environment):
  """Die or raise `error` at a place: `step` is step 3 of episode 2."""

  def __init__(self, where, error=None, folder=None):
    self._where, self._error, self._folder = where, error, folder
    self._episode = self._step = 0
    if where == 'constructor':
      self._break()

  def _break(self):
    if self._error is None:
      os.kill(os.getpid(), signal.SIGKILL)
    raise self._error

  def reset(self):
    self._episode, self._step = self._episode + 1, 0
    if self._where == 'reset':
      self._break()
    return dm_env.restart(self._observe())

  def step(self, action):
    self._step += 1
    if self._where == 'step' and self._episode == 2 and self._step == 3:
      self._break()
    if self._step == 4:
      return dm_env.termination(1.0, self._observe())
    return dm_env.transition(1.0, self._observe())

  def _observe(self):
    return np.array([self._episode, self._step], np.int32)

  def observation_spec(self):
    return specs.Array((2,), np.int32)

  def action_spec(self):
    return specs.DiscreteArray(2, np.int32)

  def close(self):
    if self._folder:
      pathlib.Path(self._folder, f'{os.getpid()}').touch()


@pytest.fixture
def make():
  made = []

  def make_batch(factories, num_processes):
    made.append(
      processes.ProcessBatch(factories, [0] * len(factories), num_processes)
    )
    return made[-1]

  yield make_batch
  for one in made:
    one.close()


def copy(timestep):
  return batch.BatchTimeStep(*(np.array(part) for part in timestep))


def assert_equal(left, right):
  for name, a, b in zip(left._fields, left, right, strict=True):
    np.testing.assert_array_equal(a, b, err_msg=name)


def catches(num):
  return [functools.partial(catch.Catch, seed) for seed in range(num)]


@pytest.mark.parametrize('num_processes', [1, 2, 5])
def test_it_shows_what_the_same_environments_show_here(make, num_processes):
  here = batch.EnvironmentBatch([factory() for factory in catches(5)])
  there = make(catches(5), num_processes)
  assert there.observation_spec == here.observation_spec
  assert there.action_spec == here.action_spec
  assert_equal(here.reset(), there.reset())
  for actions in np.random.default_rng(0).integers(3, size=(60, 5)):
    assert_equal(here.step(actions), there.step(actions))
  assert_equal(here.reset(), there.reset())


def test_strings_come_through_whole(make):
  factories = [functools.partial(Instructed, name) for name in ('é', 'b' * 500)]
  there = make(factories, 2)
  for _ in range(4):
    shown = there.step(np.zeros(2, int)).observation['INSTR']
  assert shown.tolist() == ['é 1', f'{"b" * 500} 1']
  assert shown.dtype == object


class Instructed(Broken):
  """`Broken` with an instruction in its observation."""

  def __init__(self, name):
    super().__init__('nowhere')
    self._name = name

  def observation_spec(self):
    return {
      'RGB': specs.Array((2,), np.int32),
      'INSTR': specs.StringArray((), str),
    }

  def _observe(self):
    numbers = super()._observe()
    return {'RGB': numbers, 'INSTR': f'{self._name} {self._episode}'}


def test_a_killed_process_costs_its_episode_and_nothing_else(make):
  """Kill one of three processes twenty times in the middle of an episode."""
  there = make(catches(6), 3)
  here = batch.EnvironmentBatch([factory() for factory in catches(6)])
  assert_equal(here.reset(), there.reset())
  rng = np.random.default_rng(0)
  others = [0, 1, 4, 5]
  for death in range(1, 21):
    # Nine steps an episode, and one of the reset.
    for _ in range(10 + 3):
      actions = rng.integers(3, size=6)
      expected, found = here.step(actions), copy(there.step(actions))
      for name, a, b in zip(found._fields, expected, found, strict=True):
        np.testing.assert_array_equal(a[others], b[others], err_msg=name)
    os.kill(there._children[1].pid, signal.SIGKILL)
    here.step(actions)
    was_due = there._needs_reset[2:4].copy()
    before, after = found, copy(there.step(actions))
    assert after.environment_restarts.tolist() == [0, 0, death, death, 0, 0]
    for index, due in zip((2, 3), was_due, strict=True):
      assert after.start_of_episode[index] == due
      assert after.discount[index] == (0.0 if due else 1.0)
      assert after.reward[index] == 0.0
      assert np.isnan(after.episode_return[index])
      if not due:
        np.testing.assert_array_equal(
          after.observation[index], before.observation[index]
        )
    following = there.step(actions)
    here.step(actions)
    assert (following.start_of_episode[2:4] == ~was_due).all()


class Restarted(Broken):
  """An environment that restarts at every reset but the first."""

  num_restarts = 0

  def __init__(self):
    super().__init__('nowhere')

  def reset(self):
    self.num_restarts += self._episode > 0
    return super().reset()


def test_restarts_by_themselves_and_of_processes_add_up(make):
  there = make([Restarted] * 3, 2)  # One, and two together.
  there.reset()

  def step():
    return there.step(np.zeros(3, int)).environment_restarts.tolist()

  # Four steps an episode, and one of the reset.
  assert [step() for _ in range(5)] == [[0, 0, 0]] * 4 + [[1, 1, 1]]
  os.kill(there._children[1].pid, signal.SIGKILL)
  assert step() == [1, 2, 2]
  # The first reset of the new process is not counted.
  assert [step() for _ in range(4)] == [[1, 2, 2]] * 3 + [[2, 2, 2]]
  assert [step() for _ in range(2)] == [[2, 2, 2], [2, 3, 3]]


@pytest.mark.parametrize('where', ['constructor', 'reset'])
def test_what_keeps_dying_ends_it_with_the_reason(make, where):
  with pytest.raises(
    RuntimeError,
    match=r'0 to 0 died 5 times in a row.*SIGKILL',
  ):
    make([functools.partial(Broken, where)], 1).reset()


@pytest.mark.parametrize('where', ['constructor', 'reset', 'step'])
@pytest.mark.parametrize(
  'error', [ValueError('of mine'), environments.MissingError('no ROM')]
)
def test_an_exception_comes_back_whole(make, where, error):
  def play():
    there = make([functools.partial(Broken, where, error)] * 2, 2)
    there.reset()
    for _ in range(20):
      there.step(np.zeros(2, int))

  with pytest.raises(type(error), match=str(error)) as caught:
    play()
  text = str(caught.value.__cause__)
  assert 'in _break' in text
  assert 'test_processes.py' in text


def test_close_closes_the_environments(make, tmp_path):
  factory = functools.partial(Broken, 'nowhere', folder=str(tmp_path))
  there = make([factory] * 3, 2)
  pids = [child.pid for child in there._children]
  there.reset()
  there.close()
  assert not any(looks.is_alive(pid) for pid in pids)
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
    map(str, pids)
  )


def test_children_end_with_a_killed_parent():
  """Also where a simulator is at something that takes long."""
  code = """if True:
    import functools, os, psutil, signal, threading, time
    from environments import processes
    arguments = [functools.partial(time.sleep, 60)] * 3, [0] * 3, 3
    threading.Thread(target=processes.ProcessBatch, args=arguments).start()
    time.sleep(2)
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
  """
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  pids = [int(word) for word in done.stdout.split()]
  assert len(pids) == 3, done.stderr
  looks.wait_until(lambda: not any(map(looks.is_alive, pids)), 20)


def test_different_specs_are_refused(make):
  with pytest.raises(ValueError, match='specs must be equal'):
    make([functools.partial(Broken, 'nowhere'), *catches(1)], 2)
  with pytest.raises(ValueError, match='num_processes must be from 1 to 2'):
    make(catches(2), 3)
