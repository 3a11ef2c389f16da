"""Comparison of rates, measured alternately in rounds."""

import argparse
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rich.table
import scipy.stats

from benchmarks import commands, components, peers, pipeline, trial

_DESCRIPTION = """\
Measures the named benchmarks alternately in rounds, so that load on the machine
affects all of them. Prints the median round of each, the ratios of the first to
the others within a round (with a 95% interval of the median from six rounds on)
and, as the last line, a JSON object.

pipeline runs the real training program in a temporary directory and measures it
for a window of learning. Frames are those that the learner took from the queue;
agent steps are frames / action repeats. --vary runs it with each value of a
flag of train.

acme runs a Launchpad program of dm-acme 0.4.0's classes, with our network,
unroll length, batch size, queue, oneDNN and threads. Its actor has one
environment; its agent steps include the padding of its sequences.

rllib and sample_factory run Pong with the same network, unrolls, batches and
V-trace, in 2 workers of 64 environments. They are installed into
~/.cache/impala/peers on first use: Python 3.11, 2 GB each.

components measures each component in its own process, with the threads it has
in the program; environment, forward pass and learner step also with a copy on
every core (at most 4). The limit is cores / (environment + forward pass +
learner), in CPU time per agent step.

  ./impala benchmark pipeline --num_actors=4 --num_envs_per_actor=16
  ./impala benchmark pipeline acme components --rounds=5
  ./impala benchmark pipeline --vary=monitor=true,false --rounds=7
  ./impala benchmark pipeline --vary=inference=server,local
  ./impala benchmark pipeline --vary=launch=ray,local --level_name=catch"""

# Function of the seconds of warm-up and window; its result has 'limit' or
# 'agent_steps_per_second'.
Contestant = Callable[[float, float], dict[str, Any]]


def main(names: Sequence[str], arguments: Sequence[str]) -> int:
  """Measure and print; return the exit status."""
  name = ' '.join(names)
  parser = commands.make_parser(
    name,
    _DESCRIPTION,
    warmup_seconds=(15.0, commands.WARMUP),
    window_seconds=(40.0, commands.WINDOW),
    rounds=(3 if len(names) > 1 else 1, 'number of rounds'),
  )
  parser.add_argument(
    '--vary',
    metavar='FLAG=VALUE,...',
    help='run pipeline with each value of a flag of train',
  )
  given, train_flags = commands.parse(
    parser, arguments, 'window_seconds', 'rounds'
  )
  contestants: dict[str, Contestant] = {}
  for each in names:
    if each == 'pipeline':
      contestants |= _make_variants(parser, given.vary, train_flags)
    elif each == 'acme':
      contestants[each] = functools.partial(pipeline.run_acme, train_flags)
    elif each == 'components':
      contestants['limit'] = functools.partial(components.run, train_flags)
    else:
      contestants[each] = functools.partial(peers.run, each)
  rounds = run_rounds(contestants, given)
  result = {'benchmark': name, **commands.machine(), **summarise(rounds)}
  shown: list[rich.table.Table | str] = []
  for label in contestants:
    whole = median_round(label, rounds)
    module = components if 'limit' in whole else pipeline
    shown += module.tables(label, whole)
  for title in ('agent_steps_per_second', 'ratios'):
    shown.append(commands.make_table(title.replace('_', ' '), result[title]))
  commands.finish(result, shown, given.output, 'comparison')
  return 0


def _make_variants(
  parser: argparse.ArgumentParser, vary: str | None, train_flags: Sequence[str]
) -> dict[str, Contestant]:
  if vary is None:
    return {'pipeline': functools.partial(pipeline.run, train_flags)}
  flag, _, values = vary.partition('=')
  variants = [f'{flag}={value}' for value in values.split(',')]
  if not flag or len(set(variants)) < max(2, len(variants)):
    parser.error(
      '--vary must be a flag of train with distinct values, such as '
      f'monitor=true,false, got {vary!r}'
    )
  return {
    each: functools.partial(pipeline.run, [*train_flags, f'--{each}'])
    for each in variants
  }


def run_rounds(
  contestants: Mapping[str, Contestant], given: argparse.Namespace
) -> list[dict[str, dict[str, Any]]]:
  """Measure alternately; return label -> result of each round."""
  labels = list(contestants)
  rounds: list[dict[str, dict[str, Any]]] = []
  for number in range(given.rounds):
    found = {}
    for label in labels[:: -1 if number % 2 else 1]:
      trial.log(f'round {number + 1} of {given.rounds}: {label}')
      found[label] = contestants[label](
        given.warmup_seconds, given.window_seconds
      )
      trial.log(f'{label}: {_rate(found[label]):,.0f} agent steps/s')
    rounds.append({label: found[label] for label in labels})
  return rounds


def _rate(result: Mapping[str, Any]) -> float:
  return result.get('limit') or result['agent_steps_per_second']


def median_round(
  label: str, rounds: Sequence[Mapping[str, Mapping[str, Any]]]
) -> Mapping[str, Any]:
  """Return the result of the round with the median rate."""
  ordered = sorted((each[label] for each in rounds), key=_rate)
  return ordered[(len(ordered) - 1) // 2]


def summarise(
  rounds: Sequence[Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
  """Return rates and ratios of the rounds, for the JSON object."""
  first, *others = rounds[0]
  rates = {
    label: [_rate(each[label]) for each in rounds] for label in rounds[0]
  }
  return {
    'agent_steps_per_second': {
      label: spread(values) for label, values in rates.items()
    },
    'ratios': {
      f'{first} / {label}': spread(
        [
          each / other
          for each, other in zip(rates[first], rates[label], strict=True)
        ]
      )
      for label in others
    },
    'rounds': list(rounds),
  }


def spread(values: Sequence[float]) -> dict[str, Any]:
  """Return median, minimum, maximum and the median's 95% interval.

  The interval needs six values. The number of values below the true median is
  binomial (Conover, "Practical Nonparametric Statistics", 3.2).
  """
  ordered = sorted(values)
  least = int(scipy.stats.binom.ppf(0.025, len(values), 0.5))
  return {
    'median': statistics.median(values),
    'least': ordered[0],
    'most': ordered[-1],
    'interval_95': [ordered[least - 1], ordered[-least]] if least else None,
    'values': list(values),
  }
