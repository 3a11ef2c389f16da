"""What a run's nodes did, on average: for its graph and in tables."""

import textwrap
from collections.abc import Sequence

from programs.inspection import figures as figures_lib
from programs.inspection import graph as graph_lib
from programs.reports import histories as histories_lib

ACTIVITIES = (
  'role',
  'activity',
  'share of time',
  'ms a call',
  'calls a second',
)
PROCESSES = ('role', 'nodes', 'cores', 'memory, MB', 'a second')

_WIDTH = 24  # Characters that fit a box.


def sentence(run: histories_lib.History) -> str:
  """The verdict; or why there is none."""
  if run.verdict:
    return run.verdict.sentence
  if run.figures is None:
    return (
      'Which side was slow is not known: nothing was recorded '
      '(--monitor=true records it).'
    )
  return 'Which side was slow is not known: too little was recorded.'


def make_labels(
  graph: graph_lib.ProgramGraph, figures: figures_lib.Figures | None
) -> dict[str, Sequence[str]]:
  """Shares of time on the boxes of a graph, and rates on its edges.

  Args:
    graph: Of a program.
    figures: Of it; None where nothing was recorded.

  Returns:
    As `drawing.svg` takes them.
  """
  if figures is None:
    return {}
  labels: dict[str, Sequence[str]] = {}
  for role, nodes in graph.roles.items():
    spreads = figures.spreads(node.name for node in nodes)
    states = spreads.get('states', {})
    shares = ', '.join(
      f'{state} {states[state].median:.0%}'
      for state in figures_lib.STATES
      if state in states and states[state].median >= 0.005
    )
    lines = textwrap.wrap(shares, _WIDTH)
    if 'cores' in spreads.get('process', {}):
      lines.append(f'{spreads["process"]["cores"].median:.2f} cores each')
    labels[role] = lines
  for edge in graph.role_edges:
    rate = figures.edge_rate(graph, edge)
    if rate is not None:
      key = f'{edge.source} {edge.kind} {edge.target}'
      labels[key] = [f'{_figure(rate)}/s']
  return labels


def make_rows(
  graph: graph_lib.ProgramGraph, figures: figures_lib.Figures
) -> tuple[list[Sequence[str]], list[Sequence[str]]]:
  """What each role spent its time on, and what its processes took.

  Returns:
    Rows as `ACTIVITIES`, most time first, and as `PROCESSES`.
  """
  activities: list[Sequence[str]] = []
  processes: list[Sequence[str]] = []
  for role, nodes in graph.roles.items():
    spreads = figures.spreads(node.name for node in nodes)
    spent = spreads.get('activities', {})
    calls = spreads.get('milliseconds', {})
    rates = spreads.get('rates', {})
    for name in sorted(spent, key=lambda n: -spent[n].median):
      activities.append(
        (
          role,
          name.replace('_', ' '),
          _spread(spent[name], 100, ' %'),
          _spread(calls[name]) if name in calls else '',
          _spread(rates[name]) if name in rates else '',
        )
      )
    process = spreads.get('process', {})
    counted = [
      f'{name.replace("_", " ")} {_spread(rate)}'
      for name, rate in rates.items()
      if name not in spent and rate.most > 0
    ]
    processes.append(
      (
        role,
        f'{len(nodes)}',
        _spread(process['cores']) if 'cores' in process else '',
        _spread(process['rss_bytes'], 1e-6) if 'rss_bytes' in process else '',
        ', '.join(counted),
      )
    )
  return activities, processes


def _spread(
  spread: figures_lib.Spread, factor: float = 1.0, unit: str = ''
) -> str:
  """'1 / 2 / 3', or one figure where all are the same."""
  values = (spread.least, spread.median, spread.most)
  figures = [_figure(factor * value) for value in values]
  return (figures[0] if len(set(figures)) == 1 else ' / '.join(figures)) + unit


def _figure(value: float) -> str:
  """Three digits that count, with thousands separated."""
  if abs(value) >= 99.95:
    return f'{value:,.0f}'
  return f'{value:.1f}' if abs(value) >= 9.995 else f'{value:.2f}'
