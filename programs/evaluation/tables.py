"""Table of an evaluation for the terminal."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import rich.table

_SCORES = {
  'no_cap': 'mean',
  'cap_100': 'mean capped at 100',
  'median': 'median',
  'iqm': 'interquartile mean',
}


def table(results_file: pathlib.Path) -> rich.table.Table:
  """Return the table of a `results.json`."""
  content = json.loads(results_file.read_text(encoding='utf-8'))
  levels, summary = content['levels'], content['summary']
  actions = 'most likely' if content['greedy'] else 'sampled'
  shown = rich.table.Table(
    title=f'evaluation at frame {content["trained_frames"]:,}, {actions} '
    f'actions, seed {content["seed"]}',
    title_justify='left',
    caption_justify='left',
  )
  shown.add_column('level', overflow='fold')
  headings = ['episodes', 'mean return', '95% interval', 'min', 'max']
  is_scored = 'median' in summary
  for heading in [*headings, 'human %'] if is_scored else headings:
    shown.add_column(heading, justify='right', overflow='fold')
  for level in levels:
    score = [f'{level["human_normalised"]:.1f}'] if is_scored else []
    shown.add_row(*_cells(level), *score)
  if is_scored and len(levels) > 1:
    shown.caption = 'Human-normalised: ' + ', '.join(
      f'{meaning} {summary[name]:.1f} ({_interval(summary, name, 1)})'
      for name, meaning in _SCORES.items()
    )
  return shown


def _cells(level: Mapping[str, Any]) -> list[str]:
  error = level['standard_error']
  error_text = '?' if error is None else f'{error:.2f}'
  return [
    level['level_name'],
    f'{level["episodes"]:,}',
    f'{level["mean_return"]:.2f} +- {error_text}',
    _interval(level, 'mean_return', 2),
    f'{level["min_return"]:.2f}',
    f'{level["max_return"]:.2f}',
  ]


def _interval(row: Mapping[str, Any], name: str, digits: int) -> str:
  """Return '19.00 to 20.10', or '?' if there is no interval."""
  if row[f'{name}_low'] is None:
    return '?'
  return f'{row[f"{name}_low"]:.{digits}f} to {row[f"{name}_high"]:.{digits}f}'
