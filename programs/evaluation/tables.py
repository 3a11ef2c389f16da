"""Table of an evaluation for the terminal."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import rich.table

_COLUMNS = ['level', 'episodes', 'mean return', '95% interval', 'min', 'max']
_SCORES = {
  'no_cap': 'mean',
  'cap_100': 'mean capped at 100',
  'median': 'median',
  'iqm': 'interquartile mean',
}


def table(results_file: pathlib.Path) -> rich.table.Table:
  """Return the table of a `results.json`."""
  content = json.loads(results_file.read_text(encoding='utf-8'))
  headings, *rows = _cells(content)
  shown = rich.table.Table(
    title=_title(content),
    title_justify='left',
    caption=_scores(content),
    caption_justify='left',
  )
  for heading in headings:
    is_text = heading == 'level'
    shown.add_column(
      heading, justify='left' if is_text else 'right', overflow='fold'
    )
  for row in rows:
    shown.add_row(*row)
  return shown


def _title(content: Mapping[str, Any]) -> str:
  choice = 'most likely' if content['greedy'] else 'sampled'
  return (
    f'evaluation at frame {content["trained_frames"]:,}, {choice} actions, '
    f'seed {content["seed"]}'
  )


def _cells(content: Mapping[str, Any]) -> list[list[str]]:
  """Return headings and a line per level; human scores if all have them."""
  is_scored = 'median' in content['summary']
  lines = [[*_COLUMNS, 'human %'] if is_scored else _COLUMNS]
  for row in content['levels']:
    error = row['standard_error']
    cells = [
      row['level_name'],
      f'{row["episodes"]:,}',
      f'{row["mean_return"]:.2f} +- '
      + ('?' if error is None else f'{error:.2f}'),
      _interval(row, 'mean_return', 2),
      f'{row["min_return"]:.2f}',
      f'{row["max_return"]:.2f}',
    ]
    score = [f'{row["human_normalised"]:.1f}'] if is_scored else []
    lines.append(cells + score)
  return lines


def _scores(content: Mapping[str, Any]) -> str | None:
  summary = content['summary']
  if 'median' not in summary or len(content['levels']) < 2:
    return None
  return 'Human-normalised: ' + ', '.join(
    f'{meaning} {summary[name]:.1f} ({_interval(summary, name, 1)})'
    for name, meaning in _SCORES.items()
  )


def _interval(row: Mapping[str, Any], name: str, digits: int) -> str:
  """Return '19.00 to 20.10', or '?' if there is no interval."""
  if row[f'{name}_low'] is None:
    return '?'
  return f'{row[f"{name}_low"]:.{digits}f} to {row[f"{name}_high"]:.{digits}f}'
