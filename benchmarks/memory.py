"""Growth of the program's memory."""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import commands, measurement, pipeline, trial

_DESCRIPTION = """\
Runs the real training program in a temporary directory for some minutes and
reads the memory of each process every few seconds. Prints a table and, as the
last line, a JSON object.

  ./impala benchmark memory
  ./impala benchmark memory --minutes=60 --num_envs_per_actor=16

Exit status 1 if a process grows faster, or an actor is larger, than its limit.
RSS counts shared pages in each process, PSS a share of them. MB are 10^6 bytes.
Minutes count from the first metric record."""


class Reading(NamedTuple):
  """Memory of a process at a time."""

  minutes: float  # Since learning began.
  rss_mb: float
  pss_mb: float  # A page shared by n processes counts 1/n.


def main(arguments: Sequence[str]) -> int:
  """Measure and print; return the exit status."""
  parser = commands.make_parser(
    'memory',
    _DESCRIPTION,
    minutes=(10.0, 'duration of the measurement [minutes]'),
    settle_minutes=(3.0, 'start of the fit of the slope [minutes]'),
    period_seconds=(5.0, 'time between readings [seconds]'),
    max_slope_mb_per_minute=(1.0, 'limit for each process [MB/minute of RSS]'),
    max_actor_mb=(900.0, 'limit for each actor, at any time [MB of RSS]'),
  )
  given, train_flags = commands.parse(parser, arguments, 'period_seconds')
  if 30 * (given.minutes - given.settle_minutes) < given.period_seconds:
    parser.error(
      '--period_seconds must fit twice between --settle_minutes and --minutes, '
      f'got {given.period_seconds:g}'
    )
  configuration = trial.resolve(train_flags)
  with trial.start(train_flags, pipeline.TRAIN) as run:
    readings = _watch(run, given.minutes, given.period_seconds)
  judged = judge(readings, given)
  times = {name: getattr(given, name) for name in ('minutes', 'settle_minutes')}
  facts = {'benchmark': 'memory', **commands.facts(configuration), **times}
  result: dict[str, Any] = {**facts, **judged}
  table = commands.make_table(
    f'{result["level_name"]}, {result["num_actors"]} actors x '
    f'{result["num_envs_per_actor"]} environments',
    judged['processes'],
  )
  complaints = [f'OVER THE LIMIT: {each}' for each in judged['complaints']]
  commands.finish(result, [table, *complaints], given.output)
  return 1 if complaints else 0


def _watch(
  run: trial.Trial, minutes: float, period_seconds: float
) -> dict[str, list[Reading]]:
  trial.log('starting the program')
  run.records_until(0)
  trial.log(f'measuring for {minutes:g} minutes')
  started = due = time.time()
  readings: dict[str, list[Reading]] = {name: [] for name in run.processes()}
  while due - started <= 60 * minutes:
    for name, process in run.processes().items():
      memory = process.memory_full_info()
      sizes = (
        memory.rss / measurement.MEGABYTE,
        memory.pss / measurement.MEGABYTE,
      )
      readings[name].append(Reading((time.time() - started) / 60, *sizes))
    due += period_seconds
    run.records_until(due)
  return readings


def judge(
  readings: Mapping[str, Sequence[Reading]], given: argparse.Namespace
) -> dict[str, Any]:
  """Return statistics of each process, and what exceeds the limits."""
  processes, complaints = {}, []
  for name, each in readings.items():
    settled = [r for r in each if r.minutes >= given.settle_minutes]
    minutes, rss, _ = np.transpose(settled)
    slope, peak = np.polyfit(minutes, rss, 1)[0], max(r.rss_mb for r in each)
    processes[name] = {
      'rss_mb_settled': settled[0].rss_mb,
      'rss_mb_end': settled[-1].rss_mb,
      'rss_mb_peak': peak,
      'pss_mb_end': settled[-1].pss_mb,
      'slope_mb_per_minute': float(slope),
    }
    if slope > given.max_slope_mb_per_minute:
      complaints.append(
        f'{name} grows by {slope:.2f} MB a minute, more than '
        f'{given.max_slope_mb_per_minute:g}'
      )
    if measurement.role_of(name) == 'actor' and peak > given.max_actor_mb:
      complaints.append(
        f'{name} reached {peak:.0f} MB, more than {given.max_actor_mb:g}'
      )
  return {'processes': processes, 'complaints': complaints}
