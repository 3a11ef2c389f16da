"""Cost and memory by number of environments, actors, batch and unroll."""

import argparse
import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import commands, comparison, pipeline, trial

_DESCRIPTION = """\
Measures the real training program in increasing sizes: environments per actor,
actors, batch size, unroll length. Prints a table for each and, as the last
line, a JSON object. Takes about 40 s per size, 15 minutes with the defaults.

  ./impala benchmark scaling --output=docs/benchmarks
  ./impala benchmark scaling --actors= --batch_sizes= --unroll_lengths=
  ./impala benchmark scaling --actors=1,2,4,8,16,32,64

Cost is the CPU time of all processes per agent step. Exit status 1 if, from 8
to 64 environments in one or more actors, a size costs more than
--max_cost_ratio times as much as a smaller one. An empty list omits a table."""

# Sweep -> default sizes, their unit, flags of `train`. The queue holds a batch.
_SWEEPS = {
  'environments': (
    '1,2,4,8,16,32,64',
    'environments per actor',
    '--num_actors=1 --num_envs_per_actor={size}',
  ),
  'actors': (
    '1,2,4,8',
    'actors of 8 environments',
    '--num_actors={size} --num_envs_per_actor=8',
  ),
  'batch_sizes': (
    '8,16,32,64,128,256',
    'unrolls per learner step',
    '--batch_size={size} --queue_capacity={size}',
  ),
  'unroll_lengths': (
    '20,40,60,80,100',
    'agent steps',
    '--unroll_length={size}',
  ),
}
# Sweeps and numbers of environments in which costs must not grow.
_JUDGED = ('environments', 'actors')
_FLAT = range(8, 65)
_FIGURES = {'cpu_ms': 'cpu_ms_per_agent_step', 'rss_mb': 'rss_mb_largest'}


def main(arguments: Sequence[str]) -> int:
  """Measure and print; return the exit status."""
  parser = commands.make_parser(
    'scaling',
    _DESCRIPTION,
    warmup_seconds=(5.0, commands.WARMUP),
    window_seconds=(15.0, commands.WINDOW),
    rounds=(1, 'measurements of each size, of which the median is taken'),
    max_cost_ratio=(1.2, 'limit for the growth of the cost'),
  )
  for name, (default, meaning, _) in _SWEEPS.items():
    text = f'{meaning} [default {default}]'
    parser.add_argument(f'--{name}', default=default, metavar='INTS', help=text)
  given, train_flags = commands.parse(
    parser, arguments, 'window_seconds', 'rounds'
  )
  sweeps = _make_sweeps(parser, given)
  level_name = trial.resolve(train_flags).run.level_name
  # Flags of two sweeps are measured once.
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
  """Return sweep -> size -> flags of `train`."""
  sweeps = {}
  for name, (_, _, flags) in _SWEEPS.items():
    text = getattr(given, name)
    parts = text.split(',') if text else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
      parser.error(
        f'--{name} must be comma-separated positive integers, got {text!r}'
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
  """Return a sentence for each sweep in which the cost grows too much.

  Sweeps are name -> size, ascending -> statistics.
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
