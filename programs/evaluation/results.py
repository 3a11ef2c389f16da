"""What evaluations came to: statistics of returns, and their files.

Intervals are of the percentile bootstrap: the episodes of each level are drawn
with replacement, each level by itself (stratified). They tell how exactly one
trained agent was measured, not how another seed of training would do.
"""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from environments import suites
from programs.runs import run_directory

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


@dataclasses.dataclass(frozen=True)
class LevelResult:
  """What the episodes of one level came to."""

  level_name: str
  returns: Sequence[float]  # Undiscounted, unclipped; of each episode.
  steps: Sequence[int]  # Of the agent in each episode.
  frames: int  # Played in all of them.

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
    """`[2000]` means of episodes drawn with replacement; None of one episode.

    Another `stream` draws other episodes.
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
  zeros = np.array([suites.normalised_score(level, 0.0) for level in levels])
  ones = np.array([suites.normalised_score(level, 1.0) for level in levels])
  return zeros + means * (ones - zeros)


def _middle_half(scores: np.ndarray) -> np.ndarray:
  """`[..., L]` without the least and the most quarter, rounded down."""
  left_out = scores.shape[-1] // 4
  return np.sort(scores, -1)[..., left_out : scores.shape[-1] - left_out]


def _interval(name: str, resampled: np.ndarray | None) -> dict[str, Any]:
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
) -> None:
  """Writes `results.csv` and, last, `results.json`.

  `facts` for the latter are `trained_frames`, `seed` and `greedy`.
  """
  rows = [result.summary() for result in results]
  text = io.StringIO()
  writer = csv.DictWriter(text, rows[0], lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  run_directory.write_text(directory / 'results.csv', text.getvalue())
  content = {
    **facts,
    'evaluated': run_directory.now(),
    'summary': summarise(results),
    'levels': [
      {**row, 'returns': list(result.returns), 'steps': list(result.steps)}
      for row, result in zip(rows, results, strict=True)
    ],
  }
  run_directory.write_json(directory / 'results.json', content)
