"""How much goes through the queue: unrolls/s, MB/s, CPU?"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, stations, trial, works

NAME = 'queue'

_DESCRIPTION = """\
Measures Reverb alone, with the program's own tables, writer and reader, each in
a process of its own: one actor's worth of unrolls, acted once, is written again
and again. Prints a table and, as the last line, one JSON object.

  ./impala benchmark queue
  ./impala benchmark queue --rows=tiny,atari --window_seconds=60

Rows are tiny (Catch), atari (Pong) and lab: pictures and instruction of
DeepMind Lab's size, drawn by ViZDoom's engine. MB are 10^6 bytes of unrolls as
they are written; what goes over the wire is compressed."""

# Flags of `train`. A queue that holds a batch, so that neither end waits for
# the other after each unroll.
ROWS: Mapping[str, Sequence[str]] = {
  'tiny': ('--level_name=catch',),
  'atari': ('--level_name=atari_pong',),
  'lab': (
    '--level_name=explore_goal_locations_small',
    '--queue_capacity=32',
    '--num_envs_per_actor=4',
  ),
}


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  rows = given.rows.split(',')
  if not set(rows) <= set(ROWS):
    parser.error(f'--rows must be of {", ".join(ROWS)}, got {given.rows}')
  with commands.failing(NAME):
    result = run(rows, train_flags, given.window_seconds)
  commands.finish(result, tables(result), given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  parser.add_argument(
    '--rows',
    default=','.join(ROWS),
    metavar='NAMES',
    help=f'which rows, with commas between [default {",".join(ROWS)}]',
  )
  parser.add_argument(
    '--window_seconds',
    type=float,
    default=45.0,
    metavar='FLOAT',
    help='of measuring, for all rows together [seconds; default 45]',
  )
  return parser


def run(
  rows: Sequence[str], train_flags: Sequence[str], window_seconds: float
) -> dict[str, Any]:
  """Measures the queue with each kind of rows in turns.

  Args:
    rows: Of `ROWS`.
    train_flags: For all of them.
    window_seconds: For all together, about.

  Returns:
    The figures, as they stand in the JSON object.

  Raises:
    trial.TrialError: A process ended.
  """
  configurations = {
    name: trial.resolve([*ROWS[name], *train_flags]) for name in rows
  }
  with stations.Pool() as pool:
    trial.tell('starting writers, queues and readers')
    transports = [
      works.Transport(name, pool, configuration)
      for name, configuration in configurations.items()
    ]
    for transport in transports:
      transport.run(0.0)
    trial.tell(f'measuring for {window_seconds:g} s')
    costs = works.slices(transports, window_seconds)
    sizes = {each.name: each.unroll_bytes for each in transports}
  return {
    'benchmark': NAME,
    **commands.machine(),
    'rows': {
      name: summarise(
        costs[name], configurations[name].agent.unroll_length, sizes[name]
      )
      for name in rows
    },
  }


def summarise(
  costs: Mapping[str, Sequence[works.Cost]],
  unroll_length: int,
  unroll_bytes: int,
) -> dict[str, Any]:
  """The figures of one kind of rows.

  Args:
    costs: Who -> a cost for each slice.
    unroll_length: Agent steps of an unroll.
    unroll_bytes: Of an unroll as it is written.
  """
  rate = statistics.median(
    cost.agent_steps / unroll_length / cost.wall_seconds
    for cost in costs['writer']
  )
  return {
    'unroll_length': unroll_length,
    'unroll_bytes': unroll_bytes,
    'unrolls_per_second': rate,
    'mb_per_second': rate * unroll_bytes / trial.MEGABYTE,
    'cpu_ms_per_unroll': {
      who: works.cpu_ms(slices) * unroll_length for who, slices in costs.items()
    },
  }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  table = rich.table.Table(
    'rows',
    title=f'the queue alone, {result["cores"]} cores',
    title_justify='left',
  )
  for heading in (
    'rows an unroll',
    'KB',
    'unrolls/s',
    'MB/s',
    'writer, CPU ms',
    'queue',
    'reader',
  ):
    table.add_column(heading, justify='right')
  for name, figures in result['rows'].items():
    cpu = figures['cpu_ms_per_unroll']
    table.add_row(
      name,
      f'{figures["unroll_length"]}',
      f'{figures["unroll_bytes"] / 1000:,.1f}',
      f'{figures["unrolls_per_second"]:,.0f}',
      f'{figures["mb_per_second"]:,.0f}',
      *(f'{cpu[who]:.3f}' for who in ('writer', 'queue', 'reader')),
    )
  return [table]
