"""Speed of a program, and CPU time and memory of its processes."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil

from benchmarks import trial
from programs.views import metrics

MEGABYTE = 1e6


def measure(
  run: trial.Trial, repeats: int, warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Measure a new program between two metric records.

  Warm-up and window count from the first record; `repeats` are frames per agent
  step.
  """
  trial.log('starting the program')
  (first,) = run.records_until(0)
  trial.log(f'warming up for {warmup_seconds:g} s')
  begin = run.records_until(first['time'] + warmup_seconds)[-1]
  before = _cpu_seconds(run.processes())
  trial.log(f'measuring for {window_seconds:g} s')
  found = [begin, *run.records_until(begin['time'] + window_seconds)]
  processes = run.processes()
  after = _cpu_seconds(processes)
  grown = {
    name: found[-1][name] - begin[name]
    for name in ('time', 'frames', 'learner_steps')
  }
  seconds, agent_steps = grown['time'], grown['frames'] / repeats
  roles = _by_role(before, after, processes, seconds, agent_steps)
  return {
    'window_seconds': seconds,
    'agent_steps_per_second': agent_steps / seconds,
    'frames_per_second': grown['frames'] / seconds,
    'learner_steps_per_second': grown['learner_steps'] / seconds,
    'cpu_ms_per_agent_step': math.fsum(
      each['cpu_ms_per_agent_step'] for each in roles.values()
    ),
    **_means(found),
    'roles': roles,
  }


def _cpu_seconds(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
  found = {}
  for name, process in processes.items():
    with contextlib.suppress(psutil.NoSuchProcess):
      times = process.cpu_times()
      found[name] = times.user + times.system
  return found


def _by_role(
  before: Mapping[str, float],
  after: Mapping[str, float],
  processes: Mapping[str, psutil.Process],
  seconds: float,
  agent_steps: float,
) -> dict[str, dict[str, float]]:
  result: dict[str, dict[str, float]] = {}
  for role in dict.fromkeys(map(role_of, after)):
    names = [name for name in after if role_of(name) == role]
    cpu = math.fsum(after[name] - before.get(name, 0.0) for name in names)
    sizes = [processes[name].memory_info().rss for name in names]
    result[role] = {
      'processes': len(names),
      'cpu_ms_per_agent_step': 1000 * cpu / agent_steps,
      'cores_used': cpu / seconds,
      'rss_mb_largest': max(sizes) / MEGABYTE,
    }
  return result


def role_of(name: str) -> str:
  """Return the group of a process's name: 'actor' for 'actor/1'."""
  return name.partition('/')[0]


def _means(found: Sequence[metrics.Record]) -> dict[str, float | None]:
  """Return means of the learner's records, if it writes these columns."""
  if 'learner_wait_share' not in found[0]:
    return {}
  seconds = np.diff([row['time'] for row in found])
  steps = np.diff([row['learner_steps'] for row in found])
  values = {name: [row[name] for row in found[1:]] for name in found[0]}
  return {
    'learner_wait_share': mean(values['learner_wait_share'], seconds),
    'queue_size': mean(values['queue_size'], seconds),
    'policy_lag_min': min(values['policy_lag_min']),
    'policy_lag_mean': mean(values['policy_lag_mean'], steps),
    'policy_lag_max': max(values['policy_lag_max']),
  }


def mean(values: Sequence[float], weights: np.ndarray) -> float | None:
  """Return the weighted mean of known values; None if there are none."""
  known = ~np.isnan(values)
  if not np.any(weights[known]):
    return None
  return float(np.average(np.array(values)[known], weights=weights[known]))
