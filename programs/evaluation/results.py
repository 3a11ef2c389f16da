"""Results of evaluations: statistics of returns, and their files.

Intervals are percentile bootstraps, stratified by level: the episodes of each
level are drawn with replacement. They are about one trained agent, not about
other seeds of training.
"""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import environments
from environments import suites
from programs.evaluation import schedule
from programs.runs import run_config, run_directory

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
  """Result of the episodes of one level."""

  level_name: str
  returns: Sequence[float]  # Undiscounted, unclipped; of each episode.
  steps: Sequence[int]  # Agent steps of each episode.
  frames: int  # Of all episodes.

  def summary(self) -> dict[str, Any]:
    """Return mean, standard error, 95% interval, min and max of the returns.

    `human_normalised` is 0 for a random agent's mean and 100 for a human's;
    None if these are unknown. So are standard error and interval of one
    episode.
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
    """Return `[2000]` means of resampled episodes; None for one episode.

    `stream` seeds the resampling.
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
  """Return the statistics over all levels, which weigh the same.

  If each level has a human-normalised score: their mean, their mean capped at
  100, median and interquartile mean, each with its 95% interval, `<name>_low`
  and `<name>_high` (None if a level has one episode only).
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
  """Return `[..., L]` without its lowest and highest quarter."""
  left_out = scores.shape[-1] // 4
  return np.sort(scores, -1)[..., left_out : scores.shape[-1] - left_out]


def _interval(name: str, resampled: np.ndarray | None) -> dict[str, Any]:
  low, high = (
    (None, None)
    if resampled is None
    else np.percentile(resampled, _INTERVAL).tolist()
  )
  return {f'{name}_low': low, f'{name}_high': high}


def write_episodes(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  frames: int,
  played: Mapping[schedule.WorkUnit, Sequence[schedule.Episode]],
) -> list[LevelResult]:
  """Write the results of episodes; return them by level."""
  by_level: dict[str, list[schedule.Episode]] = {}
  for unit in sorted(played):
    by_level.setdefault(unit.level_name, []).extend(played[unit])
  levels = []
  for name, episodes in by_level.items():
    returns, steps = zip(*episodes, strict=True)
    repeats = environments.action_repeats(name, configuration.environment)
    levels.append(LevelResult(name, returns, steps, sum(steps) * repeats))
  write_results(
    evaluation.folder(configuration, frames),
    levels,
    trained_frames=frames,
    seed=evaluation.seed,
    greedy=evaluation.greedy,
  )
  return levels


def write_results(
  directory: pathlib.Path,
  results: Sequence[LevelResult],
  **facts: Any,
) -> None:
  """Write `results.csv` and, last, `results.json`.

  `facts` in the latter are `trained_frames`, `seed` and `greedy`.
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
