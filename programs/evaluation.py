"""Evaluation: whole episodes with fixed variables, and their results."""

import csv
import dataclasses
import json
import math
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import acme
import dm_env
import numpy as np
import rich.table
from acme.utils import loggers, observers

import environments
from agents.impala import acting, networks
from environments import suites
from programs import runs

# Keeps evaluation's seeds apart from those of the actors.
_SEED_STREAM = 1_000_003


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
    """One row: mean, standard error, min and max of the returns.

    `human_normalised` is 0 for a random agent's mean and 100 for a human's, and
    None where these are not known; so is the standard error of one episode.
    """
    count = len(self.returns)
    error = None
    if count > 1:
      error = float(np.std(self.returns, ddof=1) / math.sqrt(count))
    return {
      'level_name': self.level_name,
      'episodes': count,
      'mean_return': float(np.mean(self.returns)),
      'standard_error': error,
      'min_return': float(np.min(self.returns)),
      'max_return': float(np.max(self.returns)),
      'human_normalised': suites.normalised_score(
        self.level_name, float(np.mean(self.returns))
      ),
      'mean_steps': float(np.mean(self.steps)),
      'frames': self.frames,
    }


class Stopped(Exception):
  """The program stops before the episodes are over."""


class _StopObserver(observers.EnvLoopObserver):
  """Leaves an episode, which may be half an hour long, when asked to stop."""

  def __init__(self, stop: threading.Event) -> None:
    self._stop = stop

  def observe_first(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep
  ) -> None:
    """Nothing: the first step is soon enough."""

  def observe(
    self,
    env: dm_env.Environment,
    timestep: dm_env.TimeStep,
    action: np.ndarray,
  ) -> None:
    """Raises `Stopped` when the program stops."""
    if self._stop.is_set():
      raise Stopped

  def get_metrics(self) -> dict[str, Any]:
    """None."""
    return {}


def play(
  configuration: runs.Configuration,
  level_name: str,
  network: networks.ImpalaNetwork,
  *,
  num_episodes: int,
  seed: int,
  greedy: bool,
  stop: threading.Event,
  on_episode: Callable[[str], None] = lambda level: None,
) -> list[LevelResult]:
  """Plays whole evaluation episodes of each level that a name means.

  Args:
    configuration: Of the run.
    level_name: May be another than the trained one, of the same actions. A
      suite means its test levels.
    network: Its variables are used as they are.
    num_episodes: How many of each level.
    seed: Of the environments.
    greedy: Takes the most likely action instead of sampling, as the reference
      does.
    stop: Ends the evaluation.
    on_episode: Told the level after each episode.

  Returns:
    A result for each level.

  Raises:
    Stopped: `stop` was set before the last episode ended.
  """
  settings = configuration.environment
  actor = acting.EvaluationActor(network, greedy)
  results = []
  for level in suites.split(level_name, evaluation=True):
    environment = environments.make(
      level, seed + _SEED_STREAM, evaluation=True, settings=settings
    )
    loop = acme.EnvironmentLoop(
      environment,
      actor,
      logger=loggers.NoOpLogger(),
      should_update=False,
      observers=[_StopObserver(stop)],
    )
    returns, steps = [], []
    try:
      for _ in range(num_episodes):
        result = loop.run_episode()
        returns.append(float(result['episode_return']))
        steps.append(int(result['episode_length']))
        on_episode(level)
    finally:
      environment.close()
    repeats = environments.action_repeats(level, settings)
    results.append(LevelResult(level, returns, steps, sum(steps) * repeats))
  return results


def write_results(
  directory: pathlib.Path,
  results: Sequence[LevelResult],
  **facts: Any,
) -> pathlib.Path:
  """Writes `results.json` and `results.csv`; returns the path of the former.

  Args:
    directory: Made if it is not there.
    results: One for each level.
    **facts: What else `results.json` says: frames trained, seed, greedy.
  """
  directory.mkdir(parents=True, exist_ok=True)
  rows = [result.summary() for result in results]
  with open(directory / 'results.csv', 'w', encoding='utf-8') as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  levels = [
    {**row, 'returns': list(result.returns), 'steps': list(result.steps)}
    for row, result in zip(rows, results, strict=True)
  ]
  path = directory / 'results.json'
  runs.write_json(
    path,
    {
      **facts,
      'evaluated': runs.now(),
      'summary': summarise(results),
      'levels': levels,
    },
  )
  return path


def summarise(results: Sequence[LevelResult]) -> dict[str, Any]:
  """All levels in one row; a suite's scores too, if there is one for each.

  The scores are the mean over levels of `human_normalised`, the same with each
  level cut off at 100, and the median.
  """
  rows = [result.summary() for result in results]
  errors = [row['standard_error'] for row in rows]
  error = None
  if None not in errors:
    error = float(np.sqrt(np.sum(np.square(errors))) / len(errors))
  summary = {
    'episodes': sum(row['episodes'] for row in rows),
    'mean_return': float(np.mean([row['mean_return'] for row in rows])),
    'standard_error': error,
    'min_return': min(row['min_return'] for row in rows),
    'max_return': max(row['max_return'] for row in rows),
    'mean_steps': float(np.mean([row['mean_steps'] for row in rows])),
  }
  scores = {
    row['level_name']: row['human_normalised']
    for row in rows
    if row['human_normalised'] is not None
  }
  if len(scores) == len(rows):
    summary |= {
      'no_cap': suites.capped_mean(scores, math.inf),
      'cap_100': suites.capped_mean(scores, 100.0),
      'median': float(np.median(list(scores.values()))),
    }
  return summary


def table(results_file: pathlib.Path) -> rich.table.Table:
  """A `results.json` for people."""
  content = json.loads(results_file.read_text(encoding='utf-8'))
  choice = 'most likely' if content['greedy'] else 'sampled'
  shown = rich.table.Table(
    title=f'evaluation at frame {content["trained_frames"]:,}, {choice} '
    'actions',
    title_justify='left',
  )
  shown.add_column('level', no_wrap=True)
  for heading in ('episodes', 'mean return', 'standard error', 'min', 'max'):
    shown.add_column(heading, justify='right')
  summary = content['summary']
  if 'median' in summary:
    shown.add_column('human %', justify='right')
  shown.add_column('frames', justify='right')
  for row in content['levels']:
    cells = [
      row['level_name'],
      f'{row["episodes"]:,}',
      f'{row["mean_return"]:.2f}',
      '?' if row['standard_error'] is None else f'{row["standard_error"]:.2f}',
      f'{row["min_return"]:.2f}',
      f'{row["max_return"]:.2f}',
    ]
    if 'median' in summary:
      cells.append(f'{row["human_normalised"]:.1f}')
    shown.add_row(*cells, f'{row["frames"]:,}')
  if 'median' in summary and len(content['levels']) > 1:
    shown.caption = (
      f'human-normalised: mean {summary["no_cap"]:.1f}, mean capped at 100 '
      f'{summary["cap_100"]:.1f}, median {summary["median"]:.1f}'
    )
    shown.caption_justify = 'left'
  return shown
