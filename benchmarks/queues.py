"""Throughput of the queue: unrolls/s, MB/s, CPU time."""

import contextlib
import statistics
from collections.abc import Mapping, Sequence

from benchmarks import commands, components, isolated, measurement, trial

_DESCRIPTION = """\
Measures Reverb with the tables, writer and reader of the program: the unrolls
of one actor are written repeatedly. Prints a table and, as the last line, a
JSON object.

  ./impala benchmark queue
  ./impala benchmark queue --rows=tiny,atari --window_seconds=60

Rows are tiny (Catch), atari (Pong) and doom (ViZDoom, unrolls of 100 steps). MB
are 10^6 bytes of uncompressed unrolls; Reverb sends them compressed."""

# Flags of `train`. The queue holds a batch, so that writer and reader do not
# wait for each other at each unroll.
ROWS: Mapping[str, Sequence[str]] = {
  'tiny': ('--level_name=catch',),
  'atari': ('--level_name=atari_pong',),
  'doom': (
    '--level_name=doom_basic',
    '--unroll_length=100',
    '--queue_capacity=32',
    '--num_envs_per_actor=4',
  ),
}


def main(arguments: Sequence[str]) -> int:
  """Measure and print; return the exit status."""
  parser = commands.make_parser(
    'queue', _DESCRIPTION, window_seconds=(45.0, commands.WINDOW)
  )
  parser.add_argument(
    '--rows',
    default=','.join(ROWS),
    metavar='NAMES',
    help=f'rows of the table, comma-separated [default {",".join(ROWS)}]',
  )
  given, train_flags = commands.parse(parser, arguments, 'window_seconds')
  names = given.rows.split(',')
  if not set(names) <= set(ROWS):
    parser.error(f'--rows must be of {", ".join(ROWS)}, got {given.rows}')
  configurations = {
    name: trial.resolve([*ROWS[name], *train_flags]) for name in names
  }
  with contextlib.ExitStack() as held:
    trial.log('starting writers, queues and readers')
    unrolls = {
      name: held.enter_context(isolated.Component('unrolls', configuration))
      for name, configuration in configurations.items()
    }
    costs = components.measure(
      {name: [each] for name, each in unrolls.items()}, given.window_seconds
    )
    rows = {}
    for name, slices in costs.items():
      length = configurations[name].agent.unroll_length
      num_bytes = unrolls[name].facts()['unroll_bytes']
      rate = statistics.median(
        cost.agent_steps / length / cost.wall_seconds for cost in slices
      )
      rows[name] = {
        'unroll_length': length,
        'unroll_bytes': num_bytes,
        'unrolls_per_second': rate,
        'mb_per_second': rate * num_bytes / measurement.MEGABYTE,
        'cpu_ms_per_unroll': components.cpu_ms(slices) * length,
      }
  result = {'benchmark': 'queue', **commands.machine(), 'rows': rows}
  table = commands.make_table(f'{result["cores"]} cores', rows)
  commands.finish(result, [table], given.output)
  return 0
