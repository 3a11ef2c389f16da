"""Run the published code's command lines: `./impala experiment`."""

import argparse
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agents.impala import config as config_lib
from environments import suites
from programs.commands import roles
from programs.runs import flags, run_config, run_directory

_DESCRIPTION = """\
Takes command lines of the published code's experiment.py, and of its fork with
Atari and ViZDoom. Prints the same command of this project and runs it. Defaults
are those of the fork (preset reference_fork) for levels 'doom_...' and
'atari_...', else those of the published code (preset reference). level_name is
explore_goal_locations_small and logdir /tmp/agent if not given.

  ./impala experiment --num_actors=48 --batch_size=32
  ./impala experiment --level_name=doom_benchmark --num_actors=4
  ./impala experiment --mode=test --level_name=dmlab30 --test_num_episodes=10"""

_DEFAULTS = {
  'logdir': '/tmp/agent',
  'level_name': 'explore_goal_locations_small',
}
_TEST_DEFAULTS = {
  'test_num_episodes': run_config.RunConfig().test_num_episodes,
  'seed': config_lib.ImpalaConfig().seed,
}


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command; return its exit status."""
  try:
    command, arguments = translate(argv)
  except (run_directory.RunError, ValueError) as error:
    print(f'./impala experiment: {error}', file=sys.stderr)
    return 2
  print(f'= ./impala {command} {shlex.join(arguments)}', flush=True)
  module = f'programs.commands.{command}'
  os.execv(sys.executable, [sys.executable, '-m', module, *arguments])


def translate(argv: Sequence[str] | None) -> tuple[str, list[str]]:
  """Translate a command line of the published code.

  Returns 'train' or 'evaluate', and its flags.

  Raises:
    SystemExit: There is no such flag, or it takes no such value.
    ValueError: With mode=test, the run has other environment settings.
    run_directory.RunError: With mode=test, logdir holds no run.
  """
  given = vars(_make_parser().parse_args(argv))
  if given.pop('mode') == 'test':
    given = {**_DEFAULTS, **_TEST_DEFAULTS, **given}
    _check_settings(given)
    names = {*_DEFAULTS, *_TEST_DEFAULTS, *flags.OF_MACHINE}
    command = 'evaluate'
    given = {name: given[name] for name in given if name in names}
  else:
    command = 'train'
    if given.get('task', roles.ALL) == roles.ALL:
      given = {n: value for n, value in given.items() if n not in roles.FLAGS}
    # An actor's job gets its other flags from the learner.
    if 'task' not in given or given.get('job_name') in (None, roles.LEARNER):
      given = {**_DEFAULTS, **given}
      # As in the fork, the prefix names the simulator.
      is_of_fork = given['level_name'].startswith(
        ('doom_', suites.ATARI_PREFIX)
      )
      given.setdefault(
        'preset', 'reference_fork' if is_of_fork else 'reference'
      )
  return command, [f'--{name}={value}' for name, value in given.items()]


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('experiment', _DESCRIPTION)
  parser.add_argument(
    '--mode',
    choices=('train', 'test'),
    default='train',
    help='Train, or evaluate the run in logdir on the test levels; the latter '
    'uses logdir, level_name, test_num_episodes and seed. [default train]',
  )
  flags.add_configuration(parser, preset_names=('reference_fork',))
  roles.add_flags(parser)
  return parser


def _check_settings(given: Mapping[str, Any]) -> None:
  path = pathlib.Path(given['logdir']).expanduser().absolute()
  stored = run_directory.RunDirectory(path).read_config().get('environment', {})
  for name, value in stored.items():
    if name not in flags.OF_MACHINE and given.get(name, value) != value:
      raise ValueError(
        f'{name} must be {value!r} with mode=test, as in the run in {path}, '
        f'got {given[name]!r}'
      )


if __name__ == '__main__':
  sys.exit(main())
