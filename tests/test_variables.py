"""Variables are fetched once for all actors of a machine."""

import threading

import numpy as np
import pytest

from programs import nodes, variables


class Learner:
  """Serves variables that are full of its learner step; counts the fetches."""

  def __init__(self, identity=1):
    self.identity, self.step = identity, 0
    self.fetched = []
    self._lock = threading.Lock()

  def get_variables(self, names):
    served = {
      'version': [np.int64(self.identity), np.int64(self.step)],
      'policy': [
        np.full((300, 7), self.step, np.float32),
        np.array(self.step, np.int64),
      ],
    }
    if 'policy' in names:
      with self._lock:
        self.fetched.append((self.identity, self.step))
    return [served[name] for name in names]


def make(learner, tmp_path, stop=None):
  return variables.SharedVariables(
    learner, tmp_path / 'variables', stop or threading.Event()
  )


def step_of(source):
  ((matrix, step),) = source.get_variables(['policy'])
  assert matrix.dtype == np.float32 and step.dtype == np.int64
  np.testing.assert_array_equal(matrix, np.full((300, 7), step))
  return int(step)


def test_many_actors_fetch_each_version_once(tmp_path):
  learner, barrier = Learner(), threading.Barrier(8)
  found = []

  def act():
    source = make(learner, tmp_path)
    for step in range(5):
      if barrier.wait(10) == 0:
        learner.step = step
      barrier.wait(10)
      found.append((step, step_of(source)))

  threads = [threading.Thread(target=act) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(30)
  assert sorted(found) == [(step, step) for step in range(5) for _ in range(8)]
  assert learner.fetched == [(1, step) for step in range(5)]


def test_nothing_is_read_while_there_is_nothing_newer(tmp_path):
  learner = Learner()
  source = make(learner, tmp_path)
  (first,) = source.get_variables(['policy'])
  (tmp_path / 'variables').unlink()
  (again,) = source.get_variables(['policy'])
  assert again is first and len(learner.fetched) == 1


def test_another_learner_counts_anew(tmp_path):
  learner = Learner()
  learner.step = 9
  assert step_of(make(learner, tmp_path)) == 9
  restarted = Learner(identity=2)
  restarted.step = 4  # Of its last checkpoint.
  assert step_of(make(restarted, tmp_path)) == 4
  assert restarted.fetched == [(2, 4)]


@pytest.mark.parametrize('content', [b'', b'\x93NUMPY\x01', b'no array'])
def test_a_damaged_file_is_replaced(tmp_path, content):
  learner = Learner()
  (tmp_path / 'variables').write_bytes(content)
  assert step_of(make(learner, tmp_path)) == 0
  assert step_of(make(learner, tmp_path)) == 0
  assert len(learner.fetched) == 1


def test_without_a_place_for_the_file_each_fetches(tmp_path):
  learner = Learner()
  (tmp_path / 'variables').mkdir()
  for count in (1, 2):
    assert step_of(make(learner, tmp_path)) == 0
    assert len(learner.fetched) == count


def test_a_wait_for_another_ends_with_the_program(tmp_path):
  stop = threading.Event()
  source, other = make(Learner(), tmp_path, stop), make(Learner(), tmp_path)
  with other._locked():
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(nodes.Stopped):
      source.get_variables(['policy'])
    timer.join()


def test_an_actor_that_ends_leaves_no_file(tmp_path):
  source = make(Learner(), tmp_path)
  step_of(source)
  assert (tmp_path / 'variables').stat().st_mode & 0o077 == 0
  source.close()
  assert not list(tmp_path.iterdir())
  source.close()


def test_runs_do_not_share(tmp_path):
  one, same, other = map(variables.shared_path, ('/r/a', '/r/a', '/r/b'))
  assert one == same != other
