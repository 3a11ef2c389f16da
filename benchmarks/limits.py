"""The limit: what environment, forward pass and learner allow, alone."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import commands, stations, trial, works
from programs import runs

# Of an agent step, the work that nothing can save.
PARTS = ('environment', 'forward_pass', 'learner')


def works_of(
  pool: stations.Pool,
  configuration: runs.Configuration,
  sizes: Sequence[int] = (),
  copies: int = 1,
  prefix: str = '',
) -> list[works.Alone]:
  """The work of the three parts.

  Args:
    pool: Has their processes.
    configuration: Of the run whose parts they are.
    sizes: Numbers of environments that the forward pass is to know, besides
      the run's own.
    copies: Of each, that work at the same time.
    prefix: Of the names.

  Returns:
    In the order of `PARTS`.
  """
  size = configuration.run.num_envs_per_actor
  arguments: Mapping[str, Mapping[str, Any]] = {
    'forward_pass': {'sizes': sorted({*sizes, size})}
  }
  return [
    works.Alone(
      f'{prefix}{kind}',
      [
        pool.station(kind, configuration, copy, **arguments.get(kind, {}))
        for copy in range(copies)
      ],
      str(size) if kind == 'forward_pass' else '',
    )
    for kind in PARTS
  ]


def measure(train_flags: Sequence[str], seconds: float) -> dict[str, float]:
  """Measures the three parts alone.

  Args:
    train_flags: Of the run whose parts they are.
    seconds: For all together, about.

  Returns:
    Part -> CPU milliseconds of an agent step.

  Raises:
    trial.TrialError: One cannot be measured.
  """
  trial.tell(f'measuring what the limit is made of for {seconds:g} s')
  configuration = trial.resolve(train_flags)
  with stations.Pool() as pool:
    costs = works.slices(works_of(pool, configuration), seconds)
  return {part: works.cpu_ms(costs[part]['']) for part in PARTS}


def limit(cpu_ms: Mapping[str, float], cores: int) -> float:
  """Agent steps/s, if nothing else took any time.

  Args:
    cpu_ms: Part -> CPU milliseconds of an agent step.
    cores: That work without a pause.
  """
  return 1000 * cores / sum(cpu_ms[part] for part in PARTS)


def compare(
  rate: float, alone: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
  """How near to the limit a run comes.

  Args:
    rate: Of the run, agent steps/s.
    alone: What `measure` gave, before it and after it.

  Returns:
    The figures, as they stand in the JSON object.
  """
  means = {
    part: statistics.mean(each[part] for each in alone) for part in PARTS
  }
  reached = limit(means, commands.machine()['cores'])
  return {
    'alone_cpu_ms_per_agent_step': means,
    'limit': reached,
    'share_of_limit': rate / reached,
  }
