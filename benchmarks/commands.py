"""What the benchmarks' command lines share."""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rich.console
import rich.table

from benchmarks import trial
from programs import flags, provenance, runs


class Failed(Exception):
  """Ends a benchmark.

  Attributes:
    status: The exit status.
  """

  def __init__(self, status: int) -> None:
    super().__init__(status)
    self.status = status


def make_parser(
  name: str, description: str, takes_train_flags: bool = True
) -> argparse.ArgumentParser:
  """A parser that teaches.

  Args:
    name: Of the benchmark.
    description: What it measures, and how.
    takes_train_flags: Whether the flags that it does not know are those of
      `train`.
  """
  more = ' [flags of train ...]' if takes_train_flags else ''
  parser = argparse.ArgumentParser(
    prog=f'./impala benchmark {name}',
    usage=f'./impala benchmark {name} [--FLAG=VALUE ...]{more}',
    description=description,
    epilog='Flags of train are passed on (./impala train --help). Set already: '
    f'{" ".join(trial.TRAIN_FLAGS)}; with Atari games '
    f'{" ".join(trial.ATARI_FLAGS)}'
    if takes_train_flags
    else None,
    formatter_class=flags.HelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    metavar='DIR',
    help='writes the result in there too, as JSON [default: printed alone]',
  )
  return parser


def add_times(
  parser: argparse.ArgumentParser, warmup_seconds: float, window_seconds: float
) -> None:
  """Adds the flags that say how long is measured.

  Args:
    parser: What they are added to.
    warmup_seconds: Default of the flag of that name.
    window_seconds: The same.
  """
  for name, default, text in (
    (
      'warmup_seconds',
      warmup_seconds,
      'learning that is not measured, after the first row of metrics',
    ),
    ('window_seconds', window_seconds, 'learning that is measured'),
  ):
    parser.add_argument(
      f'--{name}',
      type=float,
      default=default,
      metavar='FLOAT',
      help=f'{text} [seconds; default {default:g}]',
    )


def check_window(
  parser: argparse.ArgumentParser, given: argparse.Namespace
) -> None:
  """Refuses a window in which there is nothing.

  Raises:
    SystemExit: With status 2, after the rule.
  """
  if given.window_seconds <= 0:
    parser.error(
      f'--window_seconds must be greater than 0, got {given.window_seconds:g}'
    )


@contextlib.contextmanager
def failing(name: str) -> Iterator[None]:
  """Turns what goes wrong into words and a status.

  Args:
    name: Of the benchmark.

  Raises:
    Failed: A run ended before its time (1), or Ctrl-C (130).
  """
  try:
    yield
  except trial.TrialError as error:
    print(f'./impala benchmark {name}: {error}', file=sys.stderr)
    raise Failed(1) from error
  except KeyboardInterrupt as error:
    raise Failed(130) from error


def finish(
  result: Mapping[str, Any],
  tables: Sequence[rich.table.Table | str],
  folder: pathlib.Path | None = None,
  name: str | None = None,
) -> None:
  """Prints a result: tables for people, then a line for programs.

  Args:
    result: What was measured; 'benchmark' is its name.
    tables: The same for people.
    folder: Where it is kept too, or None.
    name: Of the file in there, without '.json'; by default the benchmark's.
  """
  console = rich.console.Console(highlight=False, soft_wrap=True)
  for table in tables:
    console.print(table, markup=not isinstance(table, str))
  if folder:
    path = folder / f'{name or result["benchmark"]}.json'
    runs.write_json(path, result)
    trial.tell(f'written: {path}')
  print(json.dumps(result))


def machine() -> dict[str, Any]:
  """What figures are worth nothing without: the code, the machine, the time."""
  return {
    'git_revision': provenance.git_revision(),
    'cores': len(os.sched_getaffinity(0)),
    'cpu_model': _cpu_model(),
    'time': runs.now(),
  }


def facts(configuration: runs.Configuration) -> dict[str, Any]:
  """The same with the size of a run."""
  run = configuration.run
  return {
    'level_name': run.level_name,
    'num_actors': run.num_actors,
    'num_envs_per_actor': run.num_envs_per_actor,
    **machine(),
  }


def _cpu_model() -> str:
  """As the kernel names it; the architecture where it names none."""
  info = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8')
  name = info.partition('model name')[2].partition('\n')[0]
  return name.strip('\t :') or platform.machine()
