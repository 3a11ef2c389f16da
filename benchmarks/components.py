"""Cost of each component, and the limit that follows from it."""

import contextlib
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, isolated, trial

# Components without which there is no agent step.
_OF_LIMIT = ('environment', 'forward_pass', 'learner')
_MAX_COPIES = 4
_SLICES = 3
_WARM_UP_SLICES = 2  # The first traces functions, the second allocates.


def run(
  train_flags: Sequence[str], warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Measure every component; `measure` warms them up."""
  configuration = trial.resolve(train_flags)
  cores = commands.machine()['cores']
  num_copies = min(cores, _MAX_COPIES)
  with contextlib.ExitStack() as held:

    def start(kind: str) -> isolated.Component:
      return held.enter_context(isolated.Component(kind, configuration))

    trial.log('starting the components')
    measured = {kind: [start(kind)] for kind in ('unrolls', 'variables')}
    for kind in _OF_LIMIT:
      copies = [start(kind) for _ in range(num_copies)]
      measured |= {kind: copies[:1], f'{kind} together': copies}
    costs = measure(measured, window_seconds)
  alone = {kind: cpu_ms(costs[kind]) for kind in _OF_LIMIT}
  together = {kind: cpu_ms(costs[f'{kind} together']) for kind in _OF_LIMIT}
  return {
    'benchmark': 'components',
    **commands.facts(configuration),
    'parts': {name: summarise(slices) for name, slices in costs.items()},
    'alone_cpu_ms_per_agent_step': alone,
    'limit': 1000 * cores / math.fsum(alone.values()),
    'together_copies': num_copies,
    'together_cpu_ms_per_agent_step': together,
    'together_limit': 1000 * cores / math.fsum(together.values()),
  }


def measure(
  measured: Mapping[str, Sequence[isolated.Component]], seconds: float
) -> dict[str, list[isolated.Cost]]:
  """Measure copies of components alternately; return costs of each slice."""
  for copies in measured.values():
    for _ in range(_WARM_UP_SLICES):
      isolated.Component.work(copies, 0.0)
  trial.log(f'measuring for {seconds:g} s')
  costs: dict[str, list[isolated.Cost]] = {name: [] for name in measured}
  for number in range(_SLICES):
    for name in list(measured)[:: -1 if number % 2 else 1]:
      costs[name].append(
        isolated.Component.work(
          measured[name], seconds / (_SLICES * len(measured))
        )
      )
  return costs


def cpu_ms(slices: Sequence[isolated.Cost]) -> float:
  """Return the median CPU time per agent step, in milliseconds."""
  return statistics.median(
    1000 * cost.cpu_seconds / cost.agent_steps for cost in slices
  )


def summarise(slices: Sequence[isolated.Cost]) -> dict[str, float]:
  """Return the statistics of a component."""
  cpu = [1000 * cost.cpu_seconds / cost.agent_steps for cost in slices]
  return {
    'cpu_ms_per_agent_step': cpu_ms(slices),
    'cpu_ms_least': min(cpu),
    'cpu_ms_most': max(cpu),
    'wall_ms_per_agent_step': statistics.median(
      1000 * cost.wall_seconds / cost.agent_steps for cost in slices
    ),
  }


def tables(
  label: str, result: Mapping[str, Any]
) -> list[rich.table.Table | str]:
  """Return tables and lines of a result."""
  return [
    commands.make_table(
      f'components: {result["level_name"]}, {result["num_envs_per_actor"]} '
      'environments per actor',
      result['parts'],
    ),
    f'{label}: {result["limit"]:,.0f} agent steps/s with {result["cores"]} '
    f'cores, components alone; {result["together_limit"]:,.0f} with '
    f'{result["together_copies"]} copies at once',
  ]
