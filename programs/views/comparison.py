"""Runs side by side: which are the same, their curves over seeds."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from environments import suites
from programs.runs import flags
from programs.views import curves as curves_lib
from programs.views import reading, scores, view

_METHOD = (
  'Curves: thin, single runs; thick, the mean over runs that differ in their '
  'seed alone, smoothed, as far as all of them have come. Intervals are 95%: '
  "over runs Student's t over the runs' means (how training goes with other "
  'seeds), of one run a bootstrap over episodes (how exactly this agent was '
  'measured). Runs that were evaluated long before the others are left out of '
  'the last evaluation; the best was chosen by its own score, so it flatters. '
  'Human %: 0 is a random agent, 100 a human; of several levels the median.'
)
# Where a run is kept and watched; runs that differ in nothing else learn the
# same but for chance. A preset is in the fields that it sets.
_UNRELATED = {
  *('logdir', 'seed', 'preset', 'monitor', 'watchdog', 'watchdog_seconds'),
  *('log_period_seconds', 'checkpoint_period_seconds', 'test_num_episodes'),
  *('evaluation_period_frames', 'learner_threads', 'env_processes'),
  *('dataset_path', 'level_cache', 'renderer'),
}
_NUM_POINTS = 200
_SMOOTHED_SHARE = 1 / 40  # Of the frames that a curve is drawn over.


def names(paths: Sequence[pathlib.Path]) -> list[str]:
  """The shortest names that tell absolute paths apart, from their end."""
  if len({path.name for path in paths}) == len(paths):
    return [path.name or str(path) for path in paths]
  common = os.path.commonpath(paths)
  return [os.path.relpath(path, common) for path in paths]


def compare(runs: scores.Runs) -> dict[str, Any]:
  """All that there is to say of runs together, as plain data.

  'runs', a row each; 'groups' of runs that differ in their seed alone;
  'curves' by level, one for each group: see `_make_curve`; 'differing'
  fields of the configuration; 'scores', see `make_scores`; and the 'method'.
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
        'frames': curves_lib.number(runs[name].learner.last, 'frames'),
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
  """The verdict; or why there is none."""
  if run.verdict:
    return run.verdict.sentence
  if run.figures is None:
    return (
      'Which side was slow is not known: nothing was recorded '
      '(--monitor=true records it).'
    )
  return 'Which side was slow is not known: too little was recorded.'


def _fields(run: reading.Run) -> dict[str, Any]:
  """Field -> value; those that an older version did not have, at default."""
  return {
    **{
      field.name: field.default
      for group in flags.GROUPS.values()
      for field in dataclasses.fields(group)
    },
    **{name: v for group in run.config.values() for name, v in group.items()},
  }


def make_groups(runs: scores.Runs) -> dict[str, list[str]]:
  """Names of runs that learn the same but for chance, by what tells them."""
  kinds = {
    name: {n: repr(v) for n, v in _fields(run).items() if n not in _UNRELATED}
    for name, run in runs.items()
  }
  groups: dict[str, list[str]] = {}
  for name, kind in kinds.items():
    # Levels have other defaults each: what they differ in is their name.
    peers = [k for k in kinds.values() if k['level_name'] == kind['level_name']]
    telling = [n for n in kind if len({peer.get(n) for peer in peers}) > 1]
    title = [f'{field}={_fields(runs[name])[field]}' for field in telling]
    if len(peers) < len(kinds) or not telling:
      title.insert(0, runs[name].level_name)
    groups.setdefault(', '.join(title), []).append(name)
  return groups


def make_curves(
  groups: Mapping[str, Sequence[str]], runs: scores.Runs
) -> dict[str, list[dict[str, Any]]]:
  """Level -> a curve of each group that is trained in it.

  A suite's median over levels comes first, under '<suite>, median human %'.
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
  """Level -> `[2, N]` frames and returns, in the configuration's order."""
  # Of an older run means of the last 100 games.
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
  """A level, and the one that it is tested on instead."""
  trained = suites.split(run.level_name)
  if level not in trained:
    return {level}
  tests = suites.split(run.level_name, evaluation=True)
  return {level, tests[trained.index(level)]}


def _make_curve(points: Sequence[np.ndarray]) -> dict[str, Any]:
  """The mean over runs and its interval, on the frames that all have reached.

  Args:
    points: `[2, N]` of each run that has any: frames, ascending; returns.

  Returns:
    'x', 'y', and of several runs 'low' and 'high'; 'lines' of each run.
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
  """Means around each point of a grid.

  Args:
    frames: `[N]`, ascending, at least one.
    returns: `[N]`.
    grid: `[G]` frames.
    width: Frames, half of them before a point; where less than three values
      lie in them, the neighbours on both sides are interpolated instead.

  Returns:
    `[G]`.
  """
  low = np.searchsorted(frames, grid - width / 2, 'left')
  high = np.searchsorted(frames, grid + width / 2, 'right')
  total = np.concatenate([[0.0], np.cumsum(returns)])
  near = (total[high] - total[low]) / np.maximum(high - low, 1)
  return np.where(high - low >= 3, near, np.interp(grid, frames, returns))
