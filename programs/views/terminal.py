"""A run in the terminal: how far it is, and its graph with figures."""

import datetime
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import rich.console
import rich.table
import rich.text

from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics
from programs.views import curves, drawing, reading

# Told apart without colours too.
_LOOKS = {
  'busy': ('█', 'green'),
  'waiting': ('▒', 'yellow'),
  'blocked': ('▓', 'red'),
  'idle': ('░', 'bright_black'),
}
_BAR = 24  # Characters.
_WORTH = 0.005  # Shares below are not told.
_WINDOWS_SECONDS = (10, 60, 300)  # Over which speeds are means.

_Spreads = Mapping[str, node_statistics.Spread]


def progress(run: reading.Run) -> rich.console.Group:
  """What runs and how far it is, warnings and the verdict."""
  head = [str(run.directory), run.state]
  if run.seconds:
    head.append(str(datetime.timedelta(seconds=round(run.seconds))))
  parts: list[rich.console.RenderableType] = [
    rich.text.Text('  '.join(head), style='bold')
  ]
  figures = run.figures
  for warning in figures.warnings if figures else ():
    parts.append(rich.text.Text(warning, style='bold red'))
  if run.verdict:
    parts.append(rich.text.Text(run.verdict.sentence))
  parts.append(
    f'machine: {figures.cores} cores, {figures.machine_busy:.0%} busy'
    if figures
    else 'No figures yet: nodes import TensorFlow, or run unwatched.'
  )
  table = rich.table.Table.grid(padding=(0, 2, 0, 0))
  for name, text in facts(run):
    table.add_row(rich.text.Text(name, style='bold'), rich.text.Text(text))
  return rich.console.Group(*parts, table)


def facts(run: reading.Run) -> Iterator[tuple[str, str]]:
  """Name and text of what there is to tell of a run that learns."""
  if not run.learner.last:
    return

  def number(name: str, digits: int = 0) -> str:
    value = curves.number(run.learner.last, name)
    return f'{value:,.{digits}f}' if math.isfinite(value) else '?'

  frames = curves.number(run.learner.last, 'frames')
  total = run.total_frames or math.nan
  text = f'{frames:,.0f} of {total:,.0f} ({min(frames / total, 1.0):.0%})'
  yield 'frames', text
  speeds = [run.frames_per_second(seconds) for seconds in _WINDOWS_SECONDS]
  if not run.is_over:
    shown = [
      f'{"?" if speed is None else f"{speed:,.0f}"} ({seconds} s)'
      for speed, seconds in zip(speeds, _WINDOWS_SECONDS, strict=True)
    ]
    yield 'frames/s', ', '.join(shown)
  elif mean := run.mean_frames_per_second():
    yield 'frames/s', f'{mean:,.0f} on average'
  if not run.is_over and speeds[-1] and frames < total:
    left = datetime.timedelta(seconds=round((total - frames) / speeds[-1]))
    yield 'time left', str(left)
  yield 'return', f'{number("episode_return", 2)} over 100 episodes'
  lags = number('policy_lag_min'), number('policy_lag_mean', 1)
  yield (
    'policy lag',
    f'{"/".join(lags)}/{number("policy_lag_max")} learner steps',
  )
  yield 'queue', f'{number("queue_size")} unrolls'
  waits = curves.number(run.learner.last, 'learner_wait_share')
  yield 'learner busy', f'{1 - waits:.0%}' if math.isfinite(waits) else '?'
  if (restarts := curves.number(run.learner.last, 'environment_restarts')) > 0:
    yield 'crashes', f'{restarts:,.0f} environments started again'
  for each in list(run.evaluations.found.values())[:1]:
    summary = each['summary']
    mean, error = summary['mean_return'], summary.get('standard_error')
    yield (
      'evaluation',
      f'{mean:.2f} +- {"?" if error is None else f"{error:.2f}"} over '
      f'{summary["episodes"]} episodes at frame '
      f'{each["trained_frames"]:,}',
    )


def graph_text(
  graph: graph_lib.ProgramGraph, figures: node_statistics.Figures | None
) -> rich.console.Group:
  """Roles along what flows, each with its figures and the edges it gives to."""
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
        rate = figures.edge_rate(graph, edge) if figures else None
        flow = '' if rate is None else f' {_figure(rate)}/s'
        target = drawing.title(edge.target, graph.roles[edge.target])
        text = f'    ── {edge.kind}{flow} ──▶ {target}'
        shown.append(rich.text.Text(text, style='cyan'))
    shown.append('')
  return rich.console.Group(*shown)


def _figures(
  head: rich.text.Text,
  role: str,
  graph: graph_lib.ProgramGraph,
  figures: node_statistics.Figures,
) -> Iterator[rich.console.RenderableType]:
  """Goes on with the line of a role, and makes those below it."""
  nodes = graph.roles[role]
  spreads = figures.spreads(node.name for node in nodes)
  if graph.has_tables(role):
    for name, table in figures.tables.items():
      share = table.size / max(table.capacity, 1)
      head.append_text(_bar([(share, '█', 'blue')]))
      head.append(f'  {name} {table.size:,} of {table.capacity:,}  ')
      yield (
        f'    inserts wait {table.waiting_for_samples:.0%}, samplers wait '
        f'{table.waiting_for_inserts:.0%} of the time'
      )
  if states := spreads.get('states'):
    medians = {name: spread.median for name, spread in states.items()}
    head.append_text(_states_bar(medians))
    head.append(f'  {_shares(states, {})}')
  known = {
    n.name: figures.nodes[n.name] for n in nodes if n.name in figures.nodes
  }
  if silent := ', '.join(name for name in known if known[name].is_silent):
    yield rich.text.Text(f'    silent: {silent}', style='bold red')
  calls = spreads.get('milliseconds', {})
  if activities := _shares(spreads.get('activities', {}), calls):
    yield rich.text.Text(f'    {activities}')
  if counts := ', '.join(_counts(spreads)):
    yield rich.text.Text(f'    {counts}', style='bright_black')


def _bar(parts: Sequence[tuple[float, str, str]]) -> rich.text.Text:
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
  return _bar([(states.get(s, 0.0) / whole, *_LOOKS[s]) for s in _LOOKS])


def _shares(shares: _Spreads, calls: _Spreads) -> str:
  """'forward pass 37% (0.46 ms)', the longest first."""
  told = []
  for name in sorted(shares, key=lambda n: -shares[n].median):
    if shares[name].most >= _WORTH:
      each = f' ({_figure(calls[name].median)} ms)' if name in calls else ''
      share = _spread(shares[name], '{:.0%}'.format)
      told.append(f'{name.replace("_", " ")} {share}{each}')
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
      yield f'{name.replace("_", " ")} {_spread(spread)}/s'
  for name, spread in spreads.get('gauges', {}).items():
    yield f'{name.replace("_", " ")} {_spread(spread)}'


def _spread(
  spread: node_statistics.Spread, show: Callable[[float], str] | None = None
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
