"""What does launching on Ray cost?"""

import contextlib
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rich.table
import scipy.stats

from benchmarks import commands, trial
from programs.inspection import rows

NAME = 'launching'

_DESCRIPTION = """\
Measures the throughput of the real training program on this machine, launched
on a Ray of its own and without Ray. Both are started, and then take turns of a
few seconds: while one learns, all processes of the other are stopped. Prints a
table and, as the last line, one JSON object. Progress goes to the standard
error.

  ./impala benchmark launching
  ./impala benchmark launching --pairs=10 --level_name=catch

What counts is the median of the pairs' ratios, whose 95% interval says how far
a busy machine can have moved it."""

_LAUNCHES = ('local', 'ray')
_WARM_UP_PAIRS = 2
# Whoever is stopped for ten seconds finds its lease run out.
_TURN_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = commands.make_parser(NAME, _DESCRIPTION)
  parser.add_argument(
    '--pairs',
    type=int,
    default=60,
    metavar='INT',
    help=f'turns of {_TURN_SECONDS:g} s on Ray, and as many without '
    '[default 60]',
  )
  given, train_flags = parser.parse_known_args(arguments)
  if given.pairs < 1:
    parser.error(f'--pairs must be at least 1, got {given.pairs}')
  with commands.failing(NAME), contextlib.ExitStack() as held:
    trials = {
      launch: held.enter_context(_start(launch, train_flags))
      for launch in _LAUNCHES
    }
    pairs = []
    for number in range(-_WARM_UP_PAIRS, given.pairs):
      pair = {launch: take_turn(run) for launch, run in trials.items()}
      trial.tell(
        f'pair {number + 1} of {given.pairs}: {pair["ray"]:,.0f} on Ray, '
        f'{pair["local"]:,.0f} without'
        if number >= 0
        else 'warming up'
      )
      if number >= 0:
        pairs.append(pair)
    facts = commands.facts(trials['local'].configuration)
  result = {'benchmark': NAME, **facts, **summarise(pairs)}
  commands.finish(result, tables(result), given.output)
  return 0


@contextlib.contextmanager
def _start(launch: str, train_flags: Sequence[str]) -> Iterator[trial.Trial]:
  """Starts a run that learns in its turns alone; nothing is left afterwards.

  Args:
    launch: How, as `train` takes it.
    train_flags: Of both.

  Raises:
    trial.TrialError: It ended before it learned.
  """
  own_flags = (f'--launch={launch}', '--log_period_seconds=0.5')
  with trial.start([*train_flags, *own_flags]) as run:
    run.wait_for_learning()
    run.pause()
    yield run


def take_turn(run: trial.Trial) -> float:
  """Agent steps/s between the first and the last row of metrics of a turn.

  Raises:
    trial.TrialError: The run has ended.
  """
  found: list[rows.Row] = []
  run.resume()
  end = time.monotonic() + _TURN_SECONDS
  while time.monotonic() < end:
    found += run.new_rows()
  run.pause()
  if len(found) < 2:
    raise trial.TrialError(
      f'it takes more than {_TURN_SECONDS:g} s for two rows of metrics'
    )
  frames = found[-1]['frames'] - found[0]['frames']
  seconds = found[-1]['time'] - found[0]['time']
  return float(frames / run.configuration.num_action_repeats / seconds)


def summarise(pairs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
  """What the pairs come to.

  Args:
    pairs: 'local' and 'ray' -> agent steps/s.

  Returns:
    The figures, as they stand in the JSON object.
  """
  speeds = {launch: [pair[launch] for pair in pairs] for launch in _LAUNCHES}
  ratios = [pair['ray'] / pair['local'] for pair in pairs]
  return {
    **speeds,
    'ratios': ratios,
    'median_ratio': statistics.median(ratios),
    'interval_95': _interval(ratios),
  }


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
  """The median's, whatever the distribution; None for less than six values.

  Source: Conover, "Practical Nonparametric Statistics", 3.2: as many of n lie
  below the median as n tosses of a coin show heads.
  """
  least = int(scipy.stats.binom.ppf(0.025, len(values), 0.5))
  if not least:
    return None
  return sorted(values)[least - 1], sorted(values)[-least]


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  table = rich.table.Table(
    'pair',
    title=f'{result["level_name"]}, agent steps/s, {result["cores"]} cores',
    title_justify='left',
  )
  for heading in ('on Ray', 'without', 'ratio'):
    table.add_column(heading, justify='right')
  rows = zip(result['ray'], result['local'], result['ratios'], strict=True)
  for number, (ray, local, ratio) in enumerate(rows):
    table.add_row(
      f'{number + 1}', f'{ray:,.0f}', f'{local:,.0f}', f'{ratio:.3f}'
    )
  table.add_section()
  table.add_row('median', '', '', f'{result["median_ratio"]:.3f}')
  if result['interval_95']:
    low, high = result['interval_95']
    table.add_row('95% interval', '', '', f'{low:.3f}-{high:.3f}')
  return [table]
