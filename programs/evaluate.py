"""Evaluates a run's newest checkpoint: `./impala evaluate --logdir=DIR`."""

import argparse
import pathlib
import sys
import threading
from typing import Any

import rich.console
import rich.progress
import tensorflow as tf

import environments
from agents.impala import metrics
from environments import suites
from programs import checkpoints, evaluation, flags, nodes, runs

_DESCRIPTION = """\
Plays whole episodes with the newest checkpoint of a run and writes
DIR/evaluations/<frames>/results.json and results.csv; the folder's name says
more where levels or the choice of actions are not the run's own. It needs
nothing but the run directory.

  ./impala evaluate --logdir=runs/pong --test_num_episodes=20
  ./impala evaluate --logdir=runs/pong --greedy"""


def main() -> int:
  """Runs the command; returns its exit status."""
  arguments = _make_parser().parse_args()
  try:
    results = _evaluate(arguments)
  except (
    runs.RunError,
    environments.MissingError,
    ValueError,
    TypeError,
  ) as error:
    print(f'./impala evaluate: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    return 130
  console = rich.console.Console(highlight=False)
  console.print(evaluation.table(results))
  console.print(str(results), soft_wrap=True)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('evaluate', _DESCRIPTION)
  parser.add_argument(
    '--logdir', required=True, metavar='DIR', help='the run directory'
  )
  parser.add_argument(
    '--level_name',
    metavar='STR',
    help="levels with the trained one's observations and actions; a suite "
    'means its test levels [default: the trained ones]',
  )
  parser.add_argument(
    '--test_num_episodes',
    type=int,
    metavar='INT',
    help="[episodes; greater than 0; default: the run's]",
  )
  parser.add_argument(
    '--seed',
    type=int,
    metavar='INT',
    help="of the environment and of sampling [at least 0; default: the run's]",
  )
  parser.add_argument(
    '--greedy',
    action='store_true',
    help='take the most likely action; otherwise actions are sampled, as the '
    'reference does',
  )
  return parser


def _evaluate(arguments: argparse.Namespace) -> pathlib.Path:
  """Plays and writes; returns the path of `results.json`.

  Raises:
    runs.RunError: There is no such run, or nothing was saved yet.
    ValueError: A flag is wrong, or the checkpoint is of another network.
    environments.MissingError: The simulator is not there.
  """
  tf.config.set_visible_devices([], 'GPU')  # Learners need it, players do not.
  directory = runs.RunDirectory(pathlib.Path(arguments.logdir).absolute())
  stored = directory.read_config()
  given: dict[str, Any] = {
    name: getattr(arguments, name)
    for name in ('test_num_episodes', 'seed')
    if getattr(arguments, name) is not None
  }
  configuration = flags.resolve(
    {**given, 'logdir': str(directory.path)}, stored
  )
  level_name = arguments.level_name or configuration.run.level_name
  levels = suites.split(level_name, evaluation=True)
  _check_specs(configuration, level_name)
  seed, episodes = configuration.agent.seed, configuration.run.test_num_episodes
  tf.random.set_seed(seed)
  network, _ = nodes.make_model(configuration)
  counts = metrics.Counts()
  saved = checkpoints.Checkpoints(
    directory.checkpoints, {'network': network, 'counts': counts}
  )
  if saved.restore() is None:
    raise runs.RunError(f'{directory.checkpoints} holds no checkpoint yet')
  frames = int(counts.frames.numpy())
  with rich.progress.Progress(
    console=rich.console.Console(stderr=True), transient=True
  ) as progress:
    task = progress.add_task(
      f'{levels[0]} at frame {frames:,}', total=episodes * len(levels)
    )
    results = evaluation.play(
      configuration,
      level_name,
      network,
      num_episodes=episodes,
      seed=seed,
      greedy=arguments.greedy,
      stop=threading.Event(),
      on_episode=lambda level: progress.update(
        task, advance=1, description=f'{level} at frame {frames:,}'
      ),
    )
  name = str(frames)
  if level_name != configuration.run.level_name:
    name += f'_{level_name.replace("/", "_")}'
  if arguments.greedy:
    name += '_greedy'
  return evaluation.write_results(
    directory.evaluations / name,
    results,
    trained_frames=frames,
    seed=seed,
    greedy=arguments.greedy,
  )


def _check_specs(configuration: runs.Configuration, level_name: str) -> None:
  """Whether the trained network can play the levels.

  Raises:
    ValueError: There are none such, or their observations or actions differ.
  """
  environments.check_level(level_name)
  settings = configuration.environment
  wanted = environments.check_specs(level_name, settings, evaluation=True)
  trained = environments.spec(configuration.run.level_name, settings)
  if trained != wanted:
    raise ValueError(
      'level_name must have the observations and actions of '
      f'{configuration.run.level_name}, got {level_name!r}'
    )


if __name__ == '__main__':
  sys.exit(main())
