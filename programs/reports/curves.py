"""Learning curves: returns over frames, of one run or as a mean over seeds."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.special

from environments import suites
from programs.reports import histories as histories_lib
from programs.reports import rows as rows_lib

_NUM_POINTS = 200
# Of the frames that a curve is drawn over.
_SMOOTHED_SHARE = 1 / 40


@dataclasses.dataclass(frozen=True)
class Point:
  """An evaluation: `mean_return` of one level, and its interval if known."""

  frames: float
  mean_return: float
  low: float | None
  high: float | None


@dataclasses.dataclass(frozen=True)
class Line:
  """One run in one level.

  Attributes:
    frames: `[N]`, ascending.
    returns: `[N]`, mean over the games that ended since the row before.
    smoothed: `[G]`, over the curve's grid.
    evaluations: As while training.
  """

  frames: np.ndarray
  returns: np.ndarray
  smoothed: np.ndarray
  evaluations: Sequence[Point]


@dataclasses.dataclass(frozen=True)
class Curve:
  """Runs that differ in their seed alone, in one level.

  Attributes:
    group: What tells them from others.
    grid: `[G]` frames that all of them have reached; empty where no game ended.
    mean: `[G]`, over runs.
    low: `[G]`, of the 95% interval over runs; None of one run.
    high: The same, its upper end.
    lines: Of each run.
  """

  group: str
  grid: np.ndarray
  mean: np.ndarray
  low: np.ndarray | None
  high: np.ndarray | None
  lines: Sequence[Line]


def mean_interval(
  values: Sequence[float] | Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
  """Mean over runs and its 95% interval, by Student's t.

  Args:
    values: `[R, ...]`, of R runs.

  Returns:
    Mean, lower and upper end `[...]`; the ends are None of one run.
  """
  array = np.asarray(values, np.float64)
  mean, count = array.mean(0), len(array)
  if count == 1:
    return mean, None, None
  error = array.std(0, ddof=1) / math.sqrt(count)
  half = scipy.special.stdtrit(count - 1, 0.975) * error
  return mean, mean - half, mean + half


def smooth(
  columns: np.ndarray,
  grid: np.ndarray,
  width: float,
) -> np.ndarray:
  """Means over games around each point of a grid.

  Args:
    columns: `[3, N]`, at least one: frames, ascending; means over games; how
      many games.
    grid: `[G]` frames.
    width: Frames, half of them before a point; where less than three rows lie
      in them, the neighbours on both sides are interpolated instead.

  Returns:
    `[G]`.
  """
  frames, returns, games = columns
  low = np.searchsorted(frames, grid - width / 2, 'left')
  high = np.searchsorted(frames, grid + width / 2, 'right')
  count = np.concatenate([[0.0], np.cumsum(games)])
  total = np.concatenate([[0.0], np.cumsum(games * returns)])
  near = (total[high] - total[low]) / np.maximum(count[high] - count[low], 1)
  return np.where(high - low >= 3, near, np.interp(grid, frames, returns))


def make_curves(
  groups: Mapping[str, Sequence[histories_lib.History]],
) -> dict[str, list[Curve]]:
  """Level -> a curve of each group that is trained in it.

  A suite's median over levels comes first, under '<suite>, median human %'.
  """
  found: dict[str, list[Curve]] = {}
  for group, runs in groups.items():
    suite = f'{runs[0].fields["level_name"]}, median human %'
    if any(run.suite for run in runs):
      found.setdefault(suite, []).append(
        _make_curve(group, [_columns(r.suite, 'training_median') for r in runs])
      )
    for level in dict.fromkeys(name for run in runs for name in run.levels):
      found.setdefault(level, []).append(
        _make_curve(
          group,
          [
            _columns(run.levels.get(level, ()), 'episode_return')
            for run in runs
          ],
          [_evaluations(run, level) for run in runs],
        )
      )
  return found


def _columns(rows: Sequence[rows_lib.Row], name: str) -> np.ndarray:
  """`[3, N]`: frames, values and games of the rows that have a value."""
  points = [
    (row['frames'], row[name], row.get('episodes') or 1.0)
    for row in rows
    if isinstance(row.get(name), float) and math.isfinite(row[name])
  ]
  return np.array(points, np.float64).reshape(-1, 3).T


def _make_curve(
  group: str,
  runs: Sequence[np.ndarray],
  evaluations: Sequence[Sequence[Point]] = (),
) -> Curve:
  points = [*evaluations, *[()] * len(runs)]
  begun = [columns for columns in runs if columns.size]
  grid = np.zeros(0)
  if begun:
    # Where each run has games, so that all of the mean is of the same runs.
    first = max(columns[0, 0] for columns in begun)
    last = min(columns[0, -1] for columns in begun)
    grid = np.linspace(first, max(first, last), _NUM_POINTS)
  lines = [
    Line(
      columns[0],
      columns[1],
      smooth(columns, grid, float(_SMOOTHED_SHARE * np.ptp(grid)))
      if columns.size
      else np.full_like(grid, math.nan),
      each,
    )
    for columns, each in zip(runs, points, strict=False)
  ]
  smoothed = [line.smoothed for line in lines if line.frames.size]
  mean, low, high = mean_interval(smoothed or [grid])
  return Curve(group, grid, mean, low, high, lines)


def _evaluations(run: histories_lib.History, level: str) -> list[Point]:
  """Of a level, or of the one that it is tested on instead."""
  name = run.fields['level_name']
  tests = dict(
    zip(suites.split(name), suites.split(name, evaluation=True), strict=True)
  )
  return [
    Point(
      evaluation.frames,
      row['mean_return'],
      row.get('mean_return_low'),
      row.get('mean_return_high'),
    )
    for evaluation in run.evaluations
    if evaluation.is_of_training
    for row in evaluation.levels
    if row['level_name'] in (level, tests.get(level))
  ]


def speeds(rows: Sequence[rows_lib.Row]) -> np.ndarray:
  """How fast a run learned.

  Args:
    rows: Of `learner.csv`, in the order they were written.

  Returns:
    `[2, N]`: minutes of learning, without what lay between two starts, and
    frames a second.
  """
  minutes, points, before = 0.0, [], {'frames': 0.0, 'learner_steps': 0.0}
  for row in rows:
    rate, steps = row.get('learner_steps_per_second'), row.get('learner_steps')
    if not isinstance(rate, float) or not steps or not rate > 0:
      continue
    more = steps - before['learner_steps']
    frames_per_step = (
      (row['frames'] - before['frames']) / more
      if more
      else row['frames'] / steps
    )
    # After a crash steps go back: how many there were is not known.
    minutes += max(more, 0) / rate / 60
    points.append((minutes, rate * frames_per_step))
    before = {'frames': row['frames'], 'learner_steps': steps}
  return np.array(points, np.float64).reshape(-1, 2).T
