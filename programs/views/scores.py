"""Evaluations of several runs side by side, and over seeds."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special

from programs.views import reading

_AS_FAR = 0.9
_COLUMNS = (
  *('group', 'run', 'level_name', 'evaluation', 'frames', 'runs', 'episodes'),
  *('mean_return', 'mean_return_low', 'mean_return_high', 'human_normalised'),
)

Runs = Mapping[str, reading.Run]  # By a name that tells them apart.
Score = Mapping[str, Any]  # By `_COLUMNS`; None where it is not known.


def mean_interval(
  values: Sequence[float] | Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Mean over runs and its 95% interval, by Student's t.

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
  """The last and the best evaluation of training, and what else was evaluated.

  Scores of groups of at least two evaluated runs come first, then of runs.
  """
  of_runs: list[Score] = []
  of_groups: list[Score] = []
  for group, members in groups.items():
    found: list[Score] = [
      {'group': group, 'run': name, 'runs': 1, 'evaluation': which, **row}
      for name in members
      for which, evaluation in _chosen(runs[name]).items()
      for row in _score_rows(evaluation)
    ]
    of_runs += found
    by_key: dict[tuple[str, str], list[Score]] = {}
    for score in found:
      key = (score['level_name'], score['evaluation'])
      by_key.setdefault(key, []).append(score)
    alike = [_as_far(each) for each in by_key.values()]
    of_groups += [_over_runs(each) for each in alike if len(each) > 1]
  return [*of_groups, *of_runs]


def _chosen(run: reading.Run) -> dict[str, Mapping[str, Any]]:
  """'last' and 'best' of training, then others by the name of their folder."""
  of_training = run.evaluations.of_training()
  others = {
    name: each
    for name, each in run.evaluations.found.items()
    if not name.isdecimal()
  }
  if not of_training:
    return others

  def score(evaluation: Mapping[str, Any]) -> tuple[float, int]:
    # As for the best checkpoint.
    summary, levels = evaluation['summary'], evaluation['levels']
    is_suite = len(levels) > 1 and 'cap_100' in summary
    name = 'cap_100' if is_suite else 'mean_return'
    return summary[name], evaluation['trained_frames']

  return {
    'last': of_training[-1],
    'best': max(of_training, key=score),
    **others,
  }


def _score_rows(evaluation: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
  """A row for each level, and one for all of several."""
  levels, summary = list(evaluation['levels']), evaluation['summary']
  if len(levels) > 1:
    together = {
      'level_name': f'all {len(levels)} levels',
      'human_normalised': summary.get('median'),
    }
    levels.append({**summary, **together})
  for row in levels:
    yield {
      'frames': evaluation['trained_frames'],
      **{name: row.get(name) for name in ('level_name', *_COLUMNS[6:])},
    }


def _as_far(rows: Sequence[Score]) -> list[Score]:
  """Those that were evaluated about as late as the latest."""
  latest = max(row['frames'] for row in rows)
  return [
    row
    for row in rows
    if row['evaluation'] != 'last' or row['frames'] >= _AS_FAR * latest
  ]


def _over_runs(rows: Sequence[Score]) -> Score:
  mean, low, high = mean_interval([row['mean_return'] for row in rows])
  human = [row['human_normalised'] for row in rows]
  return {
    **rows[0],
    'run': None,
    'runs': len(rows),
    'frames': round(sum(row['frames'] for row in rows) / len(rows)),
    'episodes': sum(row['episodes'] for row in rows),
    'mean_return': float(mean),
    'mean_return_low': float(low),
    'mean_return_high': float(high),
    'human_normalised': None if None in human else sum(human) / len(human),
  }


def to_csv(scores: Sequence[Score]) -> str:
  """Scores as a table; what is not known is empty."""
  text = io.StringIO()
  writer = csv.DictWriter(text, _COLUMNS, lineterminator='\n')
  writer.writeheader()
  writer.writerows(scores)
  return text.getvalue()
