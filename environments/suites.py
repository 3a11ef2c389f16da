"""Suites: levels that are trained together, and their human-normalised score.

A level's name may mean several levels: a suite, or names separated by commas.
"""

import csv
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

ATARI_PREFIX = 'atari_'

_SCORES = pathlib.Path(__file__).parent / 'scores'


class Suite(NamedTuple):
  """Levels with the scores that their returns are normalised by.

  Test levels are in the order of the levels trained on; two of DMLab-30 differ.
  Scores are mean returns by test level.
  """

  name: str
  levels: tuple[str, ...]
  test_levels: tuple[str, ...]
  random_scores: Mapping[str, float]
  human_scores: Mapping[str, float]

  def normalised_scores(
    self, returns: Mapping[str, Sequence[float]]
  ) -> dict[str, float]:
    """Return scores by test level of returns by trained or tested level.

    Raises:
      ValueError: A level is missing, is not of the suite or has no return.
    """
    tests = dict(zip(self.levels, self.test_levels, strict=True))
    by_test = {tests.get(level, level): each for level, each in returns.items()}
    for level in sorted({*by_test, *self.test_levels}):
      if level not in self.test_levels:
        raise ValueError(f'returns must be of {self.name}, got {level!r}')
      if not len(by_test.get(level, ())):
        raise ValueError(
          f'returns must hold an episode of each level of {self.name}, '
          f'got none of {level!r}'
        )
    return {
      level: self.normalised_score(level, float(np.mean(by_test[level])))
      for level in self.test_levels
    }

  def normalised_score(self, test_level: str, mean_return: float) -> float:
    """Return 0 for a random agent's mean return and 100 for a human's."""
    random = self.random_scores[test_level]
    human = self.human_scores[test_level]
    return 100.0 * (mean_return - random) / (human - random)


def capped_mean(scores: Mapping[str, float], cap: float) -> float:
  """Return the mean over levels, each capped at `cap`, as for DMLab-30."""
  return float(np.mean([min(score, cap) for score in scores.values()]))


def normalised_score(level: str, mean_return: float) -> float | None:
  """Return `Suite.normalised_score` of a level; None if no suite has it."""
  for suite in suites().values():
    if level in suite.human_scores:
      return suite.normalised_score(level, mean_return)
  return None


@functools.cache
def suites() -> Mapping[str, Suite]:
  """Return the suites by name: 'atari57' and 'dmlab30'.

  Random and human scores are those of DQN Zoo (google-deepmind/dqn_zoo,
  atari_data.py) and of the reference (google-deepmind/scalable_agent,
  dmlab30.py). In Video Pinball they are so close together that its score
  dominates a mean over Atari: report the median there.
  """
  atari = _read('atari57.csv')
  games = tuple(ATARI_PREFIX + row['game'] for row in atari)
  lab = _read('dmlab30.csv')
  tests = tuple(row['test_level'] for row in lab)
  return {
    'atari57': Suite('atari57', games, games, *_columns(games, atari)),
    'dmlab30': Suite(
      'dmlab30',
      tuple(row['train_level'] for row in lab),
      tests,
      *_columns(tests, lab),
    ),
  }


def _read(name: str) -> list[dict[str, str]]:
  with open(_SCORES / name, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _columns(
  levels: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> tuple[dict[str, float], dict[str, float]]:
  random, human = (
    {level: float(row[column]) for level, row in zip(levels, rows, strict=True)}
    for column in ('random', 'human')
  )
  return random, human


def split(level_name: str, evaluation: bool = False) -> tuple[str, ...]:
  """Return the levels that a name means, without checking that they exist.

  In an evaluation a suite means its test levels.
  """
  suite = suites().get(level_name)
  if suite:
    return suite.test_levels if evaluation else suite.levels
  return tuple(level_name.split(','))
