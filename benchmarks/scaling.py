"""Do memory and cost of a step stay flat as it grows: actors, batch, unroll?"""

import argparse
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import rich.table

from benchmarks import commands, pipeline, roles, sizes, trial

NAME = 'scaling'

_DESCRIPTION = """\
Measures the real training program in one size after the other: environments of
one actor, actors, batch size, unroll length. Prints a table for each and, as
the last line, one JSON object; with --output also a plot. Takes about 40 s a
size, with the defaults a quarter of an hour.

  ./impala benchmark scaling --output=docs/benchmarks
  ./impala benchmark scaling --actors= --batch_sizes= --unroll_lengths=
  ./impala benchmark scaling --actors=1,2,4,8,16,32,64

Cost is the CPU time of an agent step in all processes together. Exit status 1:
from 8 to 64 environments, in one actor or in more and more of them, it is
somewhere more than --max_cost_ratio times that of a smaller size. An empty list
leaves a table out."""

# Where costs are not to grow: these sweeps, in this range of environments.
_JUDGED = ('environments', 'actors')
_FLAT = range(8, 65)
_START_AND_STOP_SECONDS = 20


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  with commands.failing(NAME):
    try:
      sweeps = sizes.make_sweeps(given, train_flags)
    except ValueError as error:
      parser.error(str(error))
    result = run(sweeps, train_flags, given)
  if given.output:
    given.output.mkdir(parents=True, exist_ok=True)
    figure = draw(result)
    figure.savefig(
      given.output / f'{NAME}.png', dpi=100, metadata={'Software': None}
    )
  commands.finish(result, tables(result), given.output)
  return 1 if result['complaints'] else 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  for name, default, meaning in (
    ('environments', '1,2,4,8,16,32,64', 'of one actor'),
    ('actors', '1,2,4,8', f'with {sizes.ENVS_OF_ACTOR} environments each'),
    ('batch_sizes', '8,16,32,64,128,256', 'unrolls in a learner step'),
    ('unroll_lengths', '20,40,60,80,100', 'agent steps'),
  ):
    parser.add_argument(
      f'--{name}',
      default=default,
      metavar='INTS',
      help=f'{meaning} [default {default}]',
    )
  parser.add_argument(
    '--rounds',
    type=int,
    default=1,
    metavar='INT',
    help='how often each size is measured, in turns; medians count [default 1]',
  )
  parser.add_argument(
    '--max_cost_ratio',
    type=float,
    default=1.2,
    metavar='FLOAT',
    help='limit of the growth of the cost [default 1.2]',
  )
  commands.add_times(parser, warmup_seconds=5.0, window_seconds=15.0)
  return parser


def run(
  sweeps: Mapping[str, Mapping[int, sizes.Setting]],
  train_flags: Sequence[str],
  given: argparse.Namespace,
) -> dict[str, Any]:
  """Measures each setting once a round; one that stands twice, once.

  Args:
    sweeps: See `sizes.make_sweeps`.
    train_flags: What is not varied.
    given: The flags of this benchmark.

  Returns:
    The figures, as they stand in the JSON object.

  Raises:
    trial.TrialError: A run ended before its time.
  """
  settings = list(
    dict.fromkeys(each for sweep in sweeps.values() for each in sweep.values())
  )
  seconds = (
    given.warmup_seconds + given.window_seconds + _START_AND_STOP_SECONDS
  )
  total = len(settings) * given.rounds
  trial.tell(f'{total} runs, about {total * seconds / 60:.0f} minutes')
  measured: dict[sizes.Setting, list[dict[str, Any]]] = {
    each: [] for each in settings
  }
  for number in range(given.rounds):
    for setting in settings if number % 2 == 0 else reversed(settings):
      trial.tell(', '.join(f'{n} {v}' for n, v in setting._asdict().items()))
      measured[setting].append(
        pipeline.run(
          [*train_flags, *setting.flags()],
          given.warmup_seconds,
          given.window_seconds,
        )
      )
  rows = {
    name: [
      {'size': size, **setting._asdict(), **summarise(measured[setting])}
      for size, setting in sweep.items()
    ]
    for name, sweep in sweeps.items()
  }
  return {
    'benchmark': NAME,
    **commands.machine(),
    'level_name': trial.resolve(train_flags).run.level_name,
    'sweeps': rows,
    **judge(rows, given.max_cost_ratio),
  }


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """The figures of one setting: medians over rounds.

  Args:
    results: Of `pipeline.measure`.
  """

  def median(figure: str) -> dict[str, float]:
    return {
      role: statistics.median(each['roles'][role][figure] for each in results)
      for role in results[0]['roles']
    }

  return {
    'agent_steps_per_second': statistics.median(
      each['agent_steps_per_second'] for each in results
    ),
    'cpu_ms_per_agent_step': statistics.median(
      roles.cpu_ms(each['roles']) for each in results
    ),
    'cpu_ms_by_role': median('cpu_ms_per_agent_step'),
    'rss_mb_by_role': median('rss_mb_largest'),
  }


