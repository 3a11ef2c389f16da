"""The published code's command lines: `./impala experiment --num_actors=48`."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agents.impala import config as config_lib
from environments import suites
from programs import evaluate, flags, roles, runs, train

_DESCRIPTION = """\
Takes the command lines of the published code's experiment.py and of its fork
with Atari and ViZDoom: the same flags with the same defaults, and --cluster,
which was an edit of the code. It shows which
command of this project that is and runs it. Levels 'doom_...' and 'atari_...'
have the fork's defaults (reference_fork), others the published code's.

  ./impala experiment --num_actors=48 --batch_size=32
  ./impala experiment --level_name=doom_benchmark --num_actors=4
  ./impala experiment --mode=test --level_name=dmlab30 --test_num_episodes=10"""

# Flags that are fields of ours; level_name and logdir have other defaults here.
_FIELDS = (
  'num_actors',
  'test_num_episodes',
  'benchmark_mode',
  'total_environment_frames',
  'batch_size',
  'unroll_length',
  'entropy_cost',
  'baseline_cost',
  'discounting',
  'reward_clipping',
  'learning_rate',
  'decay',
  'momentum',
  'epsilon',
  'seed',
  'num_action_repeats',
  'width',
  'height',
  'dataset_path',
  'renderer',
)
_DEFAULTS = {
  'logdir': '/tmp/agent',
  'level_name': 'explore_goal_locations_small',
}
_TEST_DEFAULTS = {
  'test_num_episodes': runs.RunConfig().test_num_episodes,
  'seed': config_lib.ImpalaConfig().seed,
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: Its flags; by default, the command line's.
  """
  try:
    command, arguments = translate(argv)
  except (runs.RunError, ValueError) as error:
    print(f'./impala experiment: {error}', file=sys.stderr)
    return 2
  title = f'= ./impala {command} {shlex.join(arguments)}'
  return {'train': train, 'evaluate': evaluate}[command].main(arguments, title)


def translate(argv: Sequence[str] | None) -> tuple[str, list[str]]:
  """Says a command line of the published code in this project's own flags.

  Args:
    argv: The flags; None: the command line's.

  Returns:
    'train' or 'evaluate', and its flags.

  Raises:
    SystemExit: There is no such flag, or it does not take such a value.
    ValueError: With mode=test, levels were trained with other settings.
    runs.RunError: With mode=test, logdir holds no run.
  """
  given = vars(_make_parser().parse_args(argv))
  mode = given.pop('mode')
  if mode == 'test' or given.get('task', roles.ALL) == roles.ALL:
    given = {n: value for n, value in given.items() if n not in roles.FLAGS}
  if 'task' in given and given.get('job_name', roles.LEARNER) != roles.LEARNER:
    # What is not given, the learner says.
    return 'train', [f'--{name}={value}' for name, value in given.items()]
  given = {**_DEFAULTS, **given}
  if mode == 'test':
    _check_settings(given)
    names = ('logdir', 'level_name', *_TEST_DEFAULTS, *flags.OF_MACHINE)
    values = {**_TEST_DEFAULTS, **given}
    given = {name: values[name] for name in names if name in values}
  else:
    # As in the fork, the name's beginning alone tells the simulator.
    is_of_fork = given['level_name'].startswith(('doom_', suites.ATARI_PREFIX))
    given['preset'] = 'reference_fork' if is_of_fork else 'reference'
  arguments = [f'--{name}={value}' for name, value in given.items()]
  return 'evaluate' if mode == 'test' else 'train', arguments


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('experiment', _DESCRIPTION)
  parser.add_argument(
    '--mode',
    choices=('train', 'test'),
    default='train',
    help='train; or play the test levels with what logdir holds, in which case '
    'logdir, level_name, test_num_episodes and seed are read [default train]',
  )
  parser.add_argument(
    '--logdir',
    default=argparse.SUPPRESS,
    metavar='DIR',
    help='run directory; a run that is there is resumed [default '
    f'{_DEFAULTS["logdir"]}]',
  )
  parser.add_argument(
    '--level_name',
    default=argparse.SUPPRESS,
    metavar='STR',
    help='level, a suite (dmlab30), or levels with commas between [default '
    f'{_DEFAULTS["level_name"]}]',
  )
  flags.add_configuration(parser, _FIELDS, ('reference_fork',))
  roles.add_flags(parser)
  return parser


def _check_settings(given: Mapping[str, Any]) -> None:
  """Looks whether levels were trained with the settings that are asked for.

  Raises:
    ValueError: They were not.
    runs.RunError: There is no run.
  """
  path = pathlib.Path(given['logdir']).expanduser().absolute()
  stored = runs.RunDirectory(path).read_config().get('environment', {})
  for name, value in stored.items():
    if name in flags.OF_MACHINE:
      continue
    if given.get(name, value) != value:
      raise ValueError(
        f'{name} must be {value!r} with mode=test, as in the run in {path}, '
        f'got {given[name]!r}'
      )


if __name__ == '__main__':
  sys.exit(main())
