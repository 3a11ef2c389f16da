"""A program's graph with figures, for the terminal."""

from collections.abc import Callable, Mapping, Sequence

import rich.console
import rich.table
import rich.text

from programs.inspection import drawing
from programs.inspection import figures as figures_lib
from programs.inspection import graph as graph_lib

STYLES = {
  'busy': 'green',
  'waiting': 'yellow',
  'blocked': 'red',
  'idle': 'bright_black',
}
# Told apart without colours too.
_BLOCKS = {'busy': '█', 'waiting': '▒', 'blocked': '▓', 'idle': '░'}
_BAR = 24  # Characters.
_MOST_NODES = 16  # Of a role, that are listed one by one.
_WORTH = 0.005  # Shares below are not told.


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
  shown: list[rich.console.RenderableType] = []
  for role in drawing.order(graph):
    shown += _role(role, graph, figures)
  return rich.console.Group(*shown)


def _role(
  role: str,
  graph: graph_lib.ProgramGraph,
  figures: figures_lib.Figures | None,
) -> list[rich.console.RenderableType]:
  nodes = graph.roles[role]
  head = rich.text.Text(f'{drawing.title(role, nodes):<16}', style='bold')
  lines = [head]
  if figures:
    spreads = figures.spreads(node.name for node in nodes)
    if figures.tables and graph.has_tables(role):
      head.append_text(_fill(figures.tables))
      lines += [_table(name, each) for name, each in figures.tables.items()]
    if states := spreads.get('states'):
      head.append_text(_bar({s: spread.median for s, spread in states.items()}))
      head.append(f'  {_states(states)}')
    if activities := _activities(spreads):
      lines.append(rich.text.Text(f'    {activities}'))
    if counts := [*_process(spreads.get('process', {})), *_counts(spreads)]:
      text = ', '.join(counts)
      lines.append(rich.text.Text(f'    {text}', style='bright_black'))
  lines += [_edge(edge, graph, figures) for edge in _given(role, graph)]
  shown: list[rich.console.RenderableType] = [*lines]
  if figures and 1 < len(nodes) <= _MOST_NODES:
    shown.insert(1, _members(nodes, figures))
  return [*shown, '']


def _given(
  role: str, graph: graph_lib.ProgramGraph
) -> list[graph_lib.RoleEdge]:
  """What a role gives to others, the calls of those who watch left out."""
  return [
    edge
    for edge in graph.role_edges
    if edge.source == role
    and not {edge.source, edge.target} & drawing.watching(graph)
  ]


def _edge(
  edge: graph_lib.RoleEdge,
  graph: graph_lib.ProgramGraph,
  figures: figures_lib.Figures | None,
) -> rich.text.Text:
  rate = figures.edge_rate(graph, edge) if figures else None
  flow = edge.kind if rate is None else f'{edge.kind} {_figure(rate)}/s'
  target = drawing.title(edge.target, graph.roles[edge.target])
  return rich.text.Text(f'    ── {flow} ──▶ {target}', style='cyan')


def _bar(shares: Mapping[str, float]) -> rich.text.Text:
  """Shares of time side by side, in the colours of states."""
  bar = rich.text.Text()
  whole = sum(shares.values()) or 1.0
  done, drawn = 0.0, 0
  for state in figures_lib.STATES:
    done += shares.get(state, 0.0) / whole
    end = round(done * _BAR)
    bar.append(_BLOCKS[state] * (end - drawn), style=STYLES[state])
    drawn = end
  return bar


def _fill(tables: Mapping[str, figures_lib.TableFigures]) -> rich.text.Text:
  """How full the first table is, which is the queue's."""
  table = next(iter(tables.values()))
  share = min(table.size / max(table.capacity, 1), 1.0)
  full = round(share * _BAR)
  bar = rich.text.Text('█' * full, style='blue')
  bar.append('░' * (_BAR - full), style='bright_black')
  bar.append(f'  {table.size:,} of {table.capacity:,}')
  return bar


def _table(name: str, table: figures_lib.TableFigures) -> rich.text.Text:
  room = (
    ''
    if table.insert_headroom is None
    else (f', room for {max(table.insert_headroom, 0):,.0f}')
  )
  return rich.text.Text(
    f'    {name}: {table.size:,} of {table.capacity:,}{room}; inserts wait '
    f'{table.waiting_for_samples:.0%}, samplers wait '
    f'{table.waiting_for_inserts:.0%} of the time'
  )


def _states(states: Mapping[str, figures_lib.Spread]) -> str:
  return ', '.join(
    f'{state} {_spread(states[state], "{:.0%}".format)}'
    for state in figures_lib.STATES
    if state in states and states[state].most >= _WORTH
  )


def _activities(
  spreads: Mapping[str, Mapping[str, figures_lib.Spread]],
) -> str:
  """'forward pass 37% (0.46 ms)', the longest first."""
  shares = spreads.get('activities', {})
  each = spreads.get('milliseconds', {})
  told = []
  for name in sorted(shares, key=lambda n: -shares[n].median):
    if shares[name].median >= _WORTH:
      text = f'{name.replace("_", " ")} {shares[name].median:.0%}'
      if name in each:
        text += f' ({_figure(each[name].median)} ms)'
      told.append(text)
  return ', '.join(told)


def _counts(
  spreads: Mapping[str, Mapping[str, figures_lib.Spread]],
) -> list[str]:
  """What is neither time nor process: 'agent steps 1,200/s'."""
  calls = spreads.get('milliseconds', {})
  rates = [
    f'{name.replace("_", " ")} {_spread(spread)}/s'
    for name, spread in spreads.get('rates', {}).items()
    if name not in calls and spread.most
  ]
  gauges = [
    f'{name.replace("_", " ")} {_spread(spread)}'
    for name, spread in spreads.get('gauges', {}).items()
  ]
  return rates + gauges


def _process(process: Mapping[str, figures_lib.Spread]) -> list[str]:
  """'0.60 cores' and '445 MB'."""
  texts = []
  if 'cores' in process:
    texts.append(f'{_spread(process["cores"], "{:.2f}".format)} cores')
  if 'rss_bytes' in process:
    megabytes = _spread(process['rss_bytes'], lambda v: f'{v / 1e6:,.0f}')
    texts.append(f'{megabytes} MB')
  return texts


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
      _bar(each.states) if each.states else '',
      rich.text.Text(
        'silent' if each.is_silent else (each.activity or '').replace('_', ' '),
        style='red' if each.is_silent else '',
      ),
      '' if steps is None else f'{_figure(steps)} agent steps/s',
      '' if each.cores is None else f'{each.cores:.2f} cores',
      '' if each.rss_bytes is None else f'{each.rss_bytes / 1e6:,.0f} MB',
    )
  return table


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
