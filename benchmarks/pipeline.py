"""Measured run of the program, or of the same program of Acme's classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, measurement, trial
from programs.views import reading

TRAIN = 'programs.commands.train'
_MIN_SHARE = 0.01  # Smaller shares of time are not shown.


def run(
  train_flags: Sequence[str],
  warmup_seconds: float,
  window_seconds: float,
  module: str = TRAIN,
) -> dict[str, Any]:
  """Start, measure and stop a run; see `measurement.measure`.

  `module` is a program with the flags of `train`.
  """
  configuration = trial.resolve(train_flags)
  repeats = configuration.num_action_repeats
  with trial.start(train_flags, module) as started:
    return {
      **commands.facts(configuration),
      **measurement.measure(started, repeats, warmup_seconds, window_seconds),
      **_activities(started),
    }


def run_acme(
  train_flags: Sequence[str], warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Run Acme's program, whose actors have one environment each."""
  if trial.resolve(train_flags).agent.lstm:
    raise trial.TrialError('lstm must be false for acme, got True')
  found = run(
    train_flags, warmup_seconds, window_seconds, 'benchmarks.acme_impala'
  )
  return {**found, 'num_envs_per_actor': 1}


def _activities(run: trial.Trial) -> dict[str, Any]:
  """Return shares of time, medians over a role's nodes, and the verdict.

  They are from the monitor's last records; empty without a monitor.
  """
  seen = reading.Run(run.directory.path)
  seen.refresh()
  if seen.graph is None or seen.statistics is None:
    return {}
  shares = {
    role: {
      activity: spread.median
      for activity, spread in seen.statistics.spreads(n.name for n in nodes)
      .get('activities', {})
      .items()
    }
    for role, nodes in seen.graph.roles.items()
  }
  return {
    'activities': {role: each for role, each in shares.items() if each},
    'machine_busy_share': seen.statistics.machine_busy,
    'verdict': seen.verdict.sentence if seen.verdict else '',
  }


def tables(
  label: str, result: Mapping[str, Any]
) -> list[rich.table.Table | str]:
  """Return tables and lines of a result."""
  title = (
    f'{label}: {result["level_name"]}, {result["num_actors"]} actors x '
    f'{result["num_envs_per_actor"]} environments, {result["cores"]} cores'
  )
  totals = {
    name: {'': value}
    for name, value in result.items()
    if isinstance(value, float)
  }
  shown = [
    commands.make_table(title, totals),
    commands.make_table('', result['roles']),
  ]
  lines = []
  for role, shares in result.get('activities', {}).items():
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    text = ', '.join(
      f'{name.replace("_", " ")} {share:.0%}'
      for name, share in ordered
      if share >= _MIN_SHARE
    )
    lines.append(f'{role}: {text}')
  return [*shown, *lines, result.get('verdict', '')]
