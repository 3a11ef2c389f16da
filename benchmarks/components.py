"""What does each part cost alone: environments, networks, queue, variables?"""

import argparse
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, limits, stations, trial, works
from programs import runs

NAME = 'components'

_DESCRIPTION = """\
Measures each part of the program alone, in a process of its own with the
threads that it has in the program: the environments, the forward pass by number
of environments, the learner step, a writer with queue and reader, and the
fetching of variables. All in turns, in short slices; medians count. Prints
a table and, as the last line, one JSON object.

  ./impala benchmark components
  ./impala benchmark components --window_seconds=120 --num_envs_per_actor=16

The limit is cores / (environment + forward pass + learner), their CPU time of
an agent step, each alone. What they cost with a copy on each core (at most 4)
at the same time stands beside it: cores that share a cache, or that are shared
with others, are slower then. Takes a minute more than --window_seconds, and
0.4 GB for each of about 15 processes."""

_SIZES = (1, 2, 4, 8, 16, 32, 64)  # Of a forward pass.
_NETWORKS: Mapping[str, Mapping[str, Any]] = {
  'shallow_atari': {'network': 'shallow_atari', 'lstm': False},
  'deep': {'network': 'deep', 'lstm': True},
}
_TOGETHER = 'together: '
_MAX_COPIES = 4


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  with commands.failing(NAME):
    result = run(train_flags, 0.0, given.window_seconds)
  commands.finish(result, tables(result), given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  parser.add_argument(
    '--window_seconds',
    type=float,
    default=60.0,
    metavar='FLOAT',
    help='of measuring, for all parts together [seconds; default 60]',
  )
  return parser


def run(
  train_flags: Sequence[str],
  warmup_seconds: float,
  window_seconds: float,
  only_limit: bool = False,
) -> dict[str, Any]:
  """Measures every part.

  Args:
    train_flags: Of the run whose parts they are.
    warmup_seconds: Not needed: each part is warm before it is measured.
    window_seconds: For all together, about.
    only_limit: Leaves out all parts that the limit is not made of; takes half
      the time.

  Returns:
    The figures, as they stand in the JSON object.

  Raises:
    trial.TrialError: A part cannot be measured.
  """
  configuration = trial.resolve(train_flags)
  cores = commands.machine()['cores']
  copies = min(cores, _MAX_COPIES)
  with stations.Pool() as pool:
    trial.tell('starting the parts')
    measured: list[works.Work] = [
      *limits.works_of(pool, configuration, _SIZES),
      *limits.works_of(pool, configuration, _SIZES, copies, _TOGETHER),
      *([] if only_limit else _others(pool, configuration)),
    ]
    if only_limit:
      window_seconds /= 2
    for work in measured:
      work.run(0.0)  # Warms it.
    trial.tell(f'measuring {len(measured)} parts for {window_seconds:g} s')
    costs = works.slices(measured, window_seconds)
  alone = {part: works.cpu_ms(costs[part]['']) for part in limits.PARTS}
  with_copies = {
    part: works.cpu_ms(costs[f'{_TOGETHER}{part}']['']) for part in limits.PARTS
  }
  return {
    'benchmark': NAME,
    **commands.facts(configuration),
    'parts': {
      f'{name}{" " * bool(who)}{who}': _summary(slices)
      for name, by in costs.items()
      for who, slices in by.items()
    },
    'alone_cpu_ms_per_agent_step': alone,
    'limit': limits.limit(alone, cores),
    'together_copies': copies,
    'together_cpu_ms_per_agent_step': with_copies,
    'together_limit': limits.limit(with_copies, cores),
  }


def rates(result: Mapping[str, Any]) -> dict[str, float]:
  """What is compared: name -> agent steps/s."""
  return {'limit': result['limit']}


def _others(
  pool: stations.Pool, configuration: runs.Configuration
) -> list[works.Work]:
  """The work beside that of the limit."""
  made: list[works.Work] = []
  for name, other in _networks(configuration).items():
    sizes = sorted({*_SIZES, other.run.num_envs_per_actor})
    station = pool.station('forward_pass', other, sizes=sizes)
    made += [
      works.Alone(f'forward pass {name}, {size}', [station], str(size))
      for size in sizes
    ]
    station = pool.station('learner', other)
    made.append(works.Alone(f'learner step {name}', [station]))
  made.append(works.Transport('unrolls', pool, configuration))
  made.append(works.Fetching('new variables', pool, configuration))
  return made


def _networks(
  configuration: runs.Configuration,
) -> dict[str, runs.Configuration]:
  """The configuration with each network, where the level shows pictures."""
  agent = configuration.agent
  if agent.network == 'mlp':
    return {agent.network: configuration}
  return {
    name: dataclasses.replace(
      configuration, agent=dataclasses.replace(agent, **fields)
    )
    for name, fields in _NETWORKS.items()
  }


def _summary(slices: Sequence[works.Cost]) -> dict[str, float]:
  cpu, wall = (
    [each.cpu_ms for each in slices],
    [each.wall_ms for each in slices],
  )
  return {
    'cpu_ms_per_agent_step': statistics.median(cpu),
    'cpu_ms_least': min(cpu),
    'cpu_ms_most': max(cpu),
    'wall_ms_per_agent_step': statistics.median(wall),
  }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  table = rich.table.Table(
    title=f'{result["level_name"]}, {result["num_envs_per_actor"]} '
    'environments an actor; of an agent step',
    title_justify='left',
  )
  table.add_column('part', no_wrap=True)
  for heading in ('CPU ms', 'least', 'most', 'clock ms', '1/s a core'):
    table.add_column(heading, justify='right')
  for name, figures in result['parts'].items():
    cpu, least, most, wall = figures.values()
    rate = f'{1000 / cpu:,.0f}' if cpu else ''
    table.add_row(
      name, f'{cpu:.4f}', f'{least:.4f}', f'{most:.4f}', f'{wall:.4f}', rate
    )
  lines = [
    f'limit: {result["limit"]:,.0f} agent steps/s with {result["cores"]} '
    f'cores, each part alone ({_sum(result["alone_cpu_ms_per_agent_step"])})',
    f'with {result["together_copies"]} copies at once: '
    f'{result["together_limit"]:,.0f} '
    f'({_sum(result["together_cpu_ms_per_agent_step"])})',
  ]
  return [table, '\n'.join(lines)]


def _sum(cpu_ms: Mapping[str, float]) -> str:
  """'environment 0.6 + forward pass 0.2 + learner 0.3 ms'."""
  parts = (f'{n.replace("_", " ")} {ms:.3f}' for n, ms in cpu_ms.items())
  return f'{" + ".join(parts)} ms'
