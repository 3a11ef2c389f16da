"""Compare runs: group seeds, average their curves, list what differs."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from environments import suites
from programs.runs import flags
from programs.views import metrics, reading, scores, view

_METHOD = (
  'Curves: thin lines are single runs; a thick line is the smoothed mean over '
  'runs that differ only in their seed, up to the frames that all of them have '
  "reached. Intervals are 95%: over several runs, Student's t over the means "
  'of the runs (variation between seeds); of a single run, a bootstrap over '
  'episodes (precision of this evaluation). The last evaluation of a group '
  'leaves out runs that stopped at less than 90% of the frames of the longest. '
  'The best evaluation is selected by its own score and thus optimistic. Human '
  '%: 0 is a random agent, 100 a human; over several levels, the median.'
)
# Fields that do not change what is learned: where a run is stored, how it is
# monitored. A preset counts by the fields that it sets.
_UNRELATED = {
  *('logdir', 'seed', 'preset', 'monitor', 'watchdog', 'watchdog_seconds'),
  *('log_period_seconds', 'checkpoint_period_seconds', 'test_num_episodes'),
  *('evaluation_period_frames', 'learner_threads', 'env_processes'),
  *('dataset_path', 'level_cache', 'renderer'),
}
_NUM_POINTS = 200
_SMOOTHED_SHARE = 1 / 40  # Of the frames of a curve.


def names(paths: Sequence[pathlib.Path]) -> list[str]:
  """Return the shortest endings that distinguish absolute paths."""
  if len({path.name for path in paths}) == len(paths):
    return [path.name or str(path) for path in paths]
  common = os.path.commonpath(paths)
  return [os.path.relpath(path, common) for path in paths]


def compare(runs: scores.Runs) -> dict[str, Any]:
  """Compare runs; returns plain data.

  'runs', one record each; 'groups' of runs that differ only in their seed;
  'curves' by level, one a group (see `_make_curve`); 'differing' fields of the
  configuration; 'scores' (see `make_scores`); 'method', an explanation.
  """
  groups = make_groups(runs)
  fields = {name: _fields(run) for name, run in runs.items()}
  known = dict.fromkeys(field for each in fields.values() for field in each)
  return {
    'runs': [
      {
        'name': name,
        'group': group,
        'seed': fields[name].get('seed'),
        'state': runs[name].state,
        'frames': metrics.number(runs[name].learner.last, 'frames'),
        'total': fields[name].get('total_environment_frames'),
        'verdict': sentence(runs[name]),
      }
      for group, members in groups.items()
      for name in members
    ],
    'groups': list(groups),
    'curves': make_curves(groups, runs),
    'differing': [
      {'name': field, 'values': [each.get(field) for each in fields.values()]}
      for field in known
      if len({repr(each.get(field)) for each in fields.values()}) > 1
      and field != 'logdir'
    ],
    'scores': scores.make_scores(groups, runs),
    'method': _METHOD,
  }


def sentence(run: reading.Run) -> str:
  """Return the verdict, or why there is none."""
  if run.verdict:
    return run.verdict.sentence
  if run.statistics is None:
    return 'No verdict: the monitor recorded nothing (see --monitor).'
  return 'No verdict: the run was too short, or the learner had no batch.'


def _fields(run: reading.Run) -> dict[str, Any]:
  return {
    **{
      field.name: field.default
      for group in flags.GROUPS.values()
      for field in dataclasses.fields(group)
    },
    **{name: v for group in run.config.values() for name, v in group.items()},
  }


def make_groups(runs: scores.Runs) -> dict[str, list[str]]:
  """Group runs that differ only in their seed; titles say what differs."""
  kinds = {
    name: {n: repr(v) for n, v in _fields(run).items() if n not in _UNRELATED}
    for name, run in runs.items()
  }
  groups: dict[str, list[str]] = {}
  for name, kind in kinds.items():
    # Defaults depend on the level, so only runs on the same are compared.
    peers = [k for k in kinds.values() if k['level_name'] == kind['level_name']]
    varied = [n for n in kind if len({peer.get(n) for peer in peers}) > 1]
    title = [f'{field}={_fields(runs[name])[field]}' for field in varied]
    if len(peers) < len(kinds) or not varied:
      title.insert(0, runs[name].level_name)
    groups.setdefault(', '.join(title), []).append(name)
  return groups


def make_curves(
  groups: Mapping[str, Sequence[str]], runs: scores.Runs
) -> dict[str, list[dict[str, Any]]]:
  """Return level -> a curve of each group that was trained on it.

  The median of a suite comes first, under '<suite>, median human %'.
  """
  found: dict[str, list[dict[str, Any]]] = {}
  for group, members in groups.items():
    curves = {name: _curves(runs[name]) for name in members}
    for level in dict.fromkeys(n for each in curves.values() for n in each):
      tested = [_evaluated(runs[name], level) for name in members]
      found.setdefault(level, []).append(
        {
          'group': group,
          'points': [
            point
            for name, level_names in zip(members, tested, strict=True)
            for point in view.evaluation_points(runs[name], level_names)
          ],
          **_make_curve(
            [curves[name][level] for name in members if level in curves[name]]
          ),
        }
      )
  return found


def _curves(run: reading.Run) -> dict[str, np.ndarray]:
  """Return level -> `[2, N]` frames and returns, in configured order."""
  # Older runs have only means over the last 100 episodes.
  older = {run.level_name: run.learner.curves['episode_return']}
  levels = run.levels.curves or older
  order = [*suites.split(run.level_name), *levels]
  curves = {level: levels[level] for level in sorted(levels, key=order.index)}
  if run.suite:
    median = run.suite.curves['training_median']
    curves = {f'{run.level_name}, median human %': median, **curves}
  points = {level: curve.to_dict() for level, curve in curves.items()}
  return {n: np.array([p['x'], p['y']]) for n, p in points.items() if p['x']}


def _evaluated(run: reading.Run, level: str) -> set[str]:
  trained = suites.split(run.level_name)
  if level not in trained:
    return {level}
  tests = suites.split(run.level_name, evaluation=True)
  return {level, tests[trained.index(level)]}


def _make_curve(points: Sequence[np.ndarray]) -> dict[str, Any]:
  """Average runs over the frames that all of them have reached.

  Args:
    points: `[2, N]` ascending frames and returns of each run that has any.

  Returns:
    'x', 'y', and for several runs 'low' and 'high'; 'lines' of each run.
  """
  if not points:
    return {'x': [], 'y': [], 'lines': []}
  first = max(frames[0] for frames, _ in points)
  last = min(frames[-1] for frames, _ in points)
  grid = np.linspace(first, max(first, last), _NUM_POINTS)
  width = _SMOOTHED_SHARE * np.ptp(grid)
  smoothed = [smooth(frames, y, grid, width) for frames, y in points]
  curve: dict[str, Any] = {'x': grid.tolist(), 'y': smoothed[0].tolist()}
  if len(points) > 1:
    ends = scores.mean_interval(smoothed)
    curve |= {
      name: end.tolist()
      for name, end in zip(('y', 'low', 'high'), ends, strict=True)
    }
  return {
    **curve,
    'lines': [{'x': x.tolist(), 'y': y.tolist()} for x, y in points],
  }


def smooth(
  frames: np.ndarray, returns: np.ndarray, grid: np.ndarray, width: float
) -> np.ndarray:
  """Average the returns around each point of a grid.

  Args:
    frames: `[N]`, ascending, at least one.
    returns: `[N]`.
    grid: `[G]` frames.
    width: Window in frames, centred on a point. With less than three values
      in it, the neighbours on both sides are interpolated instead.

  Returns:
    `[G]` means.
  """
  low = np.searchsorted(frames, grid - width / 2, 'left')
  high = np.searchsorted(frames, grid + width / 2, 'right')
  total = np.concatenate([[0.0], np.cumsum(returns)])
  near = (total[high] - total[low]) / np.maximum(high - low, 1)
  return np.where(high - low >= 3, near, np.interp(grid, frames, returns))
