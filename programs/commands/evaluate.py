"""Evaluate a run's checkpoints: `./impala evaluate --logdir=DIR`."""

import argparse
import dataclasses
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

import rich.console
import rich.progress
from absl import flags as absl_flags

import environments
from environments import suites
from programs import program as impala
from programs.evaluation import schedule, tables
from programs.launching import isolation, local
from programs.runs import flags, run_config, run_directory

_DESCRIPTION = """\
Plays episodes with a checkpoint of a run, which may be running, and writes
results.json and results.csv to DIR/evaluations/<frames>. The folder's name also
has levels, episodes, seed, checkpoint and greedy if they differ from the run's.

  ./impala evaluate --logdir=runs/pong --test_num_episodes=20
  ./impala evaluate --logdir=runs/pong --checkpoint=best --video=3
  ./impala evaluate --logdir=runs/lab --level_name=dmlab30
  ./impala evaluate --logdir=runs/pong --watch"""

_FROM_RUN = ('level_name', 'test_num_episodes', 'seed')


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command.

  Returns:
    Exit status: 0 on success, 1 if a node failed, 2 if nothing was started, 130
    or 143 after a signal.
  """
  arguments = _make_parser().parse_args(argv)
  console = rich.console.Console(highlight=False)
  try:
    exposed = isolation.require(vars(arguments).get('require_isolation', False))
    directory = run_directory.RunDirectory(arguments.logdir)
    configuration, evaluation = _resolve(arguments, directory)
    _check(configuration, evaluation)
    directory.evaluations.mkdir(parents=True, exist_ok=True)
    # A folder per evaluation, so that several can run at once.
    folder = tempfile.mkdtemp(prefix='.running-', dir=directory.evaluations)
  except (
    run_directory.RunError,
    environments.MissingError,
    OSError,
    TypeError,
    ValueError,
  ) as error:
    print(f'./impala evaluate: {error}', file=sys.stderr)
    return 2
  status = _run(
    configuration, evaluation, pathlib.Path(folder), exposed, console
  )
  if status != 1:  # Keep the logs of a failure.
    shutil.rmtree(folder, ignore_errors=True)
  return status


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('evaluate', _DESCRIPTION)
  flags.add_logdir(parser)
  for field in dataclasses.fields(schedule.EvaluationConfig):
    options = {}
    if field.name in _FROM_RUN:
      options['help'] = f"{field.metadata['help']} [default: the run's]"
    flags.add_field(parser, field, **options)
  flags.add_configuration(parser, flags.OF_MACHINE)
  flags.add_isolation(parser)
  return parser


def _resolve(
  arguments: argparse.Namespace, directory: run_directory.RunDirectory
) -> tuple[run_config.Configuration, schedule.EvaluationConfig]:
  given = vars(arguments)
  names = {
    field.name for field in dataclasses.fields(schedule.EvaluationConfig)
  }
  ours = {name: value for name, value in given.items() if name in names}
  machine = {name: given[name] for name in flags.OF_MACHINE if name in given}
  configuration = flags.resolve(
    {**machine, 'logdir': str(directory.path)}, directory.read_config()
  )
  return configuration, schedule.EvaluationConfig.of_run(configuration, **ours)


def _check(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
) -> None:
  """Check that there is a checkpoint, and that it can play these levels."""
  # Imports TensorFlow in 2 s: after `isolation.require`, which may start this
  # process again.
  from programs.runs import checkpoints

  directory, level_name = configuration.directory, evaluation.level_name
  environments.check(level_name)
  folder = evaluation.checkpoints(directory)
  may_follow = evaluation.watch and not directory.is_finished()
  if not may_follow and not checkpoints.newest_first(folder):
    raise run_directory.RunError(f'{folder} holds no checkpoint yet')
  settings = configuration.environment
  wanted = environments.check_specs(level_name, settings, evaluation=True)
  if configuration.spec != wanted:
    raise ValueError(
      'level_name must have the observations and actions of '
      f'{configuration.run.level_name}, got {level_name!r}'
    )


def _run(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  folder: pathlib.Path,
  exposed: str,
  console: rich.console.Console,
) -> int:
  program = impala.make_evaluation_program(
    configuration, evaluation, str(folder)
  )
  absl_flags.FLAGS([sys.argv[0]])  # Launchpad reads its defaults there.
  levels = suites.split(evaluation.level_name, evaluation=True)
  title = levels[0] if len(levels) == 1 else f'{len(levels)} levels'
  num_shown = 0
  with rich.progress.Progress(
    *rich.progress.Progress.get_default_columns()[:-1],
    rich.progress.MofNCompleteColumn(),
    rich.progress.TimeRemainingColumn(),
    # One console in a terminal, so that results do not land in the bar.
    console=(
      console if console.is_terminal else rich.console.Console(stderr=True)
    ),
    transient=True,
  ) as shown:
    task = shown.add_task('starting', total=None)

    def update() -> None:
      nonlocal num_shown
      progress = schedule.read_progress(folder)
      if progress is None:
        return
      shown.update(
        task,
        completed=progress.num_played,
        total=progress.num_episodes,
        description=f'{title} at frame {progress.frames:,}',
      )
      for path in progress.results[num_shown:]:
        console.print(tables.table(pathlib.Path(path)))
        console.print(path, soft_wrap=True)
        num_shown += 1

    def warn(ports: Sequence[int]) -> None:
      if exposed:
        console.print(isolation.warning(ports, exposed), soft_wrap=True)

    outcome = local.launch(
      program,
      impala.EVALUATION_RESOURCES,
      folder,
      lambda supervisor: update(),
      on_ports=warn,
    )
    update()
  if outcome.kind != 'finished':
    console.print(outcome.describe(), markup=False, soft_wrap=True)
  return outcome.exit_status


if __name__ == '__main__':
  sys.exit(main())
