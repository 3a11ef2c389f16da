"""How fast does the program learn, and where does the time go?"""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import rich.table

from benchmarks import commands, limits, roles, trial
from programs.inspection import figures as figures_lib
from programs.inspection import reading, recording, verdict

NAME = 'pipeline'

_DESCRIPTION = """\
Runs the real training program in a temporary directory, waits until it learns,
measures a steady window, and stops it as Ctrl-C does. Before and after it
measures what environment, forward pass and learner cost alone, and from these
the limit: cores / (their CPU per agent step). Prints tables and, as the last
line, one JSON object. Progress goes to the standard error.

  ./impala benchmark pipeline
  ./impala benchmark pipeline --num_actors=4 --num_envs_per_actor=16
  ./impala benchmark pipeline --level_name=catch --window_seconds=20

Frames are those the learner took from the queue; agent steps are frames divided
by the action repeats. Leave the machine alone meanwhile."""


_WORTH = 0.01  # Of the time: less is not shown.


class Sample(NamedTuple):
  """What stood at the moment of a row of metrics.

  Attributes:
    row: Of the learner.
    cpu_seconds: Process name -> user and system time since its start.
  """

  row: Mapping[str, float]
  cpu_seconds: Mapping[str, float]


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  with commands.failing(NAME):
    alone = []
    if given.limit_seconds:
      alone.append(limits.measure(train_flags, given.limit_seconds / 2))
    result = run(train_flags, given.warmup_seconds, given.window_seconds)
    if given.limit_seconds:
      alone.append(limits.measure(train_flags, given.limit_seconds / 2))
      result |= limits.compare(result['agent_steps_per_second'], alone)
  commands.finish(result, tables(result), given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  commands.add_times(parser, warmup_seconds=30.0, window_seconds=60.0)
  parser.add_argument(
    '--limit_seconds',
    type=float,
    default=20.0,
    metavar='FLOAT',
    help='measuring of what the limit is made of; 0: none [seconds; default '
    '20]',
  )
  return parser


def run(
  train_flags: Sequence[str], warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Starts a run, measures it and ends it; see `measure`.

  Raises:
    trial.TrialError: The run ended before the window did.
  """
  with trial.start(train_flags) as started:
    return measure(started, warmup_seconds, window_seconds)


def rates(result: Mapping[str, Any]) -> dict[str, float]:
  """What is compared: name -> agent steps/s."""
  return {NAME: result['agent_steps_per_second']}


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
  repeats = run.configuration.num_action_repeats
  figures = _rates(samples, repeats)
  return {
    'benchmark': NAME,
    **commands.facts(run.configuration),
    **figures,
    **_learner(samples, run.configuration.agent.queue_capacity),
    'roles': roles.summarise(
      begin.cpu_seconds,
      samples[-1].cpu_seconds,
      roles.rss_mb(run.processes()),
      figures['window_seconds'],
      figures['window_seconds'] * figures['agent_steps_per_second'],
    ),
    **_activities(run, begin.row['time'], samples[-1].row['time']),
  }


def _next_sample(run: trial.Trial) -> Sample:
  """Waits for the next row of metrics and reads the clocks at it."""
  while not (rows := run.new_rows()):
    pass
  return Sample(
    rows[-1],
    roles.cpu_seconds(run.processes()),
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


def _activities(run: trial.Trial, since: float, until: float) -> dict[str, Any]:
  """Where the time goes, by what the monitor recorded in the window.

  Args:
    run: That goes on.
    since: Seconds since 1970.
    until: The same.

  Returns:
    'activities', role -> activity -> share of the time, median of its nodes;
    'machine_busy_share'; and 'verdict', the sentence. Nothing of it where there
    was no monitor.
  """
  path = run.directory.metrics / 'graph.jsonl'
  found = [
    record
    for record in recording.Reader(path).read()
    if since <= record['time'] <= until
  ]
  graph, figures = (
    reading.read_graph(run.directory.path),
    figures_lib.make_figures(found) if found else None,
  )
  if graph is None or figures is None:
    return {}
  judged = verdict.judge(graph, figures)
  shares = {
    role: {
      activity: spread.median
      for activity, spread in figures.spreads(node.name for node in nodes)
      .get('activities', {})
      .items()
    }
    for role, nodes in graph.roles.items()
  }
  return {
    'activities': {role: each for role, each in shares.items() if each},
    'machine_busy_share': figures.machine_busy,
    'verdict': judged.sentence if judged else '',
  }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  shown: list[rich.table.Table | str] = [
    _figures_table(result),
    roles.table(result['roles']),
  ]
  if 'activities' in result:
    shown += [_activities_text(result['activities']), result['verdict']]
  if 'limit' in result:
    shown.append(
      f'limit: {result["limit"]:,.0f} agent steps/s; reached '
      f'{result["share_of_limit"]:.2f} of it'
    )
  return shown


def _activities_text(activities: Mapping[str, Mapping[str, float]]) -> str:
  """A line for each role: 'actor: environment 51%, forward pass 27%'."""
  lines = []
  for role, shares in activities.items():
    worth = sorted(shares.items(), key=lambda item: -item[1])
    text = ', '.join(
      f'{name.replace("_", " ")} {share:.0%}'
      for name, share in worth
      if share >= _WORTH
    )
    lines.append(f'{role}: {text}')
  return '\n'.join(lines)


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
