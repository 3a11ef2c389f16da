"""Evaluations of runs as tables, and over seeds."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from programs import tables
from programs.reports import curves
from programs.reports import histories as histories_lib

COLUMNS = (
  'group',
  'run',
  'level_name',
  'evaluation',
  'frames',
  'runs',
  'episodes',
  'mean_return',
  'mean_return_low',
  'mean_return_high',
  'human_normalised',
)

METHOD = (
  'Intervals are 95%. Of one run: bootstrap over the episodes of the '
  'evaluation, which says how exactly this agent was measured. Over runs: '
  "Student's t over the runs' means, which says how training goes with other "
  'seeds; one that was evaluated long before the others is left out of their '
  'last evaluation. The best evaluation was chosen by its own score, so it '
  'flatters. '
  'Human %: 0 is a random agent, 100 a human; of all levels together it is the '
  'median.'
)

_AS_FAR = 0.9

Score = Mapping[str, Any]  # By `COLUMNS`; None where it is not known.

HEADINGS = (
  'level',
  'evaluation',
  'frames',
  'episodes',
  'mean return',
  '95% interval',
  'human %',
)


def make_scores(
  groups: Mapping[str, Sequence[histories_lib.History]],
) -> tuple[list[Score], list[Score]]:
  """The last and the best evaluation of training, and what else was evaluated.

  Args:
    groups: Runs that differ in their seed alone.

  Returns:
    Scores of runs, and of groups of at least two evaluated runs.
  """
  of_runs: list[Score] = []
  of_groups: list[Score] = []
  for group, runs in groups.items():
    found: list[Score] = [
      {'group': group, 'run': run.name, 'runs': 1, **row}
      for run in runs
      for name, evaluation in _chosen(run).items()
      for row in _rows(name, evaluation)
    ]
    of_runs += found
    by_key: dict[tuple[str, str], list[Score]] = {}
    for row in found:
      key = (row['level_name'], row['evaluation'])
      by_key.setdefault(key, []).append(row)
    alike = [_as_far(each) for each in by_key.values()]
    of_groups += [_over_runs(each) for each in alike if len(each) > 1]
  return of_runs, of_groups


def _as_far(rows: Sequence[Score]) -> list[Score]:
  """Those that were evaluated about as late as the latest."""
  latest = max(row['frames'] for row in rows)
  return [
    row
    for row in rows
    if row['evaluation'] != 'last' or row['frames'] >= _AS_FAR * latest
  ]


def _chosen(
  run: histories_lib.History,
) -> dict[str, histories_lib.Evaluation]:
  """'last' and 'best' of training, then others by the name of their folder."""
  of_training = [e for e in run.evaluations if e.is_of_training]
  chosen = {e.name: e for e in run.evaluations if not e.is_of_training}
  if of_training:
    best = max(of_training, key=lambda e: (e.score, e.frames))
    chosen = {'last': of_training[-1], 'best': best, **chosen}
  return chosen


def _rows(
  name: str, evaluation: histories_lib.Evaluation
) -> list[dict[str, Any]]:
  """A row for each level, and one for all of several."""
  levels = list(evaluation.levels)
  if len(levels) > 1:
    levels.append(
      {
        **evaluation.summary,
        'level_name': f'all {len(levels)} levels',
        'human_normalised': evaluation.summary.get('median'),
      }
    )
  return [
    {
      'evaluation': name,
      'frames': evaluation.frames,
      **{column: row[column] for column in ('level_name', 'episodes')},
      **{
        column: row.get(column)
        for column in COLUMNS
        if column.startswith(('mean_return', 'human'))
      },
    }
    for row in levels
  ]


def _over_runs(rows: Sequence[Score]) -> Score:
  """Of one level and one evaluation of several runs."""
  mean, low, high = curves.mean_interval([row['mean_return'] for row in rows])
  assert low is not None and high is not None
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


def to_csv(rows: Sequence[Score]) -> str:
  """Columns as `COLUMNS`; what is not known is empty."""
  text = io.StringIO()
  writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  return text.getvalue()


def to_markdown(of_runs: Sequence[Score], of_groups: Sequence[Score]) -> str:
  """A page with the tables."""
  text = ['# Scores', '']
  for heading, rows in (('runs', of_groups), ('run', of_runs)):
    if rows:
      headings, *lines = [
        [cell.replace('|', '\\|') for cell in line]
        for line in to_cells(heading, rows)
      ]
      text += [*tables.lines(headings, lines), '']
  if not of_runs:
    text += ['Nothing was evaluated yet.', '']
  return '\n'.join([*text, METHOD]) + '\n'


def to_cells(heading: str, rows: Sequence[Score]) -> list[list[str]]:
  """For people: `HEADINGS` behind one more, then a line for each score.

  The last heading stays away where no level has human scores.
  """
  is_scored = any(row['human_normalised'] is not None for row in rows)
  headings = [heading, *HEADINGS]
  lines = [_cells(row) for row in rows]
  if is_scored:
    return [headings, *lines]
  return [line[:-1] for line in (headings, *lines)]


def _cells(row: Score) -> list[str]:
  low, high = row['mean_return_low'], row['mean_return_high']
  human = row['human_normalised']
  return [
    row['run'] or f'{row["group"]}, {row["runs"]} runs',
    row['level_name'],
    row['evaluation'],
    f'{row["frames"]:,}',
    f'{row["episodes"]:,}',
    f'{row["mean_return"]:,.2f}',
    '' if _missing(low, high) else f'{low:,.2f} to {high:,.2f}',
    '' if human is None else f'{human:,.1f}',
  ]


def _missing(*values: float | None) -> bool:
  return any(value is None or math.isnan(value) for value in values)
