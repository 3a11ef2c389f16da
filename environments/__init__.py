"""Levels by name, as `dm_env` environments: the only door to the simulators.

Simulators are imported when the first environment of their kind is made, so
that Catch runs where none is installed.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import dm_env
from dm_env import specs

from environments import batch, catch

# The 57 games of the Atari benchmark, by the names of their ROM files.
_ATARI_GAMES_TEXT = (
  'alien amidar assault asterix asteroids atlantis bank_heist battle_zone '
  'beam_rider berzerk bowling boxing breakout centipede chopper_command '
  'crazy_climber defender demon_attack double_dunk enduro fishing_derby '
  'freeway frostbite gopher gravitar hero ice_hockey jamesbond kangaroo krull '
  'kung_fu_master montezuma_revenge ms_pacman name_this_game phoenix pitfall '
  'pong private_eye qbert riverraid road_runner robotank seaquest skiing '
  'solaris space_invaders star_gunner surround tennis time_pilot tutankham '
  'up_n_down venture video_pinball wizard_of_wor yars_revenge zaxxon'
)
ATARI_GAMES = tuple(_ATARI_GAMES_TEXT.split())

_ATARI_PREFIX = 'atari_'

LEVEL_NAMES = ('catch', *(_ATARI_PREFIX + game for game in ATARI_GAMES))


class MissingError(RuntimeError):
  """A simulator or its data is not there; the message says how to get it."""


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a level is made with, besides its name and seed.

  The defaults are those of the IMPALA paper's Atari experiments (appendix G)
  and of the evaluation protocol it follows: 30 no-op starts, 30 minutes a game.
  Catch has no use for any of them.

  Raises:
    ValueError: at construction, if a value is out of range.
  """

  num_action_repeats: int = dataclasses.field(
    default=4,
    metadata={
      'help': 'How often each action is repeated; Catch always takes 1.',
      'unit': 'raw frames per agent step',
    },
  )
  full_action_set: bool = dataclasses.field(
    default=False,
    metadata={
      'help': 'Offer all 18 Atari actions, not only those the game uses.',
      'unit': '',
    },
  )
  repeat_action_probability: float = dataclasses.field(
    default=0.0,
    metadata={
      'help': 'Sticky actions: chance that Atari keeps the action before.',
      'unit': 'probability per raw frame, 0 to below 1',
    },
  )
  max_episode_frames: int = dataclasses.field(
    default=108_000,
    metadata={
      'help': 'Where an Atari game that has not ended is truncated.',
      'unit': 'raw frames (60 a second)',
    },
  )
  max_noops: int = dataclasses.field(
    default=30,
    metadata={
      'help': 'An Atari game starts with 1 to this many no-ops; 0: none.',
      'unit': 'raw frames',
    },
  )

  def __post_init__(self) -> None:
    for name, smallest in (
      ('num_action_repeats', 1),
      ('max_episode_frames', 1),
      ('max_noops', 0),
    ):
      value = getattr(self, name)
      if value < smallest:
        raise ValueError(f'{name} must be at least {smallest}, got {value}')
    if not 0.0 <= self.repeat_action_probability < 1.0:
      raise ValueError(
        'repeat_action_probability must be at least 0 and below 1, got '
        f'{self.repeat_action_probability}'
      )


class Spec(NamedTuple):
  """What a network has to know of a level."""

  observations: Any
  actions: specs.DiscreteArray


def check_level(level_name: str) -> None:
  """Checks a level's name without touching a simulator.

  Args:
    level_name: one of `LEVEL_NAMES`.

  Raises:
    ValueError: if there is no such level; the message lists the nearest.
  """
  if level_name in LEVEL_NAMES:
    return
  nearest = difflib.get_close_matches(level_name, LEVEL_NAMES, cutoff=0.4)
  hint = f'nearest: {", ".join(nearest)}' if nearest else "as 'atari_pong'"
  raise ValueError(
    "level_name must be 'catch' or 'atari_' and one of the 57 games "
    f'({hint}), got {level_name!r}'
  )


def action_repeats(level_name: str, settings: Settings) -> int:
  """Raw frames per agent step: what agent steps are multiplied by."""
  check_level(level_name)
  return 1 if level_name == 'catch' else settings.num_action_repeats


def make(
  level_name: str,
  seed: int,
  evaluation: bool = False,
  settings: Settings = Settings(),
) -> dm_env.Environment:
  """Makes one environment.

  Args:
    level_name: one of `LEVEL_NAMES`.
    seed: the same seed and actions repeat the same episodes. Non-negative.
    evaluation: whether episodes are whole games; while training, losing a life
      ends an episode too.
    settings: how the level is played.

  Returns:
    The environment.

  Raises:
    ValueError: if the level is unknown or the seed negative.
    MissingError: if its simulator or its ROM is not installed.
  """
  check_level(level_name)
  if seed < 0:
    raise ValueError(f'seed must be at least 0, got {seed}')
  if level_name == 'catch':
    return catch.Catch(seed)
  try:
    from environments import atari
  except ImportError as error:
    raise MissingError(
      f'{level_name} needs the packages of gym[atari] and OpenCV ({error}): '
      'pip install -r requirements.txt'
    ) from error
  game = level_name.removeprefix(_ATARI_PREFIX)
  return atari.Atari(game, seed, evaluation, settings)


def make_batch(
  level_name: str,
  seeds: Sequence[int],
  settings: Settings = Settings(),
) -> batch.EnvironmentBatch:
  """Makes a batch of training environments, one for each seed."""
  return batch.EnvironmentBatch(
    [make(level_name, seed, settings=settings) for seed in seeds]
  )


def spec(
  level_name: str,
  settings: Settings = Settings(),
) -> Spec:
  """Specs of a level's observation and action.

  Makes one environment and drops it: which actions a game has is in its ROM.
  """
  environment = make(level_name, seed=0, settings=settings)
  try:
    return Spec(environment.observation_spec(), environment.action_spec())
  finally:
    environment.close()
