"""Schedule of an evaluation: its configuration, work units and progress."""

import dataclasses
import json
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from agents.impala import config as config_lib
from environments import suites
from programs.runs import run_config, run_directory

# Few, so that several evaluators share a level; not one, since a simulator
# takes seconds to start. Results depend on this number, not on the evaluator.
_EPISODES_PER_UNIT = 5

_PROGRESS = 'progress.json'
CHECKPOINTS = ('newest', 'best')


class WorkUnit(NamedTuple):
  """Episodes of one level that one environment plays."""

  level: int  # Index among the levels of the evaluation.
  level_name: str
  first: int  # Index among the episodes of the level.
  num_episodes: int


class Episode(NamedTuple):
  """An episode that was played."""

  episode_return: float  # Undiscounted, unclipped.
  steps: int  # Agent steps.


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """Configuration of an evaluation.

  Raises:
    ValueError: A value breaks its rule.
  """

  level_name: str = config_lib.option(
    '',
    'Levels, with the observations and actions of the training level; a suite '
    'stands for its test levels.',
  )
  test_num_episodes: int = config_lib.option(
    10, 'Episodes of each level.', 'episodes', config_lib.POSITIVE
  )
  seed: int = config_lib.option(
    1,
    'Seed of environments and actions; the same seed repeats the episodes.',
    rule=config_lib.NOT_NEGATIVE,
  )
  greedy: bool = config_lib.option(
    False,
    'Take the most likely action; otherwise sample actions, as the reference '
    'does.',
  )
  checkpoint: str = config_lib.option(
    'newest',
    'Checkpoint: the newest, or the one with the best score in training.',
    rule=config_lib.one_of(CHECKPOINTS),
  )
  video: int = config_lib.option(
    0,
    'Number of episodes of each level to record as mp4, the first ones.',
    'episodes',
    config_lib.NOT_NEGATIVE,
  )
  watch: bool = config_lib.option(
    False,
    'Evaluate each new checkpoint until the run has finished.',
  )
  num_evaluators: int = config_lib.option(
    0,
    'Processes that share the episodes; 0: one per core, at most one per work '
    'unit (5 episodes).',
    'processes',
    config_lib.NOT_NEGATIVE,
  )

  def __post_init__(self) -> None:
    config_lib.check(self)

  @classmethod
  def of_run(
    cls, configuration: run_config.Configuration, **given: Any
  ) -> 'EvaluationConfig':
    """Return the evaluation of a training run, but for `given`."""
    levels_and_more = {
      'level_name': configuration.run.level_name,
      'test_num_episodes': configuration.run.test_num_episodes,
      'seed': configuration.agent.seed,
    }
    return cls(**{**levels_and_more, **given})

  def work_units(self) -> list[WorkUnit]:
    """Return work units with all episodes of each level, in order."""
    total = self.test_num_episodes
    return [
      WorkUnit(level, name, first, min(_EPISODES_PER_UNIT, total - first))
      for level, name in enumerate(suites.split(self.level_name, True))
      for first in range(0, total, _EPISODES_PER_UNIT)
    ]

  def checkpoints(self, directory: run_directory.RunDirectory) -> pathlib.Path:
    """Return the folder of the checkpoints to evaluate."""
    is_best = self.checkpoint == 'best'
    return directory.best_checkpoint if is_best else directory.checkpoints

  @property
  def seeds(self) -> tuple[int, ...]:
    """Seeds of the episodes.

    The best checkpoint is played with other seeds than those that selected it,
    so that its score is not biased.
    """
    return (self.seed, CHECKPOINTS.index(self.checkpoint))

  def folder(
    self, configuration: run_config.Configuration, frames: int
  ) -> pathlib.Path:
    """Return the folder for results of a checkpoint at `frames`.

    Its name has what differs from the evaluations of training.
    """
    parts, run = [str(frames)], configuration.run
    if self.level_name != run.level_name:
      levels = self.level_name.replace('/', '_')
      if len(levels) > 100:
        levels = f'{levels[:90]}_{zlib.crc32(levels.encode()):08x}'
      parts.append(levels)
    if self.test_num_episodes != run.test_num_episodes:
      parts.append(f'{self.test_num_episodes}episodes')
    if self.seed != configuration.agent.seed:
      parts.append(f'seed{self.seed}')
    if self.checkpoint == 'best':
      parts.append('best')
    if self.greedy:
      parts.append('greedy')
    return configuration.directory.evaluations / '_'.join(parts)


class Progress(NamedTuple):
  """Progress of an evaluation."""

  frames: int  # Of the checkpoint.
  num_played: int
  num_episodes: int  # Of all levels.
  results: Sequence[str]  # Each `results.json` written so far.


def read_progress(folder: pathlib.Path) -> Progress | None:
  """Return the progress of the evaluation server; None before it starts."""
  try:
    return Progress(*json.loads((folder / _PROGRESS).read_text()))
  except FileNotFoundError:
    return None


def write_progress(folder: pathlib.Path, progress: Progress) -> None:
  """Write progress for `read_progress`."""
  run_directory.write_json(folder / _PROGRESS, progress)
