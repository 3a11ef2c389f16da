"""Curves of a run, from the rows of its CSV files, however many these are."""

import collections
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from programs.inspection import rows as rows_lib

MAX_POINTS = 500
_RATE_SECONDS = 60.0  # Over which the present speed is measured.


class Curve:
  """A curve of at most `MAX_POINTS`, each the mean of as many values."""

  def __init__(self) -> None:
    """Starts empty."""
    self._sums: list[list[float]] = []  # Of x, of y, and how many.
    self._stride = 1

  def add(self, x: float, y: float) -> None:
    """Adds a value, unless it is not known.

    A run that goes on after a crash goes back a little: what it learns anew
    takes the place of what was lost.
    """
    if not (math.isfinite(x) and math.isfinite(y)):
      return
    while self._sums and self._sums[-1][0] > x * self._sums[-1][2]:
      self._sums.pop()
    if self._sums and self._sums[-1][2] < self._stride:
      last = self._sums[-1]
      last[0], last[1], last[2] = last[0] + x, last[1] + y, last[2] + 1
      return
    if len(self._sums) == MAX_POINTS:
      evens, odds = self._sums[::2], self._sums[1::2]
      self._sums = [
        [a + b for a, b in zip(*pair, strict=True)]
        for pair in zip(evens, odds, strict=True)
      ]
      self._stride *= 2
    self._sums.append([x, y, 1])

  def points(self) -> list[tuple[float, float]]:
    """The curve."""
    return [(x / count, y / count) for x, y, count in self._sums]

  def to_dict(self) -> dict[str, list[float]]:
    """The same as plain data: all x, and all y."""
    points = self.points()
    return {'x': [x for x, _ in points], 'y': [y for _, y in points]}


class LearningCurves:
  """What `metrics/*.csv` of a run tell, by frames.

  Attributes:
    version: Another one after there was something to read.
    last: The last row of `learner.csv`, numbers only.
  """

  def __init__(self, metrics: pathlib.Path) -> None:
    """Reads nothing yet.

    Args:
      metrics: Folder of the files, which need not exist yet.
    """
    self._files = {
      name: rows_lib.Rows(metrics / f'{name}.csv')
      for name in ('learner', 'levels', 'evaluator')
    }
    self.version = 0
    self._forget('learner')
    self._forget('levels')
    self._forget('evaluator')

  def read(self) -> None:
    """Reads what is new."""
    takers = {
      'learner': self._take_learner,
      'levels': self._take_level,
      'evaluator': self._take_evaluation,
    }
    for name, file in self._files.items():
      rows = file.read()
      if file.began_anew:
        self._forget(name)
      for row in rows:
        takers[name](row)
      self.version += bool(file.began_anew or rows)

  def levels(self) -> list[str]:
    """The levels in which games ended, by name."""
    return sorted(self._levels)

  def to_dict(self, level: str = '') -> dict[str, Any]:
    """Plain data.

    Args:
      level: Whose returns; empty: the mean over all.
    """
    returns = self._levels[level] if level else self._curves['episode_return']
    step = math.ceil(len(self._evaluations) / MAX_POINTS) or 1
    return {
      'levels': self.levels(),
      'returns': returns.to_dict(),
      'evaluations': self._evaluations[::-step][::-1],
      'small': {
        name: curve.to_dict()
        for name, curve in self._curves.items()
        if name != 'episode_return'
      },
    }

  def frames_per_second(self, since: float | None) -> float | None:
    """Mean since a time, or of late without one; None where it is not known."""
    points = [*self._recent]
    if since is not None:
      points = [(x, y) for x, y in self._clock.points() if x >= since]
    if len(points) < 2 or points[-1][0] <= points[0][0]:
      return None
    (then, before), (now, frames) = points[0], points[-1]
    return max(frames - before, 0.0) / (now - then)

  def _forget(self, name: str) -> None:
    if name == 'learner':
      self.last: Mapping[str, float] = {}
      self._curves: dict[str, Curve] = collections.defaultdict(Curve)
      self._clock = Curve()
      self._recent: collections.deque[tuple[float, float]] = collections.deque()
    elif name == 'levels':
      self._levels: dict[str, Curve] = collections.defaultdict(Curve)
    else:
      self._evaluations: list[list[float | None]] = []

  def _take_learner(self, row: rows_lib.Row) -> None:
    before, self.last = self.last, {k: _number(v) for k, v in row.items()}
    values = self.last
    frames, now = values.get('frames', math.nan), values.get('time', math.nan)
    steps = values.get('learner_steps', math.nan)
    grown = frames - before.get('frames', 0.0)
    per_step = grown / max(steps - before.get('learner_steps', 0.0), 1.0)
    rate = per_step * values.get('learner_steps_per_second', math.nan)
    for name, value in (
      ('episode_return', values.get('episode_return', math.nan)),
      ('frames_per_second', rate if grown > 0 else math.nan),
      ('loss', values.get('loss', math.nan)),
      ('entropy', values.get('entropy', math.nan)),
      ('policy_lag_mean', values.get('policy_lag_mean', math.nan)),
    ):
      self._curves[name].add(frames, value)
    if math.isfinite(frames) and math.isfinite(now):
      self._clock.add(now, frames)
      self._recent.append((now, frames))
      while self._recent[0][0] < now - _RATE_SECONDS:
        self._recent.popleft()

  def _take_level(self, row: rows_lib.Row) -> None:
    name, frames = row.get('level_name'), _number(row.get('frames'))
    if name:
      self._levels[name].add(frames, _number(row.get('episode_return')))

  def _take_evaluation(self, row: rows_lib.Row) -> None:
    names = ('frames', 'mean_return', 'mean_return_low', 'mean_return_high')
    values = [_number(row.get(name)) for name in names]
    if math.isfinite(values[0]) and math.isfinite(values[1]):
      self._evaluations.append(
        [v if math.isfinite(v) else None for v in values]
      )


def _number(value: Any) -> float:
  """NaN where it is none."""
  return value if isinstance(value, float) else math.nan
