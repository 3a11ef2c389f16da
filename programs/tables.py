"""Evaluations for people: tables for the terminal and for a page."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

_SCORE_NAMES = {
  'no_cap': 'mean',
  'cap_100': 'mean capped at 100',
  'median': 'median',
  'iqm': 'interquartile mean',
}

_VIDEO_PINBALL = (
  'In Video Pinball the random and the human score lie so close together that '
  'its score drowns the mean over games: read the median there.'
)

_COLUMNS = (
  'level',
  'episodes',
  'mean return',
  '95% interval',
  'min',
  'max',
  'human %',
)


def _title(content: Mapping[str, Any]) -> str:
  choice = 'most likely' if content['greedy'] else 'sampled'
  return f'evaluation at frame {content["trained_frames"]:,}, {choice} actions'


def _cells(row: Mapping[str, Any], is_scored: bool) -> list[str]:
  """One level for people, in the order of `_COLUMNS`."""
  error = _figure(row['standard_error'])
  cells = [
    row['level_name'],
    f'{row["episodes"]:,}',
    f'{row["mean_return"]:.2f} +- {error}',
    _ends(row, 'mean_return', 2),
    f'{row["min_return"]:.2f}',
    f'{row["max_return"]:.2f}',
  ]
  return [*cells, f'{row["human_normalised"]:.1f}'] if is_scored else cells


def _ends(row: Mapping[str, Any], name: str, digits: int) -> str:
  """'19.00 to 20.10'; '?' where there is no interval."""
  if row[f'{name}_low'] is None:
    return '?'
  return f'{row[f"{name}_low"]:.{digits}f} to {row[f"{name}_high"]:.{digits}f}'


def _figure(value: float | None) -> str:
  return '?' if value is None else f'{value:.2f}'


def _suite_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
  """Name, score and interval of each score over the levels."""
  return [
    (meaning, f'{summary[name]:.1f}', _ends(summary, name, 1))
    for name, meaning in _SCORE_NAMES.items()
    if name in summary
  ]


def table(results_file: pathlib.Path) -> rich.table.Table:
  """A `results.json` for people, in a terminal."""
  content = json.loads(results_file.read_text(encoding='utf-8'))
  summary, levels = content['summary'], content['levels']
  is_scored = 'median' in summary
  shown = rich.table.Table(
    title=_title(content),
    title_justify='left',
    caption_justify='left',
  )
  for heading in _COLUMNS if is_scored else _COLUMNS[:-1]:
    shown.add_column(
      heading,
      justify='left' if heading == 'level' else 'right',
      overflow='fold',
    )
  for row in levels:
    shown.add_row(*_cells(row, is_scored))
  if is_scored and len(levels) > 1:
    shown.caption = 'human-normalised: ' + ', '.join(
      f'{name} {score} ({ends})' for name, score, ends in _suite_rows(summary)
    )
  return shown


def markdown(content: Mapping[str, Any]) -> str:
  """The same for a page, with how to read it."""
  summary, levels = content['summary'], content['levels']
  is_scored = 'median' in summary
  headings = _COLUMNS if is_scored else _COLUMNS[:-1]
  rows = [_cells(row, is_scored) for row in levels]
  text = [f'# {_title(content).capitalize()}', '', *lines(headings, rows), '']
  if is_scored and len(levels) > 1:
    text += [
      *lines(
        ('over levels, human %', 'score', '95% interval'), _suite_rows(summary)
      ),
      '',
    ]
  text += [
    f'Mean return +- standard error over episodes, seed {content["seed"]}. '
    'Intervals: bootstrap over episodes, each level by itself; they say how '
    'exactly this agent was measured, not how another would do.',
  ]
  if is_scored:
    text += ['', 'Human %: 0 is a random agent, 100 a human.']
  if len(levels) > 1 and any(
    row['level_name'] == 'atari_video_pinball' for row in levels
  ):
    text += ['', _VIDEO_PINBALL]
  return '\n'.join(text) + '\n'


def lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  """A Markdown table; all columns but the first are figures."""
  rule = ['---', *['---:'] * (len(headings) - 1)]
  return [f'| {" | ".join(cells)} |' for cells in (headings, rule, *rows)]
