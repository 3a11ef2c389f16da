"""Time by activity, and counts, of a node's thread."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

# Activity of a thread -> its state in the pipeline: 'busy' with its own work,
# 'waiting' for what comes before it, 'blocked' by what comes after it, or
# 'idle' because there is nothing to do.
ACTIVITIES: Mapping[str, str] = {
  # Actors.
  'environment': 'busy',
  'forward_pass': 'busy',
  'writing': 'busy',
  'acting': 'busy',  # What is left of a loop.
  'fetching_variables': 'waiting',
  'waiting_for_inference': 'waiting',
  'waiting_for_queue': 'blocked',
  # Inference server, which is at 'forward_pass' too.
  'waiting_for_requests': 'idle',
  'batching': 'busy',  # What is left of a loop.
  # Learner.
  'waiting_for_data': 'waiting',
  'learner_step': 'busy',
  'saving_checkpoint': 'busy',
  'learning': 'busy',  # What is left of a loop.
  # Evaluators.
  'playing': 'busy',
  # All.
  'starting': 'busy',
  'nothing_to_do': 'idle',
}


class Timer:
  """A thread's seconds by activity, and its counts; any thread may read them.

  A thread has one activity at any time, so that the seconds of all add up to
  the time since the timer was made.
  """

  def __init__(self) -> None:
    self._lock = threading.Lock()
    self._seconds: dict[str, float] = {}
    self._calls: dict[str, int] = {}
    self._counts: dict[str, float] = {}
    self._activity = 'starting'
    self._since = time.monotonic()

  @contextlib.contextmanager
  def measure(self, activity: str) -> Iterator[None]:
    """Count the time of a `with` block as an activity; see `ACTIVITIES`.

    Blocks inside it count as their own activity alone.
    """
    before = self._switch(activity)
    try:
      yield
    finally:
      with self._lock:
        self._calls[activity] = self._calls.get(activity, 0) + 1
      self._switch(before)

  def count(self, **more: float) -> None:
    """Add to counts, by name."""
    with self._lock:
      for name, value in more.items():
        self._counts[name] = self._counts.get(name, 0) + value

  def read(self) -> dict[str, Any]:
    """Return all sums since the timer was made.

    'activity_seconds' is how long the present activity lasts, which 'seconds'
    by activity include; 'kinds' of others than `ACTIVITIES` are busy.
    """
    with self._lock:
      now = time.monotonic()
      seconds = dict(self._seconds)
      seconds[self._activity] = (
        seconds.get(self._activity, 0.0) + now - self._since
      )
      return {
        'activity': self._activity,
        'activity_seconds': round(now - self._since, 3),
        'seconds': {name: round(sum_, 3) for name, sum_ in seconds.items()},
        'calls': dict(self._calls),
        'kinds': {name: ACTIVITIES.get(name, 'busy') for name in seconds},
        'counts': dict(self._counts),
      }

  def _switch(self, activity: str) -> str:
    with self._lock:
      now, before = time.monotonic(), self._activity
      self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
      self._activity, self._since = activity, now
      return before
