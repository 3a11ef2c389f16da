"""The published code's command lines: `./impala experiment --num_actors=48`."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agents.impala import config as config_lib
from environments import suites
from programs import evaluate, flags, runs, train

_DESCRIPTION = """\
Takes the command lines of the published code's experiment.py and of its fork
with Atari and ViZDoom: the same flags with the same defaults. It shows which
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
  print(f'= ./impala {command} {shlex.join(arguments)}', flush=True)
  return {'train': train, 'evaluate': evaluate}[command].main(arguments)


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
  del given['task'], given['job_name']
  if mode == 'test':
    _check_settings(given)
    names = ('logdir', 'level_name', *_TEST_DEFAULTS, *evaluate.OF_MACHINE)
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
    default='/tmp/agent',
    metavar='DIR',
    help='run directory; a run that is there is resumed [default /tmp/agent]',
  )
  parser.add_argument(
    '--level_name',
    default='explore_goal_locations_small',
    metavar='STR',
    help='level, a suite (dmlab30), or levels with commas between [default '
    'explore_goal_locations_small]',
  )
  parser.add_argument(
    '--task',
    type=_task,
    default=-1,
    metavar='INT',
    help='-1: everything runs on this machine; the only one there is yet '
    '[default -1]',
  )
  parser.add_argument(
    '--job_name',
    choices=('learner', 'actor'),
    default='learner',
    help='of no effect with task -1 [default learner]',
  )
  flags.add_configuration(parser, _FIELDS, ('reference_fork',))
  return parser


def _task(text: str) -> int:
  if text != '-1':
    raise argparse.ArgumentTypeError(
      'must be -1, everything on this machine, since one role a process on '
      f'several machines is not possible yet, got {text!r}'
    )
  return -1


def _check_settings(given: Mapping[str, Any]) -> None:
  """Looks whether levels were trained with the settings that are asked for.

  Raises:
    ValueError: They were not.
    runs.RunError: There is no run.
  """
  path = pathlib.Path(given['logdir']).expanduser().absolute()
  stored = runs.RunDirectory(path).read_config().get('environment', {})
  for name, value in stored.items():
    if name in evaluate.OF_MACHINE:
      continue
    if given.get(name, value) != value:
      raise ValueError(
        f'{name} must be {value!r} with mode=test, as in the run in {path}, '
        f'got {given[name]!r}'
      )


if __name__ == '__main__':
  sys.exit(main())
