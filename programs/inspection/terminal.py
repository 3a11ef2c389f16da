"""A program's graph with figures, for the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import rich.console
import rich.table
import rich.text

from programs.inspection import drawing
from programs.inspection import figures as figures_lib
from programs.inspection import graph as graph_lib

# Told apart without colours too.
_LOOKS = {
  'busy': ('█', 'green'),
  'waiting': ('▒', 'yellow'),
  'blocked': ('▓', 'red'),
  'idle': ('░', 'bright_black'),
}
_BAR = 24  # Characters.
_MOST_NODES = 16  # Of a role, that are listed one by one.
_WORTH = 0.005  # Shares below are not told.

_Spreads = Mapping[str, figures_lib.Spread]


def graph_text(
  graph: graph_lib.ProgramGraph, figures: figures_lib.Figures | None
) -> rich.console.Group:
  """Roles along what flows, each with its figures and the edges it gives to.

  Args:
    graph: Of the program.
    figures: Of a stretch of time; None shows the graph alone.

  Returns:
    For a rich console.
  """
  above = drawing.watching(graph)
  shown: list[rich.console.RenderableType] = []
  for role in drawing.order(graph):
    nodes = graph.roles[role]
    head = rich.text.Text(f'{drawing.title(role, nodes):<16}', style='bold')
    shown.append(head)
    if figures:
      shown += _figures(head, role, graph, figures)
    for edge in graph.role_edges:
      # The calls of those who watch are left out.
      if edge.source == role and not {edge.source, edge.target} & above:
        shown.append(_edge(edge, graph, figures))
    shown.append('')
  return rich.console.Group(*shown)


def bar(parts: Sequence[tuple[float, str, str]]) -> rich.text.Text:
  """Shares, each with its character and style, side by side; then nothing."""
  text, done, drawn = rich.text.Text(), 0.0, 0
  for share, character, style in [*parts, (1.0, '░', 'bright_black')]:
    done += share
    end = round(min(done, 1.0) * _BAR)
    text.append(character * (end - drawn), style=style)
    drawn = end
  return text


def _states_bar(states: Mapping[str, float]) -> rich.text.Text:
  whole = sum(states.values()) or 1.0
  return bar([(states.get(s, 0.0) / whole, *_LOOKS[s]) for s in _LOOKS])


def _figures(
  head: rich.text.Text,
  role: str,
  graph: graph_lib.ProgramGraph,
  figures: figures_lib.Figures,
) -> Iterator[rich.console.RenderableType]:
  """Goes on with the line of a role, and makes those below it."""
  nodes = graph.roles[role]
  spreads = figures.spreads(node.name for node in nodes)
  if graph.has_tables(role):
    for name, table in figures.tables.items():
      share = table.size / max(table.capacity, 1)
      head.append_text(bar([(share, '█', 'blue')]))
      head.append(f'  {name} {table.size:,} of {table.capacity:,}  ')
      yield (
        f'    inserts wait {table.waiting_for_samples:.0%}, samplers wait '
        f'{table.waiting_for_inserts:.0%} of the time'
      )
  if states := spreads.get('states'):
    medians = {name: spread.median for name, spread in states.items()}
    head.append_text(_states_bar(medians))
    head.append(f'  {_shares(states)}')
  if 1 < len(nodes) <= _MOST_NODES:
    yield _members(nodes, figures)
  activities = _shares(spreads.get('activities', {}), spreads)
  if activities:
    yield rich.text.Text(f'    {activities}')
  if counts := ', '.join(_counts(spreads)):
    yield rich.text.Text(f'    {counts}', style='bright_black')


def _edge(
  edge: graph_lib.RoleEdge,
  graph: graph_lib.ProgramGraph,
  figures: figures_lib.Figures | None,
) -> rich.text.Text:
  rate = figures.edge_rate(graph, edge) if figures else None
  flow = edge.kind if rate is None else f'{edge.kind} {_figure(rate)}/s'
  target = drawing.title(edge.target, graph.roles[edge.target])
  return rich.text.Text(f'    ── {flow} ──▶ {target}', style='cyan')


def _shares(
  shares: _Spreads, spreads: Mapping[str, _Spreads] | None = None
) -> str:
  """'forward pass 37% (0.46 ms)', the longest first."""
  calls = (spreads or {}).get('milliseconds', {})
  told = []
  for name in sorted(shares, key=lambda n: -shares[n].median):
    if shares[name].most >= _WORTH:
      text = f'{_words(name)} {_spread(shares[name], "{:.0%}".format)}'
      if name in calls:
        text += f' ({_figure(calls[name].median)} ms)'
      told.append(text)
  return ', '.join(told)


def _counts(spreads: Mapping[str, _Spreads]) -> Iterator[str]:
  """What is not time: '0.60 cores', 'agent steps 1,200/s'."""
  process = spreads.get('process', {})
  if 'cores' in process:
    yield f'{_spread(process["cores"], "{:.2f}".format)} cores'
  if 'rss_bytes' in process:
    yield f'{_spread(process["rss_bytes"], lambda v: f"{v / 1e6:,.0f}")} MB'
  calls = spreads.get('milliseconds', {})
  for name, spread in spreads.get('rates', {}).items():
    if name not in calls and spread.most:
      yield f'{_words(name)} {_spread(spread)}/s'
  for name, spread in spreads.get('gauges', {}).items():
    yield f'{_words(name)} {_spread(spread)}'


def _members(
  nodes: Sequence[graph_lib.Node], figures: figures_lib.Figures
) -> rich.table.Table:
  """The nodes of a role, one by one."""
  table = rich.table.Table.grid(padding=(0, 2, 0, 0))
  for node in nodes:
    each = figures.nodes.get(node.name, figures_lib.NodeFigures())
    steps = each.rates.get('agent_steps')
    table.add_row(
      f'    {node.name}',
      _states_bar(each.states) if each.states else '',
      rich.text.Text('silent', style='red')
      if each.is_silent
      else _words(each.activity or ''),
      '' if steps is None else f'{_figure(steps)} agent steps/s',
      '' if each.cores is None else f'{each.cores:.2f} cores',
      '' if each.rss_bytes is None else f'{each.rss_bytes / 1e6:,.0f} MB',
    )
  return table


def _words(name: str) -> str:
  return name.replace('_', ' ')


def _spread(
  spread: figures_lib.Spread, show: Callable[[float], str] | None = None
) -> str:
  """One figure where all nodes have the same, else least/median/most."""
  ends = (spread.least, spread.median, spread.most)
  texts = [(show or _figure)(value) for value in ends]
  return texts[0] if len(set(texts)) == 1 else '/'.join(texts)


def _figure(value: float) -> str:
  """Three digits that count."""
  if abs(value) >= 100 or value == int(value):
    return f'{value:,.0f}'
  return f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}'
