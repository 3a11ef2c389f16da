"""Does it learn, and what does it need for that?"""

import argparse
import csv
import json
import math
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np
import rich.console
import rich.table
import scipy.stats

from benchmarks import commands, trial
from programs import flags, runs

_DESCRIPTION = """\
Trains to the end with each variant of an experiment and several seeds, one run
after the other, and compares the last evaluations. Writes OUTPUT/<name>.json
and the learning curves as OUTPUT/<name>.png, prints a table and, as the last
line, the JSON's summary. Progress goes to the standard error.

  ./impala benchmark learning catch
  ./impala benchmark learning memory --seeds=3
  ./impala benchmark learning policy_lag --seeds=5
  ./impala benchmark learning doom_basic
  ./impala benchmark learning pong

Further flags go to every run of train, such as --total_environment_frames."""


class Experiment(NamedTuple):
  """Variants of a training run that are compared.

  Attributes:
    question: What it answers.
    common: Flags of `train` for every variant.
    variants: Name -> further flags.
    seeds: How many runs of each variant.
  """

  question: str
  common: Sequence[str]
  variants: Mapping[str, Sequence[str]]
  seeds: int


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
  """What came of one run.

  Attributes:
    seed: Its seed.
    minutes: Wall-clock time, from the command to its end.
    frames: Learned from.
    mean_return: Of the last evaluation.
    episodes: Of the last evaluation.
    curve: (frames, return of the last 100 training episodes), at most 200.
  """

  seed: int
  minutes: float
  frames: int
  mean_return: float
  episodes: int
  curve: Sequence[tuple[float, float]]


def main(arguments: Sequence[str]) -> int:
  """Trains, compares and prints; returns the exit status."""
  parser = make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  experiment = EXPERIMENTS[given.name]
  seeds = experiment.seeds if given.seeds is None else given.seeds
  if seeds < 1:
    parser.error(f'--seeds must be at least 1, got {seeds}')
  outcomes: dict[str, list[Run]] = {name: [] for name in experiment.variants}
  with tempfile.TemporaryDirectory(prefix='impala_learning_') as folder:
    root = pathlib.Path(given.logdir or folder).absolute()
    # Seeds outside, so that a machine that gets busy is busy for all variants.
    for seed in range(1, seeds + 1):
      for variant, variant_flags in experiment.variants.items():
        logdir = root / f'{given.name}_{variant}_{seed}'
        command = (*experiment.common, *variant_flags, *train_flags)
        with commands.failing('learning'):
          run = train(logdir, seed, command)
        trial.tell(
          f'{variant}, seed {seed}: {run.mean_return:.2f} after '
          f'{run.frames:,} frames, {run.minutes:.1f} min'
        )
        outcomes[variant].append(run)
    stored = runs.RunDirectory(logdir).read_config()
    facts = commands.facts(runs.Configuration.from_dict(stored))
  result = {
    'benchmark': f'learning {given.name}',
    'question': experiment.question,
    'train_flags': [*experiment.common, *train_flags],
    **facts,
    'variants': {
      name: {'train_flags': list(experiment.variants[name]), **summarise(found)}
      for name, found in outcomes.items()
    },
  }
  given.output.mkdir(parents=True, exist_ok=True)
  runs.write_json(given.output / f'{given.name}.json', result)
  draw(result, given.output / f'{given.name}.png')
  show(result)
  return 0


def make_parser() -> argparse.ArgumentParser:
  """A parser that leaves the flags it does not know to `programs.train`."""
  parser = argparse.ArgumentParser(
    prog='./impala benchmark learning',
    usage='./impala benchmark learning NAME [--FLAG=VALUE ...] '
    '[flags of train ...]',
    description=_DESCRIPTION,
    formatter_class=flags.HelpFormatter,
    allow_abbrev=False,
  )
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
    '--output',
    type=pathlib.Path,
    default=pathlib.Path('docs/learning'),
    metavar='DIR',
    help='where the result goes [default docs/learning]',
  )
  parser.add_argument(
    '--logdir',
    metavar='DIR',
    help='keeps the run directories in there [default: not kept]',
  )
  return parser


def train(logdir: pathlib.Path, seed: int, train_flags: Sequence[str]) -> Run:
  """Runs `programs.train` to its end.

  Raises:
    trial.TrialError: It did not end well, or there is a run already.
  """
  started = time.monotonic()
  directory = runs.RunDirectory(logdir)
  logdir.parent.mkdir(parents=True, exist_ok=True)
  command = (*train_flags, f'--seed={seed}', '--on_existing=fail')
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


def draw(result: Mapping[str, Any], path: pathlib.Path) -> None:
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


def show(result: Mapping[str, Any]) -> None:
  """Prints the table, and the summary as JSON."""
  table = rich.table.Table(title=result['question'], title_justify='left')
  table.add_column('variant')
  for heading in ('seeds', 'mean return', '95% interval', 'least', 'most'):
    table.add_column(heading, justify='right')
  table.add_column('min a run', justify='right')
  for name, variant in result['variants'].items():
    returns = [run['mean_return'] for run in variant['runs']]
    mean, half = variant['mean_return'], variant['interval_95']
    table.add_row(
      name,
      str(len(returns)),
      f'{mean:.2f}',
      '' if half is None else f'{mean - half:.2f} to {mean + half:.2f}',
      f'{min(returns):.2f}',
      f'{max(returns):.2f}',
      f'{variant["minutes"]:.1f}',
    )
  rich.console.Console(highlight=False).print(table)
  summary = {
    name: {key: value for key, value in variant.items() if key != 'runs'}
    for name, variant in result['variants'].items()
  }
  print(json.dumps({**result, 'variants': summary}))