def judge(
  sweeps: Mapping[str, Sequence[Mapping[str, Any]]], max_cost_ratio: float
) -> dict[str, Any]:
  """Whether a step gets dearer as environments are added, either way.

  Args:
    sweeps: Name -> rows in the order of their sizes.
    max_cost_ratio: Limit of the growth.

  Returns:
    'flatness': of each sweep over environments or actors with two sizes or
    more in the range, 'growth', the largest ratio of a cost to one of a smaller
    size, and 'spread', most over least; and 'complaints', a sentence where the
    growth is above the limit.
  """
  flatness, complaints = {}, []
  for name in _JUDGED:
    costs = [
      row['cpu_ms_per_agent_step']
      for row in sweeps.get(name, ())
      if row['num_actors'] * row['num_envs_per_actor'] in _FLAT
    ]
    if len(costs) < 2:
      continue
    growth = max(
      later / cost for cost, later in itertools.combinations(costs, 2)
    )
    flatness[name] = {'growth': growth, 'spread': max(costs) / min(costs)}
    if growth > max_cost_ratio:
      complaints.append(
        f'from {_FLAT[0]} to {_FLAT[-1]} environments, by {name}, the cost of '
        f'an agent step grows by a factor of {growth:.2f}, more than '
        f'{max_cost_ratio:g}'
      )
  return {'flatness': flatness, 'complaints': complaints}


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  shown: list[rich.table.Table | str] = [
    _table(name, rows, result) for name, rows in result['sweeps'].items()
  ]
  shown += [
    f'from {_FLAT[0]} to {_FLAT[-1]} environments, by {name}: largest growth '
    f'of the cost {found["growth"]:.2f}, most over least {found["spread"]:.2f}'
    for name, found in result['flatness'].items()
  ]
  return shown + [f'OVER THE LIMIT: {each}' for each in result['complaints']]


def _table(
  name: str, rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any]
) -> rich.table.Table:
  actors, each = (
    '/'.join(dict.fromkeys(f'{row[field]}' for row in rows))
    for field in ('num_actors', 'num_envs_per_actor')
  )
  table = rich.table.Table(
    title=f'{name.replace("_", " ")}: {result["level_name"]}, '
    f'{result["cores"]} cores, {actors} x {each} environments\n'
    'CPU ms of an agent step, RSS MB of a process',
    title_justify='left',
    show_edge=False,
  )
  for heading in (
    'size',
    'steps/s',
    'CPU ms\nof all',
    'of\nactors',
    'of\nlearner',
    'of\nqueue',
    'MB of\nactor',
    'of\nlearner',
    'of\nqueue',
  ):
    table.add_column(heading, justify='right', no_wrap=True)
  shown = ('actor', 'learner', 'queue')
  for row in rows:
    table.add_row(
      f'{row["size"]}',
      f'{row["agent_steps_per_second"]:,.0f}',
      f'{row["cpu_ms_per_agent_step"]:.3f}',
      *(f'{row["cpu_ms_by_role"][role]:.3f}' for role in shown),
      *(f'{row["rss_mb_by_role"][role]:,.0f}' for role in shown),
    )
  return table


def draw(result: Mapping[str, Any]) -> matplotlib.figure.Figure:
  """A picture for each sweep: cost and memory over size."""
  sweeps = result['sweeps']
  figure = matplotlib.figure.Figure(
    figsize=(3.5 * len(sweeps), 5), layout='constrained'
  )
  grid = figure.subplots(2, len(sweeps), squeeze=False, sharex='col')
  for (name, rows), (above, below) in zip(sweeps.items(), grid.T, strict=True):
    ticks = [row['size'] for row in rows]
    for axes, field in ((above, 'cpu_ms_by_role'), (below, 'rss_mb_by_role')):
      for role in ('actor', 'learner', 'queue'):
        axes.plot(ticks, [row[field][role] for row in rows], 'o-', label=role)
      axes.set_xscale('log', base=2)
      axes.set_xticks(ticks, [str(tick) for tick in ticks])
      axes.grid(alpha=0.3)
    above.plot(
      ticks, [row['cpu_ms_per_agent_step'] for row in rows], 'k--', label='all'
    )
    for axes in (above, below):
      axes.set_ylim(bottom=0)
    below.set_xlabel(name.replace('_', ' '))
  grid[0, 0].set_ylabel('CPU ms of an agent step')
  grid[1, 0].set_ylabel('RSS MB of a process')
  grid[0, 0].legend()
  return figure
