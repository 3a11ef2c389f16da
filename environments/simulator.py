"""The parts of a simulator's file; `catch.py` is the shortest example."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import dm_env


class MissingError(RuntimeError):
  """A simulator or its data is missing; the message says how to get it."""


class Rule(NamedTuple):
  """The rule of a setting's value, with its text in help and errors."""

  text: str
  holds: Callable[[Any], bool]


def setting(
  default: Any, meaning: str, unit: str = '', rule: Rule | None = None
) -> Any:
  """Return a field of `Settings`, of which a flag is made."""
  return dataclasses.field(
    default=default, metadata={'help': meaning, 'unit': unit, 'rule': rule}
  )


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of all simulators; ValueError where a value breaks its rule."""

  num_action_repeats: int = setting(
    4,
    'How often each action is repeated; always 1 in Catch and Memory.',
    'raw frames per agent step',
    Rule('at least 1', lambda value: value >= 1),
  )

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      rule, value = field.metadata['rule'], getattr(self, field.name)
      if rule and not rule.holds(value):
        raise ValueError(f'{field.name} must be {rule.text}, got {value!r}')


class Simulator(NamedTuple):
  """The levels of one simulator and how their environments are made.

  Attributes:
    levels: Their names; the first is the example in error messages.
    make: Make an environment from a level, a seed, whether it is for
      evaluation, and settings. Only here are the simulator's packages imported.
    frames_per_second: Raw frames in a second of play, for videos.
    has_action_repeats: Whether `Settings.num_action_repeats` applies.
    has_paths: Whether names with slashes are levels too, whatever they are.
    requirement: What has to be installed, and in `remedy` how.
  """

  levels: tuple[str, ...]
  make: Callable[[str, int, bool, Any], dm_env.Environment]
  frames_per_second: float = 60.0
  has_action_repeats: bool = True
  has_paths: bool = False
  requirement: str = ''
  remedy: str = 'pip install -r requirements.txt'

  def has_level(self, level: str) -> bool:
    """Return whether a level is played by this simulator."""
    is_path = '/' in level and all(level.split('/'))
    return level in self.levels or (self.has_paths and is_path)
