"""What the processes of each role take: CPU time and memory."""

import math
from collections.abc import Mapping

import numpy as np
import psutil
import rich.table

from benchmarks import trial


def cpu_seconds(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
  """Name -> user and system time since its start."""
  return {
    name: times.user + times.system
    for name, process in processes.items()
    for times in (process.cpu_times(),)
  }


def rss_mb(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
  """Name -> resident memory."""
  return {
    name: process.memory_info().rss / trial.MEGABYTE
    for name, process in processes.items()
  }


def summarise(
  before: Mapping[str, float],
  after: Mapping[str, float],
  rss: Mapping[str, float],
  seconds: float,
  agent_steps: float,
) -> dict[str, dict[str, float]]:
  """The figures of each role.

  Args:
    before: See `cpu_seconds`.
    after: The same, `seconds` later.
    rss: See `rss_mb`.
    seconds: Between them.
    agent_steps: Learned from meanwhile.

  Returns:
    Role -> figure -> value.
  """
  result: dict[str, dict[str, float]] = {}
  for role in dict.fromkeys(map(trial.role, rss)):
    names = [name for name in rss if trial.role(name) == role]
    cpu = math.fsum(after[name] - before[name] for name in names)
    result[role] = {
      'processes': len(names),
      'cpu_ms_per_agent_step': 1000 * cpu / agent_steps,
      'cores_used': cpu / seconds,
      'rss_mb_largest': max(rss[name] for name in names),
    }
  return result


def cpu_ms(roles: Mapping[str, Mapping[str, float]]) -> float:
  """CPU milliseconds of an agent step, of all roles together."""
  return sum(figures['cpu_ms_per_agent_step'] for figures in roles.values())


def table(roles: Mapping[str, Mapping[str, float]]) -> rich.table.Table:
  """The same for people, and the sum."""
  made = rich.table.Table('role')
  for heading in ('processes', 'CPU ms/agent step', 'cores', 'RSS MB, largest'):
    made.add_column(heading, justify='right')
  for role, figures in roles.items():
    made.add_row(
      role,
      f'{figures["processes"]}',
      f'{figures["cpu_ms_per_agent_step"]:.3f}',
      f'{figures["cores_used"]:.2f}',
      f'{figures["rss_mb_largest"]:,.0f}',
    )
  made.add_section()
  processes, cpu, cores, _ = np.sum(
    [list(figures.values()) for figures in roles.values()], axis=0
  )
  made.add_row('all', f'{processes:.0f}', f'{cpu:.3f}', f'{cores:.2f}')
  return made
