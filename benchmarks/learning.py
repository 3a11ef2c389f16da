"""Does it learn, and what does it need for that?"""

import csv
import json
import math
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np
import scipy.stats

from benchmarks import commands, trial
from programs import runs

_DESCRIPTION = """\
Trains to the end with each variant of an experiment and several seeds, one run
after the other, and compares the last evaluations. Writes OUTPUT/<name>.json
and the learning curves as OUTPUT/<name>.png, prints a table and, as the last
line, the JSON. Progress goes to the standard error.

  ./impala benchmark learning catch
  ./impala benchmark learning memory --seeds=3
  ./impala benchmark learning policy_lag --seeds=5
  ./impala benchmark learning doom_basic
  ./impala benchmark learning pong

Further flags go to every run of train, such as --total_environment_frames."""


class Experiment(NamedTuple):
  """Variants of a training run that are compared."""

  question: str
  common: Sequence[str]  # Flags of `train` for every variant.
  variants: Mapping[str, Sequence[str]]  # Name -> further flags.
  seeds: int  # Runs of each variant.


EXPERIMENTS = {
  'catch': Experiment(
    'Is Catch learned? The best mean return is 1.0.',
    ('--level_name=catch',),
    {'V-trace': ()},
    3,
  ),
  'memory': Experiment(
    'Does the LSTM remember? The best mean return is 1.0, chance is 0.0.',
    ('--level_name=memory', '--test_num_episodes=400'),
    {'LSTM': ('--lstm=true',), 'feed-forward': ('--lstm=false',)},
    3,
  ),
  'policy_lag': Experiment(
    'What does V-trace do where actors are far behind? (Catch)',
    ('--level_name=catch', '--extra_policy_lag=40', '--test_num_episodes=400'),
    {
      'V-trace': ('--correction=vtrace',),
      '1-step': ('--correction=one_step',),
      'epsilon': ('--correction=epsilon',),
      'none': ('--correction=none',),
    },
    5,
  ),
  'doom_basic': Experiment(
    "Is ViZDoom's first scenario learned? The best return is about 95.",
    ('--level_name=doom_basic',),
    {'doom_basic': ()},
    3,
  ),
  'pong': Experiment(
    'Is Pong solved on two cores? The best return is 21.',
    ('--level_name=atari_pong', '--preset=atari_pong_2core'),
    {'atari_pong_2core': ()},
    1,
  ),
}


class Run(NamedTuple):
  """What came of one run."""

  seed: int
  minutes: float  # Wall-clock time, from the command to its end.
  frames: int  # Learned from.
  mean_return: float  # Of the last evaluation.
  episodes: int  # The same.
  # (frames, return of the last 100 training episodes), at most 200.
  curve: Sequence[tuple[float, float]]


