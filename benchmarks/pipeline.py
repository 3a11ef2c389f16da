"""One run of the program, or of Acme's parts in a program of the same shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, measurement, trial
from programs.inspection import reading

_WORTH = 0.01  # Of the time: less is not shown.


def run(
  train_flags: Sequence[str], warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Starts a run, measures it and ends it.

  Args:
    train_flags: What the user gives.
    warmup_seconds: See `measurement.measure`.
    window_seconds: See there.

  Returns:
    The figures, as they stand in the JSON object.

  Raises:
    trial.TrialError: The run ended before the window did.
  """
  configuration = trial.resolve(train_flags)
  with trial.start(train_flags) as started:
    figures = measurement.measure(
      started,
      configuration.num_action_repeats,
      warmup_seconds,
      window_seconds,
    )
    return {
      **commands.facts(configuration),
      **figures,
      **_activities(started),
    }


def run_acme(
  train_flags: Sequence[str], warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """The same of Acme's parts, whose actors have one environment each."""
  configuration = trial.resolve(train_flags)
  if configuration.agent.lstm:
    raise trial.TrialError('lstm must be false for acme, got True')
  with trial.start(train_flags, 'benchmarks.acme_impala') as started:
    return {
      **commands.facts(configuration),
      'num_envs_per_actor': 1,
      **measurement.measure(
        started,
        configuration.num_action_repeats,
        warmup_seconds,
        window_seconds,
      ),
    }


def _activities(run: trial.Trial) -> dict[str, Any]:
  """Where the time goes, by the monitor's records of the last seconds.

  Returns:
    'activities', role -> activity -> share of the time, median of its nodes;
    'machine_busy_share'; and 'verdict', the sentence. Nothing of it where there
    was no monitor.
  """
  seen = reading.Run(run.directory.path)
  seen.look()
  if seen.graph is None or seen.figures is None:
    return {}
  shares = {
    role: {
      activity: spread.median
      for activity, spread in seen.figures.spreads(node.name for node in nodes)
      .get('activities', {})
      .items()
    }
    for role, nodes in seen.graph.roles.items()
  }
  return {
    'activities': {role: each for role, each in shares.items() if each},
    'machine_busy_share': seen.figures.machine_busy,
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
  shown = measurement.make_tables(title, result)
  for role, shares in result.get('activities', {}).items():
    worth = sorted(shares.items(), key=lambda item: -item[1])
    text = ', '.join(
      f'{name.replace("_", " ")} {share:.0%}'
      for name, share in worth
      if share >= _WORTH
    )
    shown.append(f'{role}: {text}')
  return [*shown, result.get('verdict', '')]
