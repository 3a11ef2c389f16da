"""Levels by name, as `dm_env` environments: the only door to the simulators.

Simulators are imported when the first environment of their kind is made, so
that Catch runs where none is installed.
"""

import dataclasses
import difflib
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import dm_env
from dm_env import specs

from environments import batch, catch, memory, processes, suites

LEVEL_NAMES = (
  'catch',
  'memory',
  *suites.DOOM_SCENARIOS,
  *dict.fromkeys(
    level
    for suite in suites.suites().values()
    for level in (*suite.levels, *suite.test_levels)
  ),
  *suites.LAB_LEVELS,
)

_RENDERERS = ('software', 'hardware')

_EMBEDDED = {'catch': catch.Catch, 'memory': memory.Memory}


class MissingError(RuntimeError):
  """A simulator or its data is not there; the message says how to get it."""


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a level is made with, besides its name and seed.

  The defaults are those of the IMPALA paper's Atari experiments (appendix G)
  and of the evaluation protocol it follows: 30 no-op starts, 30 minutes a game.
  The embedded levels have no use for any of them.

  Raises:
    ValueError: at construction, if a value is out of range.
  """

  num_action_repeats: int = dataclasses.field(
    default=4,
    metadata={
      'help': 'How often each action is repeated; 1 in embedded levels.',
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
  width: int = dataclasses.field(
    default=96,
    metadata={
      'help': "Of DeepMind Lab's pictures; a multiple of 4.",
      'unit': 'pixels',
    },
  )
  height: int = dataclasses.field(
    default=72,
    metadata={
      'help': "Of DeepMind Lab's pictures; a multiple of 4.",
      'unit': 'pixels',
    },
  )
  extended_actions: bool = dataclasses.field(
    default=False,
    metadata={
      'help': "Offer the 15 actions of later work, not the reference's 9 "
      '(DeepMind Lab).',
      'unit': '',
    },
  )
  dataset_path: str = dataclasses.field(
    default='',
    metadata={
      'help': 'Folder of the pictures that two psychlab levels of DeepMind Lab '
      'show.',
      'unit': '',
    },
  )
  level_cache: str = dataclasses.field(
    default='',
    metadata={
      'help': "Folder that keeps DeepMind Lab's maps, for all actors of a "
      'machine; empty: none.',
      'unit': '',
    },
  )
  renderer: str = dataclasses.field(
    default='software',
    metadata={
      'help': 'Of DeepMind Lab: software or hardware.',
      'unit': '',
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
    for name in ('width', 'height'):
      value = getattr(self, name)
      if value < 4 or value % 4:
        raise ValueError(f'{name} must be a multiple of 4, got {value}')
    if self.renderer not in _RENDERERS:
      raise ValueError(
        f'renderer must be one of {", ".join(_RENDERERS)}, got '
        f'{self.renderer!r}'
      )
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
  """Checks the name of a level, a suite or several levels.

  Touches no simulator.

  Args:
    level_name: `LEVEL_NAMES`, a path of DeepMind Lab's, `suites.suites()`, or
      levels with commas between.

  Raises:
    ValueError: if there is no such level; the message lists the nearest.
  """
  levels = suites.split(level_name)
  for level in levels:
    if level in LEVEL_NAMES or _is_path(level):
      continue
    if level in suites.suites():
      raise ValueError(
        f'level_name must be a suite alone or levels, got {level_name!r}'
      )
    known = (*LEVEL_NAMES, *suites.suites())
    nearest = difflib.get_close_matches(level, known, cutoff=0.4)
    hint = f'nearest: {", ".join(nearest)}' if nearest else "as 'atari_pong'"
    raise ValueError(
      "level_name must be 'catch', 'memory', 'atari_' and one of the 57 games, "
      "'doom_' and one of ViZDoom's scenarios, a level of DeepMind Lab, one of "
      'the suites '
      f'{", ".join(sorted(suites.suites()))}, or levels with commas between '
      f'({hint}), got {level!r}'
    )
  if len(set(levels)) < len(levels):
    raise ValueError(
      f'level_name must name each level once, got {level_name!r}'
    )


def _is_path(level: str) -> bool:
  """Whether a level is in a folder of DeepMind Lab's: any may be there."""
  return '/' in level and all(level.split('/'))


def action_repeats(level_name: str, settings: Settings) -> int:
  """Raw frames per agent step: what agent steps are multiplied by."""
  check_level(level_name)
  if suites.split(level_name)[0] in _EMBEDDED:
    return 1
  return settings.num_action_repeats


def frames_per_second(level_name: str) -> float:
  """Raw frames that people see in a second of one level."""
  if level_name in _EMBEDDED:
    return 4.0  # As slow as one can follow.
  return 35.0 if level_name in suites.DOOM_SCENARIOS else 60.0


