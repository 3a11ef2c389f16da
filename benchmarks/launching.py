"""What does launching on Ray cost?"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, pipeline, trial

NAME = 'launching'

_DESCRIPTION = """\
Measures the throughput of the real training program on this machine, launched
on a Ray of its own and without Ray, in pairs whose order alternates. Prints a
table and, as the last line, one JSON object. Progress goes to the standard
error.

  ./impala benchmark launching
  ./impala benchmark launching --pairs=3 --level_name=catch

What counts is the median of the pairs' ratios: a machine that gets busy is busy
for both runs of a pair. Leave the machine alone meanwhile."""

_LAUNCHES = ('local', 'ray')
_FACTS = (
  *('level_name', 'num_actors', 'num_envs_per_actor'),
  *('git_revision', 'cores', 'cpu_model', 'time'),
)


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = commands.make_parser(NAME, _DESCRIPTION)
  parser.add_argument(
    '--pairs',
    type=int,
    default=7,
    metavar='INT',
    help='runs on Ray, and as many without [default 7]',
  )
  commands.add_times(parser, warmup_seconds=10.0, window_seconds=20.0)
  given, train_flags = parser.parse_known_args(arguments)
  if given.pairs < 1:
    parser.error(f'--pairs must be at least 1, got {given.pairs}')
  commands.check_window(parser, given)
  pairs = []
  with commands.failing(NAME):
    for number in range(given.pairs):
      pair = {}
      for launch in _LAUNCHES if number % 2 else reversed(_LAUNCHES):
        trial.tell(f'pair {number + 1} of {given.pairs}, {launch}')
        pair[launch] = pipeline.run(
          [*train_flags, f'--launch={launch}'],
          given.warmup_seconds,
          given.window_seconds,
        )
      pairs.append(pair)
  result = summarise(pairs)
  commands.finish(result, tables(result), given.output)
  return 0


def summarise(
  pairs: Sequence[Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
  """What the pairs come to.

  Args:
    pairs: 'local' and 'ray' -> results of `pipeline.measure`.

  Returns:
    The figures, as they stand in the JSON object.
  """
  speeds = {
    launch: [pair[launch]['agent_steps_per_second'] for pair in pairs]
    for launch in _LAUNCHES
  }
  ratios = [ray / local for local, ray in zip(*speeds.values(), strict=True)]
  return {
    'benchmark': NAME,
    **{fact: pairs[0]['local'][fact] for fact in _FACTS},
    **speeds,
    'ratios': ratios,
    'median_ratio': statistics.median(ratios),
  }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  table = rich.table.Table(
    'pair',
    title=f'{result["level_name"]}, agent steps/s, {result["cores"]} cores',
    title_justify='left',
  )
  for heading in ('on Ray', 'without', 'ratio'):
    table.add_column(heading, justify='right')
  rows = zip(result['ray'], result['local'], result['ratios'], strict=True)
  for number, (ray, local, ratio) in enumerate(rows):
    table.add_row(
      f'{number + 1}', f'{ray:,.0f}', f'{local:,.0f}', f'{ratio:.3f}'
    )
  table.add_section()
  table.add_row('median', '', '', f'{result["median_ratio"]:.3f}')
  return [table]
