"""What does the monitor cost?"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, pipeline, trial

NAME = 'monitoring'

_DESCRIPTION = """\
Measures the throughput of the real training program with the monitor and
without it, in pairs whose order alternates. Prints a table and, as the last
line, one JSON object. Progress goes to the standard error.

  ./impala benchmark monitoring
  ./impala benchmark monitoring --pairs=3 --level_name=catch

What counts is the median of the pairs' ratios: a machine that gets busy is busy
for both runs of a pair. Leave the machine alone meanwhile."""


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  if given.pairs < 1:
    parser.error(f'--pairs must be at least 1, got {given.pairs}')
  commands.check_window(parser, given)
  pairs = []
  with commands.failing(NAME):
    for number in range(given.pairs):
      pair = {}
      for monitor in (True, False) if number % 2 else (False, True):
        state = 'on' if monitor else 'off'
        trial.tell(f'pair {number + 1} of {given.pairs}, monitor {state}')
        flag = f'--monitor={str(monitor).lower()}'
        pair[monitor] = pipeline.run(
          [*train_flags, flag], given.warmup_seconds, given.window_seconds
        )
      pairs.append((pair[True], pair[False]))
  result = summarise(pairs)
  commands.finish(result, tables(result), given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  parser.add_argument(
    '--pairs',
    type=int,
    default=7,
    metavar='INT',
    help='runs with the monitor, and as many without it [default 7]',
  )
  commands.add_times(parser, warmup_seconds=10.0, window_seconds=20.0)
  return parser


def summarise(
  pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> dict[str, Any]:
  """What the pairs come to.

  Args:
    pairs: Results of `pipeline.measure`, with the monitor and without it.

  Returns:
    The figures, as they stand in the JSON object.
  """
  name = 'agent_steps_per_second'
  on = [with_[name] for with_, _ in pairs]
  off = [without[name] for _, without in pairs]
  ratios = [with_ / without for with_, without in zip(on, off, strict=True)]
  monitors = [with_['roles']['monitor'] for with_, _ in pairs]
  first = pairs[0][0]
  return {
    'benchmark': NAME,
    **{
      fact: first[fact]
      for fact in (
        'level_name',
        'num_actors',
        'num_envs_per_actor',
        'git_revision',
        'cores',
        'cpu_model',
        'time',
      )
    },
    'with_monitor': on,
    'without_monitor': off,
    'ratios': ratios,
    'median_ratio': statistics.median(ratios),
    'monitor_cores_used': statistics.median(m['cores_used'] for m in monitors),
    'monitor_rss_mb': max(m['rss_mb_largest'] for m in monitors),
  }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  table = rich.table.Table(
    'pair',
    title=f'{result["level_name"]}, agent steps/s, {result["cores"]} cores',
    title_justify='left',
  )
  for heading in ('with monitor', 'without', 'ratio'):
    table.add_column(heading, justify='right')
  rows = zip(
    result['with_monitor'],
    result['without_monitor'],
    result['ratios'],
    strict=True,
  )
  for number, (on, off, ratio) in enumerate(rows):
    table.add_row(f'{number + 1}', f'{on:,.0f}', f'{off:,.0f}', f'{ratio:.3f}')
  table.add_section()
  table.add_row('median', '', '', f'{result["median_ratio"]:.3f}')
  text = (
    f'monitor: {result["monitor_cores_used"]:.4f} cores, '
    f'{result["monitor_rss_mb"]:,.0f} MB'
  )
  return [table, text]
