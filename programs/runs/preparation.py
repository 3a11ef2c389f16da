"""Preparation of a run: its configuration and directory, new or resumed."""

import contextlib
import datetime
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import rich.console

import environments
from agents.impala import config as config_lib
from environments import suites
from programs import startup
from programs.runs import flags, run_config, run_directory

# Fields that determine the variables of a checkpoint and their meaning.
_FIXED_ON_RESUME = (
  'level_name',
  'preset',
  'network',
  'lstm',
  'optimizer',
  'center_frames',
  'full_action_set',
  'extended_actions',
  'width',
  'height',
)


def choose_directory(given: Mapping[str, Any]) -> run_directory.RunDirectory:
  """Return the directory of `--logdir`, or a new one in `runs`."""
  path = given.get('logdir')
  if not path:
    level = given.get('level_name', run_config.RunConfig().level_name)
    now = datetime.datetime.now()
    first, *others = level.split(',')
    more = f'+{len(others)}' if others else ''
    path = f'runs/{first}{more}_{now:%Y%m%d-%H%M%S}'
  return run_directory.RunDirectory(pathlib.Path(path).expanduser().absolute())


@contextlib.contextmanager
def prepared(
  directory: run_directory.RunDirectory,
  given: Mapping[str, Any],
  console: rich.console.Console,
) -> Iterator[run_config.Configuration]:
  """Resolve the configuration and lock its directory.

  Raises:
    RunError: A flag is wrong, or the directory cannot be used so.
    environments.MissingError: The simulator is not installed.
  """
  given = {**given, 'logdir': str(directory.path)}
  stored = None
  if directory.is_run():
    if given['on_existing'] == 'fail':
      raise run_directory.RunError(
        'logdir must not hold a run with on_existing=fail, got '
        f'{directory.path}'
      )
    if given['on_existing'] == 'resume':
      stored = directory.read_config()
  try:
    configuration = flags.resolve(given, stored)
    if stored is not None:
      _check_fixed(configuration, stored)
    check_playable(configuration)
  except (ValueError, TypeError) as error:
    raise run_directory.RunError(str(error)) from error
  if stored is None and directory.is_run():
    with directory.locked():
      aside = directory.set_aside()
      console.print(f'Moved the old run to {aside}', soft_wrap=True)
  with directory.locked():
    if not is_finished(configuration):
      if stored is not None:
        _print_changes(configuration, stored, console)
      directory.write_config(configuration.to_dict())
    yield configuration


def check_playable(configuration: run_config.Configuration) -> None:
  """Check that this network can play these levels on this machine.

  Raises:
    ValueError: It cannot.
    environments.MissingError: A simulator is not installed.
  """
  config_lib.check_observations(
    configuration.agent.network, configuration.spec.observations
  )
  level_name = configuration.run.level_name
  if len(suites.split(level_name)) > 1:
    environments.check_specs(level_name, configuration.environment)
  # TensorFlow 2.8 convolves bfloat16 with oneDNN only.
  if (
    configuration.agent.precision == 'bfloat16'
    and 'avx512f' not in startup.vector_instructions()
  ):
    raise ValueError(
      "precision must be float32 on a processor without AVX-512, got 'bfloat16'"
    )


def _check_fixed(
  configuration: run_config.Configuration,
  stored: Mapping[str, Mapping[str, Any]],
) -> None:
  for name, before, after in flags.changes(stored, configuration):
    if name in _FIXED_ON_RESUME:
      raise run_directory.RunError(
        f'{name} must stay {before!r}, the value of the run in '
        f'{configuration.run.logdir}, got {after!r}; use another --logdir or '
        '--on_existing=restart'
      )


def _print_changes(
  configuration: run_config.Configuration,
  stored: Mapping[str, Mapping[str, Any]],
  console: rich.console.Console,
) -> None:
  console.print(f'Resuming the run in {configuration.run.logdir}')
  for name, before, after in flags.changes(stored, configuration):
    if name != 'logdir':
      console.print(f'  {name} changes from {before} to {after}')
  for name, value in flags.unknown(stored).items():
    console.print(f'  {name}={value} is ignored: no such option any more')


def is_finished(configuration: run_config.Configuration) -> bool:
  """Return whether the last frame was learned and evaluated."""
  total = configuration.agent.total_environment_frames
  return configuration.directory.finished_frames >= total
