"""The learner's counts and metrics."""

import collections
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import sonnet as snt
import tensorflow as tf
from acme.utils import loggers

from agents.impala import timing

_RECENT_EPISODES = 100  # Of each level, that the logged return is the mean of.


class Counts(snt.Module):
  """Progress of learning, saved in the same checkpoint as the variables.

  Attributes:
    frames: Rows of unrolls taken from the queue x action repeats.
    executed_frames: The same without rows of episodes' last observations.
    episodes: Episodes, over all lives, that ended in those rows.
  """

  def __init__(self) -> None:
    super().__init__(name='counts')
    self.frames = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.executed_frames = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.learner_steps = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.episodes = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.environment_restarts = tf.Variable(0, dtype=tf.int64, trainable=False)


class Episodes(NamedTuple):
  """N episodes, over all lives, that ended in a batch; `[N]` each."""

  level: np.ndarray  # int32, index of the level.
  episode_return: np.ndarray  # float32, neither discounted nor clipped.
  episode_steps: np.ndarray  # int32, agent steps.


class LearnerMetrics:
  """Means over learner steps, logged as a record every few seconds.

  `queue_size` is called for each record. `on_episodes` is called for each
  learner step, with the frames learned and the episodes that ended.
  """

  def __init__(
    self,
    logger: loggers.Logger,
    period_seconds: float,
    queue_size: Callable[[], float],
    on_episodes: Callable[[int, Episodes], None],
    timer: timing.Timer,
  ) -> None:
    self._logger = logger
    self._period = period_seconds
    self._queue_size = queue_size
    self._on_episodes = on_episodes
    self._timer = timer
    self.record: Mapping[str, float] = {}  # The last one that was written.
    self._recent: dict[int, collections.deque[tuple[float, int]]] = (
      collections.defaultdict(
        lambda: collections.deque(maxlen=_RECENT_EPISODES)
      )
    )
    self._begin_record()

  def _begin_record(self) -> None:
    self._record_started = time.monotonic()
    self._statistics: dict[str, list[float]] = collections.defaultdict(list)
    self._waited_before = self._waited()

  def add(
    self,
    statistics: Mapping[str, float],
    episodes: Episodes,
    counts: Counts,
  ) -> None:
    """Add one learner step; write a record when one is due."""
    for level, *episode in zip(
      *(part.tolist() for part in episodes), strict=True
    ):
      self._recent[level].append(tuple(episode))
    self._on_episodes(int(counts.frames.numpy()), episodes)
    for name, value in statistics.items():
      self._statistics[name].append(value)
    if time.monotonic() - self._record_started >= self._period:
      self._write(counts)

  def close(self, counts: Counts) -> None:
    """Write the last record and close the logger."""
    if self._statistics:
      self._write(counts)
    self._logger.close()

  def _write(self, counts: Counts) -> None:
    elapsed = time.monotonic() - self._record_started
    reduce = {'policy_lag_min': min, 'policy_lag_max': max}
    waited = self._waited() - self._waited_before
    self.record = {
      'time': time.time(),
      'frames': int(counts.frames.numpy()),
      'executed_frames': int(counts.executed_frames),
      'learner_steps': int(counts.learner_steps),
      'episodes': int(counts.episodes),
      'environment_restarts': int(counts.environment_restarts),
      'episode_return': self._mean_over_levels(0),
      'episode_steps': self._mean_over_levels(1),
      'learner_steps_per_second': len(self._statistics['loss']) / elapsed,
      'learner_wait_share': min(waited / elapsed, 1.0),
      'queue_size': self._queue_size(),
      **{
        name: reduce.get(name, _mean)(values)
        for name, values in self._statistics.items()
      },
    }
    self._logger.write(self.record)
    self._begin_record()

  def _waited(self) -> float:
    return self._timer.read()['seconds'].get('waiting_for_data', 0.0)

  def _mean_over_levels(self, part: int) -> float:
    """Return the mean over levels of each level's recent episodes."""
    return _mean(
      [_mean([g[part] for g in episodes]) for episodes in self._recent.values()]
    )


def _mean(values: Sequence[float]) -> float:
  """Return the mean; NaN without values."""
  return sum(values) / len(values) if values else math.nan
