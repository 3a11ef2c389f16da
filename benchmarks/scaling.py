"""Do memory and cost of a step stay flat as it grows: actors, batch, unroll?"""

import argparse
import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import commands, comparison, pipeline, trial

_DESCRIPTION = """\
Measures the real training program in one size after the other: environments of
one actor, actors, batch size, unroll length. Prints a table for each and, as
the last line, one JSON object. Takes about 40 s a size, with the defaults a
quarter of an hour.

  ./impala benchmark scaling --output=docs/benchmarks
  ./impala benchmark scaling --actors= --batch_sizes= --unroll_lengths=
  ./impala benchmark scaling --actors=1,2,4,8,16,32,64

Cost is the CPU time of an agent step in all processes together. Exit status 1:
from 8 to 64 environments, in one actor or in more and more of them, it is
somewhere more than --max_cost_ratio times that of a smaller size. An empty list
leaves a table out."""

# Sweep -> default sizes, their meaning, flags of `train`. The queue holds a
# batch.
_SWEEPS = {
  'environments': (
    '1,2,4,8,16,32,64',
    'of one actor',
    '--num_actors=1 --num_envs_per_actor={size}',
  ),
  'actors': (
    '1,2,4,8',
    'with 8 environments each',
    '--num_actors={size} --num_envs_per_actor=8',
  ),
  'batch_sizes': (
    '8,16,32,64,128,256',
    'unrolls in a learner step',
    '--batch_size={size} --queue_capacity={size}',
  ),
  'unroll_lengths': (
    '20,40,60,80,100',
    'agent steps',
    '--unroll_length={size}',
  ),
}
# Where costs are not to grow: these sweeps, in this range of environments.
_JUDGED = ('environments', 'actors')
_FLAT = range(8, 65)
_FIGURES = {'cpu_ms': 'cpu_ms_per_agent_step', 'rss_mb': 'rss_mb_largest'}


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = commands.make_parser(
    'scaling',
    _DESCRIPTION,
    warmup_seconds=(5.0, commands.WARMUP),
    window_seconds=(15.0, commands.WINDOW),
    rounds=(1, 'how often each size is measured, in turns; medians count'),
    max_cost_ratio=(1.2, 'limit of the growth of the cost'),
  )
  for name, (default, meaning, _) in _SWEEPS.items():
    text = f'{meaning} [default {default}]'
    parser.add_argument(f'--{name}', default=default, metavar='INTS', help=text)
  given, train_flags = commands.parse(
    parser, arguments, 'window_seconds', 'rounds'
  )
  sweeps = _make_sweeps(parser, given)
  level_name = trial.resolve(train_flags).run.level_name
  # Flags that stand in two sweeps are measured once.
  rounds = comparison.run_rounds(
    {
      flags: functools.partial(pipeline.run, [*train_flags, *flags.split()])
      for sweep in sweeps.values()
      for flags in sweep.values()
    },
    given,
  )
  rows = {
    name: {
      str(size): _medians([found[flags] for found in rounds])
      for size, flags in sweep.items()
    }
    for name, sweep in sweeps.items()
  }
  complaints = judge(rows, given.max_cost_ratio)
  result = {
    'benchmark': 'scaling',
    **commands.machine(),
    'level_name': level_name,
    'sweeps': rows,
    'complaints': complaints,
  }
  shown = [commands.make_table(name, each) for name, each in rows.items()]
  said = [f'OVER THE LIMIT: {each}' for each in complaints]
  commands.finish(result, [*shown, *said], given.output)
  return 1 if complaints else 0


def _make_sweeps(
  parser: argparse.ArgumentParser, given: argparse.Namespace
) -> dict[str, dict[int, str]]:
  """Name of the sweep -> size -> flags of `train`."""
  sweeps = {}
  for name, (_, _, flags) in _SWEEPS.items():
    text = getattr(given, name)
    parts = text.split(',') if text else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
      parser.error(
        f'--{name} must be positive integers with commas between, got {text!r}'
      )
    if parts:
      sweeps[name] = {int(size): flags.format(size=size) for size in parts}
  return sweeps


def _medians(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  names = ('agent_steps_per_second', 'cpu_ms_per_agent_step')
  first = results[0]
  return {
    'environments': first['num_actors'] * first['num_envs_per_actor'],
    **{name: statistics.median(r[name] for r in results) for name in names},
    **{
      f'{role}_{name}': statistics.median(
        each['roles'][role][figure] for each in results
      )
      for name, figure in _FIGURES.items()
      for role in ('actor', 'learner', 'queue')
    },
  }


def judge(
  sweeps: Mapping[str, Mapping[str, Mapping[str, float]]], max_cost_ratio: float
) -> list[str]:
  """A sentence for each way to add environments that makes a step dearer.

  Sweeps are name -> size, ascending -> figures.
  """
  complaints = []
  for name in _JUDGED:
    costs = [
      row['cpu_ms_per_agent_step']
      for row in sweeps.get(name, {}).values()
      if row['environments'] in _FLAT
    ]
    pairs = itertools.combinations(costs, 2)
    growth = max((later / cost for cost, later in pairs), default=0.0)
    if growth > max_cost_ratio:
      complaints.append(
        f'from {_FLAT[0]} to {_FLAT[-1]} environments, by {name}, the cost of '
        f'an agent step grows by a factor of {growth:.2f}, more than '
        f'{max_cost_ratio:g}'
      )
  return complaints
