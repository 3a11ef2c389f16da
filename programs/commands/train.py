"""Train an agent: `./impala train --level_name=atari_pong --logdir=DIR`."""

import argparse
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import launchpad as lp
import rich.console
from absl import flags as absl_flags

import environments
from programs import program as impala
from programs import startup
from programs.commands import placement, roles
from programs.evaluation import tables
from programs.launching import supervisor, threads
from programs.monitoring import graph as graph_lib
from programs.monitoring import wiring
from programs.nodes import profiling
from programs.runs import (
  flags,
  preparation,
  provenance,
  run_config,
  run_directory,
)
from programs.views import markup, terminal

_DESCRIPTION = """\
Trains an agent and evaluates it at the end. All files go to one run directory;
the same command with an existing run directory resumes that run.

  ./impala train
  ./impala train --level_name=atari_pong --logdir=runs/pong
  ./impala train --logdir=runs/pong --total_environment_frames=400_000_000

Ctrl-C writes a last checkpoint and stops all processes."""


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command; return its exit status."""
  given = vars(_make_parser().parse_args(argv))
  console = rich.console.Console(highlight=False)
  try:
    plan = placement.make_plan(given)
    role = plan.role
    if role is not None and role.job != roles.LEARNER:
      return roles.run_job(role, given, console)
    if role is not None:
      given = roles.with_num_actors(given, role)
    directory = preparation.choose_directory(given)
    with preparation.prepared(directory, given, console) as configuration:
      if configuration.run.profile and plan.has_threads:
        raise run_directory.RunError(
          "profile must be '' with lp_launch_type=local_mt (its nodes are no "
          f'processes), got {configuration.run.profile!r}'
        )
      if preparation.is_finished(configuration):
        console.print(
          'This run has finished; raise --total_environment_frames to go on.'
        )
        if role is not None:
          placement.announce_finished(configuration, plan)
        return 0
      end = _train(configuration, plan, console)
      verdict = None
      if end['kind'] == 'finished':
        verdict = _write_report(configuration, console)
      _show_end(configuration, verdict, console)
      return end['exit_status']
  except (run_directory.RunError, environments.MissingError) as error:
    print(f'./impala train: {error}', file=sys.stderr)
    return 2


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('train', _DESCRIPTION)
  flags.add_configuration(parser)
  group = parser.add_argument_group('run directory')
  group.add_argument(
    '--on_existing',
    choices=('resume', 'fail', 'restart'),
    default='resume',
    help='If the run directory holds a run: resume it, fail, or rename its '
    'directory and start a new run. [default resume]',
  )
  placement.add_flags(parser)
  return parser


def _train(
  configuration: run_config.Configuration,
  plan: placement.Plan,
  console: rich.console.Console,
) -> dict[str, Any]:
  directory = configuration.directory

  def say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)

  directory.update_meta(**provenance.describe_start(configuration.agent.seed))
  console.print(f'Run directory: {directory.path}', soft_wrap=True)
  program = impala.make_program(configuration)
  drawn = wiring.make_graph(program)
  markup.write_files(drawn, configuration.directory)
  absl_flags.FLAGS([sys.argv[0]])  # Launchpad reads its defaults there.
  with terminal.Status(directory.path, console, startup.STARTED) as shown:
    if plan.has_threads:
      end = _run_threads(program, configuration, plan, shown, say)
    else:
      end = _run_processes(program, drawn, configuration, plan, shown, say)
  directory.update_meta(ended={'time': run_directory.now(), **end})
  console.print(end['description'], markup=False, soft_wrap=True)
  return end


def _run_processes(
  program: lp.Program,
  drawn: graph_lib.ProgramGraph,
  configuration: run_config.Configuration,
  plan: placement.Plan,
  shown: terminal.Status,
  say: Callable[[str], None],
) -> dict[str, Any]:
  noted: dict[str, Any] = {}

  def on_poll(
    runner: supervisor.Supervisor, addresses: Mapping[str, str]
  ) -> None:
    # A node that has ended stays listed until it is restarted.
    found = {
      'processes': {**noted.get('processes', {}), **runner.processes()},
      'machines': {**noted.get('machines', {}), **addresses},
    }
    if found != noted:
      noted.update(found)
      configuration.directory.update_meta(**noted)
      markup.write_files(drawn, configuration.directory, resources, **noted)
    shown.update()

  resources = impala.make_resources(
    configuration, plan.num_local_actors(configuration)
  )
  outcome = placement.launch(
    program, resources, configuration, plan, on_poll, say
  )
  return {
    'kind': outcome.kind,
    'exit_status': outcome.exit_status,
    'description': outcome.describe(),
  }


def _run_threads(
  program: lp.Program,
  configuration: run_config.Configuration,
  plan: placement.Plan,
  shown: terminal.Status,
  say: Callable[[str], None],
) -> dict[str, Any]:
  # Imported before threads start: concurrent imports of TensorFlow and Reverb
  # have crashed.
  from programs.evaluation import evaluator  # noqa: F401
  from programs.nodes import (
    actor,  # noqa: F401
    learner,  # noqa: F401
    queue,  # noqa: F401
  )

  failure = threads.launch(
    program, shown.update, lambda found: placement.warn(plan, found, say)
  )
  kind, status, description = 'finished', 0, 'finished'
  if failure is not None:
    kind, status = 'failed', 1
    description = f'failed: {type(failure).__name__}: {failure}'
  elif not preparation.is_finished(configuration):
    kind, status = 'interrupted', 128 + signal.SIGINT
    description = 'interrupted'
  return {'kind': kind, 'exit_status': status, 'description': description}


def _write_report(
  configuration: run_config.Configuration, console: rich.console.Console
) -> str | None:
  directory = configuration.directory
  try:
    # Imported here: plotting is needed at the end only.
    from programs.views import report

    (sentence,) = report.write([directory.path], directory.report).values()
    return sentence
  except (Exception, KeyboardInterrupt) as error:  # Training succeeded.
    console.print(
      f'The report failed ({type(error).__name__}: {error}); try '
      f'./impala report {directory.path}',
      markup=False,
      soft_wrap=True,
    )
    return None


def _show_end(
  configuration: run_config.Configuration,
  verdict: str | None,
  console: rich.console.Console,
) -> None:
  directory = configuration.directory
  path = directory.evaluations / str(directory.finished_frames) / 'results.json'
  if path.exists():
    console.print(tables.table(path))
  if verdict:
    console.print(verdict, markup=False, soft_wrap=True)
    console.print(f'{"report":<12} {directory.report}', soft_wrap=True)
  for meaning, path in (
    ('checkpoints', directory.checkpoints),
    ('evaluations', directory.evaluations),
    ('metrics', directory.metrics),
    ('tensorboard', directory.tensorboard),
    ('logs', directory.logs),
  ):
    console.print(f'{meaning:<12} {path}', soft_wrap=True)
  if configuration.run.profile:
    profiled = profiling.describe(configuration)
    console.print(f'{"profile":<12} {profiled}', markup=False, soft_wrap=True)


if __name__ == '__main__':
  sys.exit(main())