def make(
  level_name: str,
  seed: int,
  evaluation: bool = False,
  settings: Settings = Settings(),
) -> dm_env.Environment:
  """Makes one environment.

  Args:
    level_name: one of `LEVEL_NAMES` or a path of DeepMind Lab's; not a suite.
    seed: the same seed and actions repeat the same episodes. Non-negative.
    evaluation: whether episodes are whole games; while training, losing a life
      ends an episode too.
    settings: how the level is played.

  Returns:
    The environment. Besides what `dm_env` asks for it has `render()`: `[H, W,
    3]` uint8, RGB, the last timestep for people to look at.

  Raises:
    ValueError: if the level is unknown or the seed negative.
    MissingError: if its simulator, its ROM or its scenario is not installed.
  """
  if level_name not in LEVEL_NAMES and not _is_path(level_name):
    check_level(level_name)
    raise ValueError(f'level_name must be one level, got {level_name!r}')
  if seed < 0:
    raise ValueError(f'seed must be at least 0, got {seed}')
  if level_name in _EMBEDDED:
    return _EMBEDDED[level_name](seed)
  if level_name in suites.DOOM_SCENARIOS:
    try:
      from environments import vizdoom
    except ImportError as error:
      raise MissingError(
        f'{level_name} needs the packages vizdoom and OpenCV ({error}): '
        'pip install -r requirements.txt'
      ) from error
    return vizdoom.Doom(level_name, seed, settings)
  if not level_name.startswith(suites.ATARI_PREFIX):
    try:
      from environments import dmlab
    except ImportError as error:
      raise MissingError(
        f'{level_name} needs DeepMind Lab ({error}): install a wheel of yours '
        'for Python 3.10, which no package index has (see requirements.txt)'
      ) from error
    return dmlab.Lab(level_name, seed, evaluation, settings)
  try:
    from environments import atari
  except ImportError as error:
    raise MissingError(
      f'{level_name} needs the packages of gym[atari] and OpenCV ({error}): '
      'pip install -r requirements.txt'
    ) from error
  game = level_name.removeprefix(suites.ATARI_PREFIX)
  return atari.Atari(game, seed, evaluation, settings)


def make_batch(
  level_name: str,
  seeds: Sequence[int],
  first: int = 0,
  settings: Settings = Settings(),
  num_processes: int = 0,
) -> batch.EnvironmentBatch | processes.ProcessBatch:
  """Makes a batch of training environments, one for each seed.

  Args:
    level_name: levels are dealt round-robin if it means several.
    seeds: of the environments.
    first: index of the first environment among those of all actors.
    settings: how the levels are played.
    num_processes: child processes that the environments run in; 0: none, they
      run in this one.

  Returns:
    The batch; its `levels` are indices of `suites.split(level_name)`.

  Raises:
    ValueError: if the environments have different specs.
    MissingError: if the simulator or a ROM is not installed.
  """
  names = suites.split(level_name)
  levels = [(first + index) % len(names) for index in range(len(seeds))]
  factories = [
    functools.partial(make, names[level], seed, settings=settings)
    for level, seed in zip(levels, seeds, strict=True)
  ]
  if num_processes:
    return processes.ProcessBatch(factories, levels, num_processes)
  return batch.EnvironmentBatch([factory() for factory in factories], levels)


def spec(level_name: str, settings: Settings = Settings()) -> Spec:
  """Specs of observation and action of the first of a name's levels.

  Makes one environment and drops it: which actions a game has is in its ROM.
  """
  level = suites.split(level_name)[0]
  environment = make(level, seed=0, settings=settings)
  try:
    return Spec(environment.observation_spec(), environment.action_spec())
  finally:
    environment.close()


def check_specs(
  level_name: str, settings: Settings = Settings(), evaluation: bool = False
) -> Spec:
  """Checks that one network can play all levels, by making one of each.

  Args:
    level_name: a level, a suite or several levels.
    settings: how the levels are played.
    evaluation: whether a suite means its test levels.

  Returns:
    The specs, which all levels have.

  Raises:
    ValueError: if their observations or actions differ.
    MissingError: if a simulator or a ROM is not installed.
  """
  first, *others = suites.split(level_name, evaluation)
  wanted = spec(first, settings)
  for level in others:
    found = spec(level, settings)
    if found != wanted:
      hint = (
        '; --full_action_set gives all Atari games the same actions'
        if found.observations == wanted.observations
        else ''
      )
      raise ValueError(
        f'level_name must mean levels of the same observations and actions, '
        f'got {first} with {wanted} and {level} with {found}{hint}'
      )
  return wanted
