"""How fast does the program learn, and where does the CPU time go?"""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import rich.console
import rich.table

from benchmarks import trial

_DESCRIPTION = """\
Runs the real training program in a temporary directory, waits until it learns,
measures a steady window, and stops it as Ctrl-C does. Prints a table and, as
the last line, one JSON object. Progress goes to the standard error.

  python -m benchmarks.throughput
  python -m benchmarks.throughput --num_actors=4 --num_envs_per_actor=32
  python -m benchmarks.throughput --level_name=catch --window_seconds=20

Frames are those the learner took from the queue; agent steps are frames divided
by the action repeats. Leave the machine alone meanwhile."""


class Sample(NamedTuple):
  """What stood at the moment of a row of metrics.

  Attributes:
    row: Of the learner.
    cpu_seconds: Process name -> user and system time since its start.
  """

  row: Mapping[str, float]
  cpu_seconds: Mapping[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  if given.window_seconds <= 0:
    parser.error(
      f'--window_seconds must be greater than 0, got {given.window_seconds:g}'
    )
  try:
    with trial.start(train_flags) as run:
      result = measure(run, given.warmup_seconds, given.window_seconds)
  except trial.TrialError as error:
    print(f'benchmarks.throughput: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    return 130
  show(result)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = trial.make_parser('benchmarks.throughput', _DESCRIPTION)
  add_times(parser, warmup_seconds=30.0, window_seconds=60.0)
  return parser


def add_times(
  parser: argparse.ArgumentParser, warmup_seconds: float, window_seconds: float
) -> None:
  """Adds the flags that say how long is measured.

  Args:
    parser: What they are added to.
    warmup_seconds: Default of the flag of that name.
    window_seconds: The same.
  """
  for name, default, text in (
    (
      'warmup_seconds',
      warmup_seconds,
      'learning that is not measured, after the first row of metrics',
    ),
    ('window_seconds', window_seconds, 'learning that is measured'),
  ):
    parser.add_argument(
      f'--{name}',
      type=float,
      default=default,
      metavar='FLOAT',
      help=f'{text} [seconds; default {default:g}]',
    )


def measure(
  run: trial.Trial, warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Watches a run that was just started.

  Args:
    run: Not yet learning.
    warmup_seconds: Of learning, not measured.
    window_seconds: Of learning, measured.

  Returns:
    The figures, as they stand in the JSON object.

  Raises:
    trial.TrialError: The run ended before the window did.
  """
  run.wait_for_learning()
  trial.tell(f'warming up for {warmup_seconds:g} s')
  warm = time.monotonic() + warmup_seconds
  while time.monotonic() < warm:
    run.new_rows()
  begin = _next_sample(run)
  trial.tell(f'measuring for {window_seconds:g} s')
  samples = [begin]
  while samples[-1].row['time'] - begin.row['time'] < window_seconds:
    samples.append(_next_sample(run))
  rss = {
    name: process.memory_info().rss / trial.MEGABYTE
    for name, process in run.processes().items()
  }
  repeats = run.configuration.num_action_repeats
  return {
    'benchmark': 'throughput',
    **trial.facts(run.directory),
    **_rates(samples, repeats),
    **_learner(samples, run.configuration.agent.queue_capacity),
    'roles': _roles(samples, rss, repeats),
  }


def _next_sample(run: trial.Trial) -> Sample:
  """Waits for the next row of metrics and reads the clocks at it."""
  while not (rows := run.new_rows()):
    pass
  return Sample(
    rows[-1],
    {
      name: times.user + times.system
      for name, process in run.processes().items()
      for times in (process.cpu_times(),)
    },
  )


def _rates(samples: Sequence[Sample], repeats: int) -> dict[str, float]:
  first, last = samples[0].row, samples[-1].row
  seconds = last['time'] - first['time']
  frames = last['frames'] - first['frames']
  learner_steps = last['learner_steps'] - first['learner_steps']
  return {
    'window_seconds': seconds,
    'agent_steps_per_second': frames / repeats / seconds,
    'frames_per_second': frames / seconds,
    'learner_steps_per_second': learner_steps / seconds,
  }


def _learner(
  samples: Sequence[Sample], queue_capacity: int
) -> dict[str, float | None]:
  """Means over the window's rows; a row tells of the time that it ends."""
  rows = [sample.row for sample in samples]
  seconds = np.diff([row['time'] for row in rows])
  steps = np.diff([row['learner_steps'] for row in rows])
  rows = rows[1:]
  waited = float(
    np.average([row['learner_wait_share'] for row in rows], weights=seconds)
  )
  queue = _mean([row['queue_size'] for row in rows], seconds)
  return {
    'learner_busy_share': 1 - waited,
    'learner_wait_share': waited,
    'queue_fill_share': None if queue is None else queue / queue_capacity,
    'policy_lag_min': min(row['policy_lag_min'] for row in rows),
    'policy_lag_mean': _mean([row['policy_lag_mean'] for row in rows], steps),
    'policy_lag_max': max(row['policy_lag_max'] for row in rows),
  }


def _mean(values: Sequence[float], weights: np.ndarray) -> float | None:
  """Weighted, of what is known; None where nothing is (JSON has no NaN)."""
  known = ~np.isnan(values)
  if not np.any(weights[known]):
    return None
  return float(np.average(np.array(values)[known], weights=weights[known]))


def _roles(
  samples: Sequence[Sample], rss: Mapping[str, float], repeats: int
) -> dict[str, dict[str, float]]:
  """What the processes of each group take, the launcher's included."""
  first, last = samples[0], samples[-1]
  seconds = last.row['time'] - first.row['time']
  agent_steps = (last.row['frames'] - first.row['frames']) / repeats
  result: dict[str, dict[str, float]] = {}
  for group in dict.fromkeys(map(trial.role, rss)):
    names = [name for name in rss if trial.role(name) == group]
    cpu = math.fsum(last.cpu_seconds[n] - first.cpu_seconds[n] for n in names)
    result[group] = {
      'processes': len(names),
      'cpu_ms_per_agent_step': 1000 * cpu / agent_steps,
      'cores_used': cpu / seconds,
      'rss_mb_largest': max(rss[name] for name in names),
    }
  return result


def show(result: Mapping[str, Any]) -> None:
  """The tables for people, then the line for programs."""
  console = rich.console.Console(highlight=False, soft_wrap=True)
  console.print(_figures_table(result))
  console.print(_roles_table(result['roles']))
  print(json.dumps(result))


def _figures_table(result: Mapping[str, Any]) -> rich.table.Table:
  title = (
    f'{result["level_name"]}, {result["num_actors"]} actors x '
    f'{result["num_envs_per_actor"]} environments, {result["cores"]} cores, '
    f'{result["window_seconds"]:.0f} s'
  )
  table = rich.table.Table(
    title=title, title_justify='left', show_header=False, box=None
  )
  for meaning, name, form in (
    ('agent steps/s', 'agent_steps_per_second', ',.0f'),
    ('frames/s', 'frames_per_second', ',.0f'),
    ('learner steps/s', 'learner_steps_per_second', ',.2f'),
    ('learner busy', 'learner_busy_share', '.0%'),
    ('learner waiting', 'learner_wait_share', '.0%'),
    ('queue full', 'queue_fill_share', '.0%'),
    ('policy lag, least', 'policy_lag_min', '.0f'),
    ('policy lag, mean', 'policy_lag_mean', '.2f'),
    ('policy lag, most', 'policy_lag_max', '.0f'),
  ):
    value = result[name]
    table.add_row(meaning, '?' if value is None else format(value, form))
  return table


def _roles_table(
  roles: Mapping[str, Mapping[str, float]],
) -> rich.table.Table:
  table = rich.table.Table('role')
  for heading in ('processes', 'CPU ms/agent step', 'cores', 'RSS MB, largest'):
    table.add_column(heading, justify='right')
  for group, figures in roles.items():
    table.add_row(
      group,
      f'{figures["processes"]}',
      f'{figures["cpu_ms_per_agent_step"]:.3f}',
      f'{figures["cores_used"]:.2f}',
      f'{figures["rss_mb_largest"]:,.0f}',
    )
  table.add_section()
  processes, cpu, cores, _ = np.sum(
    [list(figures.values()) for figures in roles.values()], axis=0
  )
  table.add_row('all', f'{processes:.0f}', f'{cpu:.3f}', f'{cores:.2f}')
  return table


if __name__ == '__main__':
  sys.exit(main())
