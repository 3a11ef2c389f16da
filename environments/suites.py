"""Suites: levels that are trained together, and their human-normalised score.

A level's name may mean several levels: a suite, or names with commas between.
Nothing here touches a simulator.
"""

import csv
import difflib
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

ATARI_PREFIX = 'atari_'

# ViZDoom's levels and the configuration file of each. The first two are Sample
# Factory's (https://github.com/alex-petrenko/sample-factory), of the same map;
# the others come with the vizdoom package.
DOOM_SCENARIOS: Mapping[str, str] = {
  'doom_benchmark': 'battle.cfg',
  'doom_battle': 'battle.cfg',
  **{
    f'doom_{name}': f'{name}.cfg'
    for name in (
      'basic',
      'deadly_corridor',
      'deathmatch',
      'defend_the_center',
      'defend_the_line',
      'health_gathering',
      'my_way_home',
      'predict_position',
      'take_cover',
    )
  },
}

_SCORES = pathlib.Path(__file__).parent / 'scores'


# DeepMind Lab's own levels outside of a folder (deepmind/lab, game_scripts).
LAB_LEVELS = (
  'lt_chasm',
  'lt_hallway_slope',
  'lt_horseshoe_color',
  'lt_space_bounce_hard',
  *(f'nav_maze_random_goal_0{number}' for number in (1, 2, 3)),
  *(f'nav_maze_static_0{number}' for number in (1, 2, 3)),
  'seekavoid_arena_01',
  'stairway_to_melon_01',
)


class Suite(NamedTuple):
  """Levels with the scores that their returns are held against.

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
    """Scores by test level, of the returns by trained or tested level.

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
    """0 for a random agent's mean return and 100 for a human's."""
    random = self.random_scores[test_level]
    human = self.human_scores[test_level]
    return 100.0 * (mean_return - random) / (human - random)


def capped_mean(scores: Mapping[str, float], cap: float) -> float:
  """Mean over levels after each is cut off at `cap`, as for DMLab-30."""
  return float(np.mean([min(score, cap) for score in scores.values()]))


def normalised_score(level: str, mean_return: float) -> float | None:
  """Of a level of any suite, as `Suite.normalised_score`; None of others."""
  for suite in suites().values():
    if level in suite.human_scores:
      return suite.normalised_score(level, mean_return)
  return None


@functools.cache
def suites() -> Mapping[str, Suite]:
  """The suites by name: 'atari57' and 'dmlab30'.

  Random and human scores are those of DQN Zoo (google-deepmind/dqn_zoo,
  atari_data.py) and of the reference (google-deepmind/scalable_agent,
  dmlab30.py). In Video Pinball they lie so close together that its score drowns
  a mean over Atari: report the median there.
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


def is_dmlab30(level: str) -> bool:
  """Whether a level is one of DMLab-30's, trained or tested on."""
  suite = suites()['dmlab30']
  return level in suite.levels or level in suite.test_levels


def _read(name: str) -> list[dict[str, str]]:
  with open(_SCORES / name, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _columns(
  levels: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> tuple[dict[str, float], dict[str, float]]:
  """Random and human scores by level."""
  random, human = (
    {level: float(row[column]) for level, row in zip(levels, rows, strict=True)}
    for column in ('random', 'human')
  )
  return random, human


def split(level_name: str, evaluation: bool = False) -> tuple[str, ...]:
  """The levels that a name means, without looking whether they exist.

  In an evaluation a suite means its test levels.
  """
  suite = suites().get(level_name)
  if suite:
    return suite.test_levels if evaluation else suite.levels
  return tuple(level_name.split(','))


LEVEL_NAMES = (
  'catch',
  'memory',
  *DOOM_SCENARIOS,
  *dict.fromkeys(
    level
    for suite in suites().values()
    for level in (*suite.levels, *suite.test_levels)
  ),
  *LAB_LEVELS,
)


def check(level_name: str) -> None:
  """A ValueError if there is no such level, with the nearest; makes none."""
  levels = split(level_name)
  for level in levels:
    if level in LEVEL_NAMES or is_path(level):
      continue
    if level in suites():
      raise ValueError(
        f'level_name must be a suite alone or levels, got {level_name!r}'
      )
    known = (*LEVEL_NAMES, *suites())
    nearest = difflib.get_close_matches(level, known, cutoff=0.4)
    hint = f'nearest: {", ".join(nearest)}' if nearest else "as 'atari_pong'"
    raise ValueError(
      "level_name must be 'catch', 'memory', 'atari_' and one of the 57 games, "
      "'doom_' and one of ViZDoom's scenarios, a level of DeepMind Lab, one of "
      f'the suites {", ".join(sorted(suites()))}, or levels with commas '
      f'between ({hint}), got {level!r}'
    )
  if len(set(levels)) < len(levels):
    raise ValueError(
      f'level_name must name each level once, got {level_name!r}'
    )


def is_path(level: str) -> bool:
  """Whether a level is in a folder of DeepMind Lab's: any may be there."""
  return '/' in level and all(level.split('/'))
