"""Experiments on learning, with several seeds."""

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import rich.table

from benchmarks import commands, trial
from programs.runs import run_config
from programs.views import comparison, plots, reading, scores

_DESCRIPTION = """\
Trains each variant of an experiment to the end with several seeds, one run
after the other, and compares the last evaluations, as ./impala report does.
Writes OUTPUT/<name>.json and the learning curves as OUTPUT/<name>.png, prints a
table and, as the last line, the JSON. Progress goes to standard error.

  ./impala benchmark learning catch
  ./impala benchmark learning memory --seeds=3
  ./impala benchmark learning policy_lag --seeds=5
  ./impala benchmark learning doom_basic
  ./impala benchmark learning pong

Flags of train, such as --total_environment_frames, apply to every run."""


class Experiment(NamedTuple):
  """Experiment that compares variants of a training run."""

  question: str
  seeds: int  # Runs per variant.
  common: str  # Flags of `train` for all variants.
  variants: Mapping[str, str]  # Name -> another flag.


EXPERIMENTS = {
  'catch': Experiment(
    'Is Catch learned? The best mean return is 1.0.',
    3,
    '--level_name=catch',
    {'V-trace': '--correction=vtrace'},
  ),
  'memory': Experiment(
    'Does the LSTM remember? The best mean return is 1.0, chance is 0.0.',
    3,
    '--level_name=memory --test_num_episodes=400',
    {'LSTM': '--lstm=true', 'feed-forward': '--lstm=false'},
  ),
  'policy_lag': Experiment(
    'How does V-trace help at a large policy lag? (Catch)',
    5,
    '--level_name=catch --extra_policy_lag=40 --test_num_episodes=400',
    {
      'V-trace': '--correction=vtrace',
      '1-step': '--correction=one_step',
      'epsilon': '--correction=epsilon',
      'none': '--correction=none',
    },
  ),
  'doom_basic': Experiment(
    "Is ViZDoom's first scenario learned? The best return is about 95.",
    3,
    '--level_name=doom_basic',
    {'V-trace': '--correction=vtrace'},
  ),
  'pong': Experiment(
    'Is Pong solved on two cores? The best return is 21.',
    1,
    '--level_name=atari_pong',
    {'atari_pong_2core': '--preset=atari_pong_2core'},
  ),
}


def main(arguments: Sequence[str]) -> int:
  """Train, compare and print; return the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  experiment = EXPERIMENTS[given.name]
  seeds = experiment.seeds if given.seeds is None else given.seeds
  if seeds < 1:
    parser.error(f'--seeds must be at least 1, got {seeds}')
  common = [*experiment.common.split(), *train_flags]
  # Seeds in the outer loop, so that load on the machine affects all variants.
  names = {
    f'{given.name}_{variant}_{seed}': (variant, seed)
    for seed in range(1, seeds + 1)
    for variant in experiment.variants
  }
  groups: dict[str, list[str]] = {name: [] for name in experiment.variants}
  found: dict[str, reading.Run] = {}
  minutes: dict[str, float] = {}
  with tempfile.TemporaryDirectory(prefix='impala_learning_') as folder:
    root = pathlib.Path(given.logdir or folder).absolute()
    root.mkdir(parents=True, exist_ok=True)
    for name, (variant, seed) in names.items():
      flags = [experiment.variants[variant], *common, f'--seed={seed}']
      minutes[name] = _train(root / name, flags)
      groups[variant].append(name)
      found[name] = reading.Run(root / name)
      found[name].refresh()
    configuration = run_config.Configuration.from_dict(found[name].config)
    curves = comparison.make_curves(groups, found)
  last = [
    score
    for score in scores.make_scores(groups, found)
    if score['evaluation'] == 'last'
  ]
  result = {
    'benchmark': f'learning {given.name}',
    'question': experiment.question,
    'train_flags': common,
    **commands.facts(configuration),
    'variants': experiment.variants,
    'minutes': minutes,
    'scores': last,
  }
  table = _make_table(experiment.question, last)
  commands.finish(result, [table], given.output, given.name)
  figure = plots.draw_curves(curves)
  plots.save(figure, given.output / f'{given.name}.png')
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(
    'learning NAME', _DESCRIPTION, pathlib.Path('docs/learning')
  )
  parser.epilog = 'Flags of train (./impala train --help) are passed on.'
  parser.add_argument(
    'name', choices=EXPERIMENTS, metavar='NAME', help=', '.join(EXPERIMENTS)
  )
  parser.add_argument(
    '--seeds',
    type=int,
    metavar='INT',
    help="runs per variant [at least 1; default: the experiment's]",
  )
  parser.add_argument(
    '--logdir',
    metavar='DIR',
    help='folder for the run directories [default: a temporary one]',
  )
  return parser


def _train(path: pathlib.Path, flags: Sequence[str]) -> float:
  """Train in a run directory; return the minutes."""
  trial.log(path.name)
  started = time.monotonic()
  command = (
    *(sys.executable, '-m', 'programs.commands.train', *flags),
    *('--on_existing=fail', f'--logdir={path}'),
  )
  with trial.start_in(path, command) as run:
    run.wait()
  return round((time.monotonic() - started) / 60, 2)


def _make_table(
  question: str, last: Sequence[scores.Score]
) -> rich.table.Table:
  return commands.make_table(
    question,
    {
      score['run'] or f'all of {score["group"]}': {
        field: score[field]
        for field in score
        if field.startswith(('mean_return', 'frames', 'episodes'))
      }
      for score in last
    },
  )
