"""Several benchmarks in rounds, and what they are to each other."""

import argparse
import statistics
import types
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import rich.table

from benchmarks import acme_impala, commands, components, pipeline, trial

NAME = 'comparison'

_DESCRIPTION = """\
Runs several benchmarks in turns, again and again, so that a machine that gets
busy is busy for all: pipeline, acme, components, pipeline, acme ... Prints the
tables of each from its median round, then what they are to each other, and, as
the last line, one JSON object. With --output also a plot. A round of
pipeline, acme and components takes about four minutes.

  ./impala benchmark pipeline acme components
  ./impala benchmark pipeline acme --rounds=5 --window_seconds=20

A ratio is made within a round; its median counts, least and most stand beside
it. From the second round on, components are measured as far as the limit is
made of them. Flags of train are for all."""

# Each has `run`, `rates` and `tables`.
BENCHMARKS: Mapping[str, types.ModuleType] = {
  pipeline.NAME: pipeline,
  acme_impala.NAME: acme_impala,
  components.NAME: components,
}


def main(names: Sequence[str], arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status.

  Args:
    names: Of `BENCHMARKS`, at least two.
    arguments: The flags.
  """
  parser = _make_parser(names)
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  if given.rounds < 1:
    parser.error(f'--rounds must be at least 1, got {given.rounds}')
  rounds: list[dict[str, dict[str, Any]]] = []
  with commands.failing(' '.join(names)):
    for number in range(given.rounds):
      rounds.append({})
      for name in names:
        trial.tell(f'round {number + 1} of {given.rounds}: {name}')
        only = {'only_limit': number > 0} if name == components.NAME else {}
        rounds[-1][name] = BENCHMARKS[name].run(
          train_flags, given.warmup_seconds, given.window_seconds, **only
        )
        trial.tell(_rates_text(_rates(rounds[-1])))
  result = summarise(names, rounds)
  if given.output:
    given.output.mkdir(parents=True, exist_ok=True)
    draw(result).savefig(
      given.output / f'{NAME}.png', dpi=100, metadata={'Software': None}
    )
  shown = [
    table
    for name in names
    for table in BENCHMARKS[name].tables(_median_round(name, rounds))
  ]
  commands.finish(result, [*shown, *tables(result)], given.output, NAME)
  return 0


def _make_parser(names: Sequence[str]) -> argparse.ArgumentParser:
  parser = commands.make_parser(' '.join(names), _DESCRIPTION)
  parser.add_argument(
    '--rounds', type=int, default=3, metavar='INT', help='[default 3]'
  )
  commands.add_times(parser, warmup_seconds=15.0, window_seconds=40.0)
  return parser


def _rates(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
  """Of one round: what is compared -> agent steps/s."""
  return {
    label: rate
    for name, result in found.items()
    for label, rate in BENCHMARKS[name].rates(result).items()
  }


def _rates_text(rates: Mapping[str, float]) -> str:
  return ', '.join(f'{name} {rate:,.0f}/s' for name, rate in rates.items())


def _median_round(
  name: str, rounds: Sequence[Mapping[str, Mapping[str, Any]]]
) -> Mapping[str, Any]:
  """The result whose rate is the median, of those that are whole."""
  results = [each[name] for each in rounds]
  if name == components.NAME:
    return results[0]
  ordered = sorted(results, key=lambda each: each['agent_steps_per_second'])
  return ordered[(len(ordered) - 1) // 2]


def summarise(
  names: Sequence[str], rounds: Sequence[Mapping[str, Mapping[str, Any]]]
) -> dict[str, Any]:
  """What the rounds come to.

  Args:
    names: Of the benchmarks.
    rounds: Name -> result, of each round.

  Returns:
    The figures, as they stand in the JSON object.
  """
  by_round = [_rates(found) for found in rounds]
  labels = list(by_round[0])
  return {
    'benchmark': ' '.join(names),
    **commands.machine(),
    'agent_steps_per_second': {
      label: _spread([rates[label] for rates in by_round]) for label in labels
    },
    'ratios': {
      f'{pipeline.NAME} / {label}': _spread(
        [rates[pipeline.NAME] / rates[label] for rates in by_round]
      )
      for label in labels
      if pipeline.NAME in labels and label != pipeline.NAME
    },
    'rounds': list(rounds),
  }


def _spread(values: Sequence[float]) -> dict[str, Any]:
  return {
    'median': statistics.median(values),
    'least': min(values),
    'most': max(values),
    'values': list(values),
  }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  table = rich.table.Table(
    title=f'rounds, {result["cores"]} cores', title_justify='left'
  )
  table.add_column('', no_wrap=True)
  for heading in ('median', 'least', 'most', 'each round'):
    table.add_column(heading, justify='right')
  for group, form in (('agent_steps_per_second', ',.0f'), ('ratios', '.2f')):
    for name, spread in result[group].items():
      unit = '' if group == 'ratios' else ', agent steps/s'
      table.add_row(
        f'{name}{unit}',
        *(format(spread[key], form) for key in ('median', 'least', 'most')),
        ' '.join(format(value, form) for value in spread['values']),
      )
    table.add_section()
  return [table]


def draw(result: Mapping[str, Any]) -> matplotlib.figure.Figure:
  """A bar for each: the median, and a mark for each round."""
  rates = result['agent_steps_per_second']
  figure = matplotlib.figure.Figure(
    figsize=(6, 0.6 + 0.5 * len(rates)), layout='constrained'
  )
  axes = figure.add_subplot()
  for row, (name, spread) in enumerate(rates.items()):
    color = 'C0' if name == pipeline.NAME else 'C7'
    axes.barh(row, spread['median'], color=color, height=0.6)
    axes.plot(spread['values'], [row] * len(spread['values']), 'k|')
    axes.annotate(
      f' {spread["median"]:,.0f}', (max(spread['values']), row), va='center'
    )
  axes.set_yticks(range(len(rates)), list(rates))
  axes.invert_yaxis()
  axes.margins(x=0.15)
  axes.set_xlabel(f'agent steps/s, {result["cores"]} cores')
  return figure
