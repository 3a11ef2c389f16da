"""What evaluations came to: statistics of returns, files and tables.

Intervals are of the percentile bootstrap: the episodes of each level are drawn
with replacement, each level by itself (stratified). They tell how exactly one
trained agent was measured, not how another seed of training would do.
"""

import csv
import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.table

from environments import suites
from programs import runs

_NUM_RESAMPLES = 2_000
_INTERVAL = (2.5, 97.5)  # Percentiles.

# Over the human-normalised scores of levels, the last axis. The interquartile
# mean is that of Agarwal et al. 2021 (arXiv 2108.13264), here over levels.
_SUITE_SCORES = {
  'no_cap': lambda scores: np.mean(scores, -1),
  'cap_100': lambda scores: np.mean(np.minimum(scores, 100.0), -1),
  'median': lambda scores: np.median(scores, -1),
  'iqm': lambda scores: np.mean(_middle_half(scores), -1),
}
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


@dataclasses.dataclass(frozen=True)
class LevelResult:
  """What the episodes of one level came to.

  Attributes:
    level_name: Which level.
    returns: Undiscounted, unclipped return of each episode.
    steps: Agent steps of each episode.
    frames: Frames played in all of them.
  """

  level_name: str
  returns: Sequence[float]
  steps: Sequence[int]
  frames: int

  def summary(self) -> dict[str, Any]:
    """One row: mean, standard error, 95% interval, min and max of the returns.

    `human_normalised` is 0 for a random agent's mean and 100 for a human's, and
    None where these are not known; so are the standard error and the interval
    of one episode.
    """
    count, mean = len(self.returns), float(np.mean(self.returns))
    error = None
    if count > 1:
      error = float(np.std(self.returns, ddof=1) / math.sqrt(count))
    score = suites.normalised_score(self.level_name, mean)
    return {
      'level_name': self.level_name,
      'episodes': count,
      'mean_return': mean,
      'standard_error': error,
      **_interval('mean_return', self.resampled_means(0)),
      'min_return': float(np.min(self.returns)),
      'max_return': float(np.max(self.returns)),
      'human_normalised': score,
      'human_normalised_capped': None if score is None else min(score, 100.0),
      'mean_steps': float(np.mean(self.steps)),
      'frames': self.frames,
    }

  def resampled_means(self, stream: int) -> np.ndarray | None:
    """Means of episodes drawn with replacement.

    Args:
      stream: Another one draws other episodes.

    Returns:
      `[2000]`, or None where there is one episode only.
    """
    count = len(self.returns)
    if count == 1:
      return None
    rng, returns = np.random.default_rng(stream), np.asarray(self.returns)
    return np.array(
      [
        returns[rng.integers(count, size=count)].mean()
        for _ in range(_NUM_RESAMPLES)
      ]
    )


def summarise(results: Sequence[LevelResult]) -> dict[str, Any]:
  """All levels in one row; a suite's scores too, if there is one for each.

  Levels weigh the same. The scores are the mean over levels of
  `human_normalised`, the same with each level cut off at 100, the median, and
  the mean of the middle half; each with its 95% interval, `<name>_low` and
  `<name>_high`, None where a level has one episode only.
  """
  rows = [result.summary() for result in results]
  means = np.array([row['mean_return'] for row in rows])
  errors = [row['standard_error'] for row in rows]
  error = None
  if None not in errors:
    error = float(np.sqrt(np.sum(np.square(errors))) / len(errors))
  drawn = [
    each
    for stream, result in enumerate(results)
    if (each := result.resampled_means(stream)) is not None
  ]
  resampled = np.stack(drawn, -1) if len(drawn) == len(results) else None
  summary = {
    'episodes': sum(row['episodes'] for row in rows),
    'mean_return': float(np.mean(means)),
    'standard_error': error,
    **_interval(
      'mean_return', None if resampled is None else np.mean(resampled, -1)
    ),
    'min_return': min(row['min_return'] for row in rows),
    'max_return': max(row['max_return'] for row in rows),
    'mean_steps': float(np.mean([row['mean_steps'] for row in rows])),
  }
  if any(row['human_normalised'] is None for row in rows):
    return summary
  levels = [result.level_name for result in results]
  scores = _normalised(levels, means)
  for name, score in _SUITE_SCORES.items():
    summary[name] = float(score(scores))
    summary |= _interval(
      name,
      None if resampled is None else score(_normalised(levels, resampled)),
    )
  return summary


def _normalised(levels: Sequence[str], means: np.ndarray) -> np.ndarray:
  """Human-normalised scores of `[..., L]` mean returns."""
  zeros = np.array([suites.normalised_score(level, 0.0) for level in levels])
  ones = np.array([suites.normalised_score(level, 1.0) for level in levels])
  return zeros + means * (ones - zeros)


def _middle_half(scores: np.ndarray) -> np.ndarray:
  """`[..., L]` without the least and the most quarter, rounded down."""
  left_out = scores.shape[-1] // 4
  return np.sort(scores, -1)[..., left_out : scores.shape[-1] - left_out]


def _interval(name: str, resampled: np.ndarray | None) -> dict[str, Any]:
  """The ends of a 95% interval under the names of a row."""
  low, high = (
    (None, None)
    if resampled is None
    else np.percentile(resampled, _INTERVAL).tolist()
  )
  return {f'{name}_low': low, f'{name}_high': high}


def write_results(
  directory: pathlib.Path,
  results: Sequence[LevelResult],
  **facts: Any,
) -> pathlib.Path:
  """Writes `results.json`, `results.csv` and `results.md`.

  Args:
    directory: Made if it is not there.
    results: One for each level.
    **facts: What else `results.json` says: `trained_frames`, `seed`, `greedy`.

  Returns:
    The path of `results.json`, which is written last.
  """
  rows = [result.summary() for result in results]
  text = io.StringIO()
  writer = csv.DictWriter(text, rows[0], lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  runs.write_text(directory / 'results.csv', text.getvalue())
  content = {
    **facts,
    'evaluated': runs.now(),
    'summary': summarise(results),
    'levels': [
      {**row, 'returns': list(result.returns), 'steps': list(result.steps)}
      for row, result in zip(rows, results, strict=True)
    ],
  }
  runs.write_text(directory / 'results.md', _markdown(content))
  runs.write_json(directory / 'results.json', content)
  return directory / 'results.json'


def read(results_file: pathlib.Path) -> dict[str, Any]:
  """What a `results.json` says."""
  return json.loads(results_file.read_text(encoding='utf-8'))


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
  content = read(results_file)
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


def _markdown(content: Mapping[str, Any]) -> str:
  """The same for a page, with how to read it."""
  summary, levels = content['summary'], content['levels']
  is_scored = 'median' in summary
  headings = _COLUMNS if is_scored else _COLUMNS[:-1]
  rows = [_cells(row, is_scored) for row in levels]
  text = [f'# {_title(content).capitalize()}', '', *_lines(headings, rows), '']
  if is_scored and len(levels) > 1:
    text += [
      *_lines(
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


def _lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  """A Markdown table; all columns but the first are figures."""
  rule = ['---', *['---:'] * (len(headings) - 1)]
  return [f'| {" | ".join(cells)} |' for cells in (headings, rule, *rows)]
