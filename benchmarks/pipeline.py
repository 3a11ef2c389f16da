"""One run of the program, or of Acme's parts in a program of the same shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, measurement, trial
from programs.views import reading

TRAIN = 'programs.commands.train'
_WORTH = 0.01  # Of the time: less is not shown.


def run(
  train_flags: Sequence[str],
  warmup_seconds: float,
  window_seconds: float,
  module: str = TRAIN,
) -> dict[str, Any]:
  """Starts a run, measures it and ends it; see `measurement.measure`.

  The program of `module` takes the flags of `train`.
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
  """The same of Acme's parts, whose actors have one environment each."""
  if trial.resolve(train_flags).agent.lstm:
    raise trial.TrialError('lstm must be false for acme, got True')
  found = run(
    train_flags, warmup_seconds, window_seconds, 'benchmarks.acme_impala'
  )
  return {**found, 'num_envs_per_actor': 1}


def _activities(run: trial.Trial) -> dict[str, Any]:
  """Shares of time and the verdict, of the monitor's last records.

  A share is the median of a role's nodes. Empty where there was no monitor.
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
  """A result of `run` or `run_acme` for people."""
  title = (
    f'{label}: {result["level_name"]}, {result["num_actors"]} actors x '
    f'{result["num_envs_per_actor"]} environments, {result["cores"]} cores'
  )
  figures = {
    name: {'': value}
    for name, value in result.items()
    if isinstance(value, float)
  }
  shown = [
    commands.make_table(title, figures),
    commands.make_table('', result['roles']),
  ]
  lines = []
  for role, shares in result.get('activities', {}).items():
    worth = sorted(shares.items(), key=lambda item: -item[1])
    text = ', '.join(
      f'{name.replace("_", " ")} {share:.0%}'
      for name, share in worth
      if share >= _WORTH
    )
    lines.append(f'{role}: {text}')
  return [*shown, *lines, result.get('verdict', '')]
