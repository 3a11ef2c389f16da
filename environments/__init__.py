"""Levels by name, as `dm_env` environments: the only door to the simulators.

Simulators are imported when the first environment of their kind is made, so
that Catch runs where none is installed.
"""

import dataclasses
import functools
import importlib
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import dm_env
from dm_env import specs

from environments import batch, catch, memory, processes, suites

_RENDERERS = ('software', 'hardware')

_INSTALL = 'pip install -r requirements.txt'
# Module of a simulator -> what it needs, and how to get that.
_PACKAGES = {
  'atari': ('the packages of gym[atari] and OpenCV', _INSTALL),
  'vizdoom': ('the packages vizdoom and OpenCV', _INSTALL),
  'dmlab': (
    'DeepMind Lab',
    'install a wheel of yours for Python 3.10, which no package index has (see '
    'requirements.txt)',
  ),
}

_EMBEDDED = {'catch': catch.Catch, 'memory': memory.Memory}


class MissingError(RuntimeError):
  """A simulator or its data is not there; the message says how to get it."""


def _option(default: Any, meaning: str, unit: str = '') -> Any:
  return dataclasses.field(
    default=default, metadata={'help': meaning, 'unit': unit}
  )


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a level is made with, besides its name and seed.

  The defaults are those of the IMPALA paper's Atari experiments (appendix G)
  and of the evaluation protocol it follows: 30 no-op starts, 30 minutes a game.
  The embedded levels have no use for any of them. A value out of range is a
  ValueError.
  """

  num_action_repeats: int = _option(
    4,
    'How often each action is repeated; 1 in embedded levels.',
    'raw frames per agent step',
  )
  full_action_set: bool = _option(
    False, 'Offer all 18 Atari actions, not only those the game uses.'
  )
  repeat_action_probability: float = _option(
    0.0,
    'Sticky actions: chance that Atari keeps the action before.',
    'probability per raw frame, 0 to below 1',
  )
  max_episode_frames: int = _option(
    108_000,
    'Where an Atari game that has not ended is truncated.',
    'raw frames (60 a second)',
  )
  max_noops: int = _option(
    30,
    'An Atari game starts with 1 to this many no-ops; 0: none.',
    'raw frames',
  )
  width: int = _option(
    96, "Of DeepMind Lab's pictures; a multiple of 4.", 'pixels'
  )
  height: int = _option(
    72, "Of DeepMind Lab's pictures; a multiple of 4.", 'pixels'
  )
  extended_actions: bool = _option(
    False,
    "Offer the 15 actions of later work, not the reference's 9 (DeepMind Lab).",
  )
  dataset_path: str = _option(
    '',
    'Folder of the pictures that two psychlab levels of DeepMind Lab show.',
  )
  level_cache: str = _option(
    '',
    "Folder that keeps DeepMind Lab's maps, for all actors of a machine; "
    'empty: none.',
  )
  renderer: str = _option('software', 'Of DeepMind Lab: software or hardware.')

  def __post_init__(self) -> None:
    sticky = self.repeat_action_probability
    for name, holds, rule in (
      ('num_action_repeats', self.num_action_repeats >= 1, 'at least 1'),
      ('max_episode_frames', self.max_episode_frames >= 1, 'at least 1'),
      ('max_noops', self.max_noops >= 0, 'at least 0'),
      ('width', _is_side(self.width), 'a multiple of 4'),
      ('height', _is_side(self.height), 'a multiple of 4'),
      (
        'renderer',
        self.renderer in _RENDERERS,
        'one of ' + ', '.join(_RENDERERS),
      ),
      ('repeat_action_probability', 0 <= sticky < 1, 'at least 0 and below 1'),
    ):
      if not holds:
        raise ValueError(f'{name} must be {rule}, got {getattr(self, name)!r}')


def _is_side(pixels: int) -> bool:
  return pixels >= 4 and pixels % 4 == 0


class Spec(NamedTuple):
  """What a network has to know of a level."""

  observations: Any
  actions: specs.DiscreteArray


def action_repeats(level_name: str, settings: Settings) -> int:
  """Raw frames per agent step: what agent steps are multiplied by."""
  suites.check(level_name)
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
  """Makes one environment of a level; the same seed repeats its episodes.

  In an evaluation episodes are whole games; while training, losing a life ends
  an episode too. Besides what `dm_env` asks for the environment has `render()`:
  `[H, W, 3]` uint8, RGB, the last timestep for people to look at.

  Raises:
    ValueError: if the level is unknown or the seed negative.
    MissingError: if its simulator, its ROM or its scenario is not installed.
  """
  if level_name not in suites.LEVEL_NAMES and not suites.is_path(level_name):
    suites.check(level_name)
    raise ValueError(f'level_name must be one level, got {level_name!r}')
  if seed < 0:
    raise ValueError(f'seed must be at least 0, got {seed}')
  if level_name in _EMBEDDED:
    return _EMBEDDED[level_name](seed)
  if level_name in suites.DOOM_SCENARIOS:
    vizdoom = _simulator(level_name, 'vizdoom')
    return vizdoom.Doom(level_name, seed, settings)
  if level_name.startswith(suites.ATARI_PREFIX):
    atari = _simulator(level_name, 'atari')
    game = level_name.removeprefix(suites.ATARI_PREFIX)
    return atari.Atari(game, seed, evaluation, settings)
  dmlab = _simulator(level_name, 'dmlab')
  return dmlab.Lab(level_name, seed, evaluation, settings)


def _simulator(level_name: str, name: str) -> types.ModuleType:
  try:
    return importlib.import_module(f'environments.{name}')
  except ImportError as error:
    packages, remedy = _PACKAGES[name]
    raise MissingError(
      f'{level_name} needs {packages} ({error}): {remedy}'
    ) from error


def make_batch(
  level_name: str,
  seeds: Sequence[int],
  first: int = 0,
  settings: Settings = Settings(),
  num_processes: int = 0,
) -> batch.EnvironmentBatch | processes.ProcessBatch:
  """Makes a batch of training environments, one for each seed.

  Levels are dealt round-robin if the name means several; `first` is the index
  of the first environment among those of all actors. The batch's `levels` are
  indices of `suites.split(level_name)`. With 0 processes the environments run
  in this one, else in so many children.

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

  Returns the specs, which all have. In an evaluation a suite means its test
  levels.

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
