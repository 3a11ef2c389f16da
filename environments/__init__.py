"""Levels by name, as `dm_env` environments: the only door to the simulators.

To add a simulator, write its file like `catch.py` and list it in SIMULATORS;
if it has settings of its own (see `atari.py`), let `Settings` inherit them.
"""

import dataclasses
import difflib
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import dm_env
from dm_env import specs

from environments import (
  atari,
  batch,
  catch,
  dmlab,
  memory,
  processes,
  simulator,
  suites,
  vizdoom,
)

SIMULATORS = tuple(
  each.SIMULATOR for each in (catch, memory, atari, vizdoom, dmlab)
)
LEVEL_NAMES = tuple(level for each in SIMULATORS for level in each.levels)
_EXAMPLES = ', '.join(each.levels[0] for each in SIMULATORS)

MissingError = simulator.MissingError


@dataclasses.dataclass(frozen=True)
class Settings(dmlab.Settings, atari.Settings):
  """Settings of all simulators together: a flag each."""


class Spec(NamedTuple):
  """The specs that a network is built for."""

  observations: Any
  actions: specs.DiscreteArray


def check(level_name: str) -> None:
  """Check that a name means levels, without making any.

  Raises:
    ValueError: A level is unknown (names the nearest) or is named twice.
  """
  levels = suites.split(level_name)
  for level in levels:
    if any(each.has_level(level) for each in SIMULATORS):
      continue
    if level in suites.suites():
      raise ValueError(
        f'level_name must be a suite alone or levels, got {level_name!r}'
      )
    known = (*LEVEL_NAMES, *suites.suites())
    nearest = difflib.get_close_matches(level, known, cutoff=0.4)
    hint = f' (nearest: {", ".join(nearest)})' if nearest else ''
    raise ValueError(
      f'level_name must be a level like {_EXAMPLES}, one of the suites '
      f'{", ".join(suites.suites())}, or levels separated by commas{hint}, '
      f'got {level!r}'
    )
  if len(set(levels)) < len(levels):
    raise ValueError(
      f'level_name must name each level once, got {level_name!r}'
    )


def _find_simulator(level_name: str) -> simulator.Simulator:
  for each in SIMULATORS:
    if each.has_level(level_name):
      return each
  check(level_name)
  raise ValueError(f'level_name must be one level, got {level_name!r}')


def action_repeats(level_name: str, settings: Settings) -> int:
  """Return the raw frames per agent step; ValueError if a level is unknown."""
  check(level_name)
  first = _find_simulator(suites.split(level_name)[0])
  return settings.num_action_repeats if first.has_action_repeats else 1


def frames_per_second(level_name: str) -> float:
  """Return the raw frames in a second of one level, as people play it."""
  return _find_simulator(level_name).frames_per_second


def make(
  level_name: str,
  seed: int,
  evaluation: bool = False,
  settings: Settings = Settings(),
) -> dm_env.Environment:
  """Make one environment of a level; the same seed repeats its episodes.

  In an evaluation episodes are whole games; in training a lost life ends one
  too. Besides the methods of `dm_env` the environment has `render()`:
  `[H, W, 3]` uint8, RGB, an image of the last timestep for people.

  Raises:
    ValueError: The level is unknown or the seed negative.
    MissingError: Its simulator, its ROM or its scenario is not installed.
  """
  found = _find_simulator(level_name)
  if seed < 0:
    raise ValueError(f'seed must be at least 0, got {seed}')
  try:
    return found.make(level_name, seed, evaluation, settings)
  except ImportError as error:
    raise MissingError(
      f'{level_name} needs {found.requirement} ({error}): {found.remedy}'
    ) from error


def make_batch(
  level_name: str,
  seeds: Sequence[int],
  first: int = 0,
  settings: Settings = Settings(),
  num_processes: int = 0,
) -> batch.EnvironmentBatch | processes.ProcessBatch:
  """Make a batch of training environments, one for each seed.

  If the name means several levels they are assigned round-robin; `first` is
  the index of the first environment among those of all actors. The batch's
  `levels` are indices of `suites.split(level_name)`. With 0 processes the
  environments run in this process, else in that many child processes.

  Raises:
    ValueError: The environments have different specs.
    MissingError: The simulator or a ROM is not installed.
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
  """Return the specs of the first of a name's levels.

  It makes one environment and drops it: a game's actions are in its ROM.
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
  """Check that one network can play all levels, by making each of them once.

  In an evaluation a suite means its test levels. Returns the specs of all.

  Raises:
    ValueError: Their observations or actions differ.
    MissingError: A simulator or a ROM is not installed.
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
