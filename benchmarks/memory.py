"""Does the program's memory stay as it is?"""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import rich.table

from benchmarks import commands, trial

NAME = 'memory'

_DESCRIPTION = """\
Runs the real training program in a temporary directory for some minutes of
learning, looks at the memory of each process every few seconds, and stops it as
Ctrl-C does. Prints a table and, as the last line, one JSON object. Progress
goes to the standard error.

  ./impala benchmark memory
  ./impala benchmark memory --minutes=60 --num_envs_per_actor=16

Exit status 1: a process grows faster, or an actor is larger, than the limits
allow. RSS counts shared pages in each process, PSS a share of them. A MB is
10^6 bytes. Minutes count from the first row of metrics."""


class Reading(NamedTuple):
  """The memory of one process at one time.

  Attributes:
    minutes: Since learning began.
    rss_mb: Resident memory.
    pss_mb: The same, pages shared by n processes counted as 1/n.
  """

  minutes: float
  rss_mb: float
  pss_mb: float


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  fitted_seconds = 60 * (given.minutes - given.settle_minutes)
  if not 0 < 2 * given.period_seconds <= fitted_seconds:
    parser.error(
      '--period_seconds must be greater than 0 and fit twice between '
      f'--settle_minutes and --minutes, got {given.period_seconds:g}'
    )
  with commands.failing(NAME), trial.start(train_flags) as run:
    readings = watch(run, given.minutes, given.period_seconds)
    facts = commands.facts(run.configuration)
  result = {
    'benchmark': NAME,
    **facts,
    **judge(readings, given),
  }
  commands.finish(result, tables(result), given.output)
  return 1 if result['complaints'] else 0


def make_parser() -> argparse.ArgumentParser:
  """The flags of this benchmark."""
  parser = commands.make_parser(NAME, _DESCRIPTION)
  for name, default, meaning in (
    ('minutes', 10.0, 'learning that is watched [minutes'),
    ('settle_minutes', 3.0, 'the slope is fitted from here on [minutes'),
    ('period_seconds', 5.0, 'time between readings [seconds'),
    ('max_slope_mb_per_minute', 1.0, 'limit of each process [MB/minute of RSS'),
    ('max_actor_mb', 900.0, 'limit of each actor, at any time [MB of RSS'),
  ):
    parser.add_argument(
      f'--{name}',
      type=float,
      default=default,
      metavar='FLOAT',
      help=f'{meaning}; default {default:g}]',
    )
  return parser


def watch(
  run: trial.Trial, minutes: float, period_seconds: float
) -> dict[str, list[Reading]]:
  """Reads the memory of a run's processes while it learns.

  Args:
    run: Just started.
    minutes: From the first row of metrics on.
    period_seconds: Between readings.

  Returns:
    Process name -> readings, in order.

  Raises:
    trial.TrialError: The run ended before.
  """
  run.wait_for_learning()
  trial.tell(f'watching for {minutes:g} minutes')
  started = due = time.monotonic()
  readings: dict[str, list[Reading]] = {name: [] for name in run.processes()}
  while (now := time.monotonic()) - started <= 60 * minutes:
    run.new_rows()
    if now < due:
      continue
    due += period_seconds
    for name, process in run.processes().items():
      memory = process.memory_full_info()
      readings[name].append(
        Reading(
          (now - started) / 60,
          memory.rss / trial.MEGABYTE,
          memory.pss / trial.MEGABYTE,
        )
      )
  return readings


def judge(
  readings: Mapping[str, Sequence[Reading]], given: argparse.Namespace
) -> dict[str, Any]:
  """Each process's figures, and what is over the limits that were given."""
  processes = {
    name: summarize(each, given.settle_minutes)
    for name, each in readings.items()
  }
  return {
    'minutes': given.minutes,
    'settle_minutes': given.settle_minutes,
    'processes': processes,
    'complaints': find_complaints(
      processes, given.max_slope_mb_per_minute, given.max_actor_mb
    ),
  }


def summarize(
  readings: Sequence[Reading], settle_minutes: float
) -> dict[str, float]:
  """The figures of one process.

  Args:
    readings: In order, at least two of them after `settle_minutes`.
    settle_minutes: What comes before is left out of the slope.

  Returns:
    MB, and MB/minute by least squares.
  """
  settled = [each for each in readings if each.minutes >= settle_minutes]
  minutes, rss, _ = np.transpose(settled)
  return {
    'rss_mb_settled': settled[0].rss_mb,
    'rss_mb_end': settled[-1].rss_mb,
    'rss_mb_peak': max(each.rss_mb for each in readings),
    'pss_mb_end': settled[-1].pss_mb,
    'slope_mb_per_minute': float(np.polyfit(minutes, rss, 1)[0]),
  }


def find_complaints(
  processes: Mapping[str, Mapping[str, float]],
  max_slope_mb_per_minute: float,
  max_actor_mb: float,
) -> list[str]:
  """What is over a limit, one sentence each."""
  complaints = []
  for name, figures in processes.items():
    slope, peak = figures['slope_mb_per_minute'], figures['rss_mb_peak']
    if slope > max_slope_mb_per_minute:
      complaints.append(
        f'{name} grows by {slope:.2f} MB a minute, more than '
        f'{max_slope_mb_per_minute:g}'
      )
    if trial.role(name) == 'actor' and peak > max_actor_mb:
      complaints.append(
        f'{name} reached {peak:.0f} MB, more than {max_actor_mb:g}'
      )
  return complaints


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  table = rich.table.Table(
    'process',
    title=f'{result["level_name"]}, {result["num_actors"]} actors x '
    f'{result["num_envs_per_actor"]} environments, MB',
    title_justify='left',
  )
  for heading in (
    f'RSS at {result["settle_minutes"]:g} min',
    f'RSS at {result["minutes"]:g} min',
    'RSS, most',
    f'PSS at {result["minutes"]:g} min',
    'MB/min',
  ):
    table.add_column(heading, justify='right')
  for name, figures in result['processes'].items():
    *sizes, slope = figures.values()
    table.add_row(
      name,
      *(f'{size:,.0f}' for size in sizes),
      f'{slope:+.2f}',
    )
  complaints = [f'OVER THE LIMIT: {each}' for each in result['complaints']]
  return [table, *complaints]
