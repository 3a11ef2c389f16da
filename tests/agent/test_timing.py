"""Where a thread's time goes."""

import time

import pytest

from agents.impala import timing


class Clock:
  def __init__(self):
    self.now = 100.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  made = Clock()
  monkeypatch.setattr(time, 'monotonic', made)
  return made


def test_every_second_belongs_to_one_activity(clock):
  timer = timing.Timer()
  clock.now += 1
  with timer.measure('acting'):
    clock.now += 2
    for _ in range(3):
      with timer.measure('environment'):
        clock.now += 4
        with timer.measure('writing'):
          clock.now += 8
    clock.now += 16
  clock.now += 32
  told = timer.read()
  assert told['seconds'] == {
    'starting': 33,
    'acting': 18,
    'environment': 12,
    'writing': 24,
  }
  assert sum(told['seconds'].values()) == clock.now - 100
  assert told['calls'] == {'acting': 1, 'environment': 3, 'writing': 3}


def test_what_goes_on_counts_already(clock):
  timer = timing.Timer()
  with timer.measure('waiting_for_data'):
    clock.now += 50
    told = timer.read()
    assert told['activity'] == 'waiting_for_data'
    assert told['activity_seconds'] == 50
    assert told['seconds']['waiting_for_data'] == 50
    assert told['calls'] == {}
    assert told['kinds'] == {'starting': 'busy', 'waiting_for_data': 'waiting'}
  assert timer.read()['activity'] == 'starting'


def test_an_error_ends_the_activity(clock):
  timer = timing.Timer()
  with pytest.raises(KeyError), timer.measure('playing'):
    clock.now += 1
    raise KeyError
  assert timer.read()['activity'] == 'starting'
  assert timer.read()['calls'] == {'playing': 1}
