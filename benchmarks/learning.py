"""Does it learn, and what does it need for that?"""

import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks import commands, trial
from programs import runs
from programs.inspection import reading
from programs.reports import comparison, plots, scores

_DESCRIPTION = """\
Trains to the end with each variant of an experiment and several seeds, one run
after the other, and compares the last evaluations, as ./impala report does.
Writes OUTPUT/<name>.json and the learning curves as OUTPUT/<name>.png, prints a
table and, as the last line, the JSON. Progress goes to the standard error.

  ./impala benchmark learning catch
  ./impala benchmark learning memory --seeds=3
  ./impala benchmark learning policy_lag --seeds=5
  ./impala benchmark learning doom_basic
  ./impala benchmark learning pong

Further flags go to every run of train, such as --total_environment_frames."""


class Experiment(NamedTuple):
  """Variants of a training run that are compared."""

  question: str
  seeds: int  # Runs of each variant.
  common: str  # Flags of `train` for every variant.
  variants: Mapping[str, str]  # Name -> a further flag.


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
    'What does V-trace do where actors are far behind? (Catch)',
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
  common = [*experiment.common.split(), *train_flags]
  groups: dict[str, list[str]] = {name: [] for name in experiment.variants}
  found: dict[str, reading.Run] = {}
  minutes: dict[str, float] = {}
  with tempfile.TemporaryDirectory(prefix='impala_learning_') as folder:
    root = pathlib.Path(given.logdir or folder).absolute()
    root.mkdir(parents=True, exist_ok=True)
    # Seeds outside, so that a machine that gets busy is busy for all variants.
    for seed in range(1, seeds + 1):
      for variant, flag in experiment.variants.items():
        name = f'{given.name}_{variant}_{seed}'
        trial.tell(name)
        started = time.monotonic()
        command = (
          *(sys.executable, '-m', 'programs.train', flag, *common),
          *(f'--seed={seed}', '--on_existing=fail', f'--logdir={root / name}'),
        )
        with trial.start_in(root / name, command) as run:
          run.wait()
        minutes[name] = round((time.monotonic() - started) / 60, 2)
        groups[variant].append(name)
        found[name] = reading.Run(root / name)
        found[name].look()
    configuration = runs.Configuration.from_dict(found[name].config)
    curves = comparison.make_curves(groups, found)
  last = [
    score
    for score in scores.make_scores(groups, found)
    if score['evaluation'] == 'last'
  ]
  table = commands.make_table(
    experiment.question,
    {
      score['run'] or f'all of {score["group"]}': {
        field: score[field]
        for field in score
        if field.startswith(('mean_return', 'frames', 'episodes'))
      }
      for score in last
    },
  )
  result = {
    'benchmark': f'learning {given.name}',
    'question': experiment.question,
    'train_flags': common,
    **commands.facts(configuration),
    'variants': experiment.variants,
    'minutes': minutes,
    'scores': last,
  }
  commands.finish(result, [table], given.output, given.name)
  figure = plots.draw_curves(curves)
  plots.save(figure, given.output / f'{given.name}.png')
  return 0