def main(arguments: Sequence[str]) -> int:
  """Trains, compares and prints; returns the exit status."""
  parser = commands.make_parser('learning NAME', _DESCRIPTION)
  parser.epilog = 'Flags of train are passed on (./impala train --help).'
  parser.set_defaults(output=pathlib.Path('docs/learning'))
  parser.add_argument(
    'name', choices=EXPERIMENTS, metavar='NAME', help=', '.join(EXPERIMENTS)
  )
  parser.add_argument(
    '--seeds',
    type=int,
    metavar='INT',
    help="runs of each variant [at least 1; default: the experiment's]",
  )
  parser.add_argument(
    '--logdir',
    metavar='DIR',
    help='keeps the run directories in there [default: not kept]',
  )
  given, train_flags = parser.parse_known_args(arguments)
  experiment = EXPERIMENTS[given.name]
  seeds = experiment.seeds if given.seeds is None else given.seeds
  if seeds < 1:
    parser.error(f'--seeds must be at least 1, got {seeds}')
  outcomes: dict[str, list[Run]] = {name: [] for name in experiment.variants}
  with tempfile.TemporaryDirectory(prefix='impala_learning_') as folder:
    root = pathlib.Path(given.logdir or folder).absolute()
    root.mkdir(parents=True, exist_ok=True)
    # Seeds outside, so that a machine that gets busy is busy for all variants.
    for seed in range(1, seeds + 1):
      for variant, variant_flags in experiment.variants.items():
        logdir = root / f'{given.name}_{variant}_{seed}'
        run = _train(
          logdir, seed, (*experiment.common, *variant_flags, *train_flags)
        )
        trial.tell(
          f'{variant}, seed {seed}: {run.mean_return:.2f} after '
          f'{run.frames:,} frames, {run.minutes:.1f} min'
        )
        outcomes[variant].append(run)
    stored = runs.RunDirectory(logdir).read_config()
    facts = commands.facts(runs.Configuration.from_dict(stored))
  result: dict[str, Any] = {
    'benchmark': f'learning {given.name}',
    'question': experiment.question,
    'train_flags': [*experiment.common, *train_flags],
    **facts,
    'variants': {
      name: {'train_flags': list(experiment.variants[name]), **summarise(found)}
      for name, found in outcomes.items()
    },
  }
  table = commands.make_table(
    experiment.question,
    {
      name: {
        **{key: each[key] for key in ('mean_return', 'interval_95', 'minutes')},
        'returns': [run['mean_return'] for run in each['runs']],
      }
      for name, each in result['variants'].items()
    },
  )
  commands.finish(result, [table], given.output, given.name)
  _draw(result, given.output / f'{given.name}.png')
  return 0


def _train(logdir: pathlib.Path, seed: int, train_flags: Sequence[str]) -> Run:
  started = time.monotonic()
  directory = runs.RunDirectory(logdir)
  command = (
    *(sys.executable, '-m', 'programs.train', *train_flags),
    *(f'--seed={seed}', '--on_existing=fail', f'--logdir={logdir}'),
  )
  with trial.start_in(logdir, command) as run:
    run.wait()
  minutes = (time.monotonic() - started) / 60
  frames = directory.read_meta()['finished_frames']
  results = directory.evaluations / str(frames) / 'results.json'
  summary = json.loads(results.read_text(encoding='utf-8'))['summary']
  return Run(
    seed,
    round(minutes, 2),
    frames,
    summary['mean_return'],
    summary['episodes'],
    read_curve(directory.metrics / 'learner.csv'),
  )


def read_curve(path: pathlib.Path) -> list[tuple[float, float]]:
  """Frames and returns of a run, thinned out to at most 200 points."""
  with open(path, newline='', encoding='utf-8') as file:
    points = [
      (float(row['frames']), round(float(row['episode_return']), 4))
      for row in csv.DictReader(file)
      if math.isfinite(float(row['episode_return']))
    ]
  return points[:: math.ceil(len(points) / 200) or 1]


def summarise(found: Sequence[Run]) -> dict[str, Any]:
  """Mean over seeds and its 95% interval, by Student's t; None for one seed."""
  returns = [run.mean_return for run in found]
  half = None
  if len(returns) > 1:
    error = np.std(returns, ddof=1) / math.sqrt(len(returns))
    half = float(scipy.stats.t.ppf(0.975, len(returns) - 1) * error)
  return {
    'mean_return': float(np.mean(returns)),
    'interval_95': half,
    'minutes': float(np.mean([run.minutes for run in found])),
    'runs': [run._asdict() for run in found],
  }


def _draw(result: Mapping[str, Any], path: pathlib.Path) -> None:
  """The learning curves: a colour for each variant, a line for each seed."""
  figure = matplotlib.figure.Figure(figsize=(7, 4), layout='constrained')
  axes = figure.add_subplot()
  for index, (name, variant) in enumerate(result['variants'].items()):
    for number, run in enumerate(variant['runs']):
      axes.plot(
        *np.array(run['curve']).reshape(-1, 2).T,
        color=f'C{index}',
        linewidth=1,
        label=name if number == 0 else None,
      )
  axes.set_title(result['question'], fontsize='medium')
  axes.set_xlabel('frames')
  axes.set_ylabel('return, mean of the last 100 episodes')
  axes.grid(alpha=0.3)
  axes.legend()
  figure.savefig(path, dpi=100, metadata={'Software': None})
