"""The sizes of the program that `scaling` measures."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import trial

ENVS_OF_ACTOR = 8  # Where actors are varied.


class Setting(NamedTuple):
  """A size of the program, by the flags of `train`."""

  num_actors: int
  num_envs_per_actor: int
  batch_size: int
  unroll_length: int

  def flags(self) -> list[str]:
    """Of `train`; the queue holds a batch."""
    return [
      *(f'--{name}={value}' for name, value in self._asdict().items()),
      f'--queue_capacity={self.batch_size}',
    ]


def make_sweeps(
  given: argparse.Namespace, train_flags: Sequence[str]
) -> dict[str, dict[int, Setting]]:
  """What is measured: name of the sweep -> size -> setting.

  Args:
    given: The flags of this benchmark.
    train_flags: What is not varied.

  Raises:
    ValueError: A size is none; names flag, rule and value.
    trial.TrialError: The flags of `train` are wrong.
  """
  configuration = trial.resolve(train_flags)
  run, agent = configuration.run, configuration.agent
  usual = Setting(
    run.num_actors,
    run.num_envs_per_actor,
    agent.batch_size,
    agent.unroll_length,
  )

  makers = {
    'environments': lambda n: usual._replace(
      num_actors=1, num_envs_per_actor=n
    ),
    'actors': lambda n: usual._replace(
      num_actors=n, num_envs_per_actor=ENVS_OF_ACTOR
    ),
    'batch_sizes': lambda n: usual._replace(batch_size=n),
    'unroll_lengths': lambda n: usual._replace(unroll_length=n),
  }
  return {
    name: {size: make(size) for size in _sizes(name, getattr(given, name))}
    for name, make in makers.items()
    if getattr(given, name)
  }


def _sizes(name: str, text: str) -> list[int]:
  """'1,2' as integers.

  Raises:
    ValueError: They are not, or not positive.
  """
  parts = text.split(',')
  if not all(part.isdecimal() and int(part) > 0 for part in parts):
    raise ValueError(
      f'--{name} must be positive integers with commas between, got {text!r}'
    )
  return [int(part) for part in parts]
