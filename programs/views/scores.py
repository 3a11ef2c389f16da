"""Tabulate evaluation scores of runs, and their means over seeds."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special

from programs.views import reading

_MIN_PROGRESS = 0.9  # Of the frames of the longest run of a group.
_COLUMNS = (
  *('group', 'run', 'level_name', 'evaluation', 'frames', 'runs', 'episodes'),
  *('mean_return', 'mean_return_low', 'mean_return_high', 'human_normalised'),
)

Runs = Mapping[str, reading.Run]  # By a unique name.
Score = Mapping[str, Any]  # By `_COLUMNS`; None if unknown.


def mean_interval(
  values: Sequence[float] | Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return the mean over runs and its 95% interval by Student's t.

  Args:
    values: `[R, ...]`, of at least two runs.

  Returns:
    Mean, lower and upper end `[...]`.
  """
  array = np.asarray(values, np.float64)
  mean, count = array.mean(0), len(array)
  error = array.std(0, ddof=1) / math.sqrt(count)
  half = scipy.special.stdtrit(count - 1, 0.975) * error
  return mean, mean - half, mean + half


def make_scores(groups: Mapping[str, Sequence[str]], runs: Runs) -> list[Score]:
  """Return scores of the last, the best and all separate evaluations.

  Scores of groups of at least two evaluated runs come first, then of runs.
  """
  of_runs: list[Score] = []
  of_groups: list[Score] = []
  for group, members in groups.items():
    found: list[Score] = [
      {'group': group, 'run': name, 'runs': 1, 'evaluation': which, **level}
      for name in members
      for which, evaluation in _chosen(runs[name]).items()
      for level in _level_scores(evaluation)
    ]
    of_runs += found
    by_key: dict[tuple[str, str], list[Score]] = {}
    for score in found:
      key = (score['level_name'], score['evaluation'])
      by_key.setdefault(key, []).append(score)
    of_groups += [
      _over_runs(each) for each in map(_late, by_key.values()) if len(each) > 1
    ]
  return [*of_groups, *of_runs]


def _chosen(run: reading.Run) -> dict[str, Mapping[str, Any]]:
  """Return 'last' and 'best' of training, then others by folder name."""
  of_training = run.evaluations.of_training()
  others = {
    name: each
    for name, each in run.evaluations.found.items()
    if not name.isdecimal()
  }
  if not of_training:
    return others

  def score(evaluation: Mapping[str, Any]) -> tuple[float, int]:
    # The rule that selects the best checkpoint.
    summary, levels = evaluation['summary'], evaluation['levels']
    is_suite = len(levels) > 1 and 'cap_100' in summary
    name = 'cap_100' if is_suite else 'mean_return'
    return summary[name], evaluation['trained_frames']

  return {
    'last': of_training[-1],
    'best': max(of_training, key=score),
    **others,
  }


def _level_scores(evaluation: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
  """Yield a score for each level, and one over all if there are several."""
  levels, summary = list(evaluation['levels']), evaluation['summary']
  if len(levels) > 1:
    together = {
      'level_name': f'all {len(levels)} levels',
      'human_normalised': summary.get('median'),
    }
    levels.append({**summary, **together})
  for level in levels:
    yield {
      'frames': evaluation['trained_frames'],
      **{name: level.get(name) for name in ('level_name', *_COLUMNS[6:])},
    }


def _late(scores: Sequence[Score]) -> list[Score]:
  """Drop last evaluations that are much earlier than the latest."""
  latest = max(score['frames'] for score in scores)
  return [
    score
    for score in scores
    if score['evaluation'] != 'last'
    or score['frames'] >= _MIN_PROGRESS * latest
  ]


def _over_runs(scores: Sequence[Score]) -> Score:
  mean, low, high = mean_interval([score['mean_return'] for score in scores])
  human = [score['human_normalised'] for score in scores]
  return {
    **scores[0],
    'run': None,
    'runs': len(scores),
    'frames': round(sum(score['frames'] for score in scores) / len(scores)),
    'episodes': sum(score['episodes'] for score in scores),
    'mean_return': float(mean),
    'mean_return_low': float(low),
    'mean_return_high': float(high),
    'human_normalised': None if None in human else sum(human) / len(human),
  }


def to_csv(scores: Sequence[Score]) -> str:
  """Return scores as CSV; unknown values are empty."""
  text = io.StringIO()
  writer = csv.DictWriter(text, _COLUMNS, lineterminator='\n')
  writer.writeheader()
  writer.writerows(scores)
  return text.getvalue()
