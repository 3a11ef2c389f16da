"""Show a run in the terminal: its progress, and its graph with statistics."""

import datetime
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import rich.console
import rich.live
import rich.table
import rich.text
from absl import logging

from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics
from programs.views import drawing, metrics, reading

# Legible without colours too.
_STATE_STYLES = {
  'busy': ('█', 'green'),
  'waiting': ('▒', 'yellow'),
  'blocked': ('▓', 'red'),
  'idle': ('░', 'bright_black'),
}
_BAR = 24  # Characters.
_MIN_SHARE = 0.005  # Smaller shares are not shown.
_WINDOWS_SECONDS = (10, 60, 300)  # Of the mean speeds.
_LINE_SECONDS = 10.0  # Between status lines without a terminal.
_REFRESH_SECONDS = 0.5  # Between readings of the run by `Status`.

_Spreads = Mapping[str, node_statistics.Spread]


class Status:
  """The progress of a run: live in a terminal, else a line every 10 s.

  A context manager; call `update` a few times a second inside it.
  """

  def __init__(
    self, directory: pathlib.Path, console: rich.console.Console, started: float
  ) -> None:
    """Follow a run whose command began at `started`, seconds since 1970."""
    self._console, self._started = console, started
    self._run = reading.Run(directory)
    self._refresh()
    self._earlier = self._run.learner.last  # Record of an earlier start.
    self._is_learning = False
    self._next_refresh = self._next_line = 0.0
    self._warned: Sequence[str] = ()
    self._live = rich.live.Live(
      console=console, refresh_per_second=4, transient=False
    )

  def __enter__(self) -> 'Status':
    if self._console.is_terminal:
      self._live.start()
    return self

  def __exit__(self, *exception: object) -> None:
    self._refresh()
    if self._console.is_terminal:
      self._live.update(progress(self._run), refresh=True)
      self._live.stop()
    elif self._is_learning:
      self._print_line()

  def update(self) -> None:
    """Read what is new and show it."""
    now = time.monotonic()
    if now < self._next_refresh:
      return
    self._next_refresh = now + _REFRESH_SECONDS
    self._refresh()
    last = self._run.learner.last
    if last and not self._is_learning and last is not self._earlier:
      self._is_learning = True
      # The record follows the step by up to `log_period_seconds`.
      seconds = metrics.number(last, 'time') - self._started
      self._print(f'first learner step {seconds:.1f} s after the command')
    if self._console.is_terminal:
      self._live.update(progress(self._run))
      return
    statistics = self._run.statistics
    warnings = statistics.warnings if statistics else ()
    for warning in warnings:
      if warning not in self._warned:
        self._print(f'WARNING {warning}')
    self._warned = warnings
    if self._is_learning and now >= self._next_line:
      self._next_line = now + _LINE_SECONDS
      self._print_line()

  def _refresh(self) -> None:
    try:
      self._run.refresh()
    except Exception:  # The status must not end the run.
      logging.exception('Cannot read the run directory for the status')

  def _print_line(self) -> None:
    texts = '  '.join(f'{name} {text}' for name, text in facts(self._run))
    self._print(f'{datetime.datetime.now():%H:%M:%S} {texts}')

  def _print(self, text: str) -> None:
    self._console.print(text, markup=False, soft_wrap=True)


def progress(run: reading.Run) -> rich.console.Group:
  """Return the state and progress of a run, its warnings and the verdict."""
  head = [str(run.directory), run.state]
  if run.seconds:
    head.append(str(datetime.timedelta(seconds=round(run.seconds))))
  parts: list[rich.console.RenderableType] = [
    rich.text.Text('  '.join(head), style='bold')
  ]
  statistics = run.statistics
  for warning in statistics.warnings if statistics else ():
    parts.append(rich.text.Text(warning, style='bold red'))
  if run.verdict:
    parts.append(rich.text.Text(run.verdict.sentence))
  parts.append(
    f'machine: {statistics.cores} cores, {statistics.machine_busy:.0%} busy'
    if statistics
    else 'No statistics yet: the nodes are starting, or --monitor is off.'
  )
  table = rich.table.Table.grid(padding=(0, 2, 0, 0))
  for name, text in facts(run):
    table.add_row(rich.text.Text(name, style='bold'), rich.text.Text(text))
  return rich.console.Group(*parts, table)


def facts(run: reading.Run) -> Iterator[tuple[str, str]]:
  """Yield name and text of each metric once a run learns."""
  if not run.learner.last:
    return

  def number(name: str, digits: int = 0) -> str:
    value = metrics.number(run.learner.last, name)
    return f'{value:,.{digits}f}' if math.isfinite(value) else '?'

  frames = metrics.number(run.learner.last, 'frames')
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
  lags = (
    number('policy_lag_min'),
    number('policy_lag_mean', 1),
    number('policy_lag_max'),
  )
  yield 'policy lag', f'{"/".join(lags)} learner steps (min/mean/max)'
  yield 'queue', f'{number("queue_size")} unrolls'
  waits = metrics.number(run.learner.last, 'learner_wait_share')
  yield 'learner busy', f'{1 - waits:.0%}' if math.isfinite(waits) else '?'
  restarts = metrics.number(run.learner.last, 'environment_restarts')
  if restarts > 0:
    yield 'crashes', f'{restarts:,.0f} environments restarted'
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
  graph: graph_lib.ProgramGraph,
  statistics: node_statistics.ProgramStatistics | None,
) -> rich.console.Group:
  """Return the roles along the data flow, with statistics and outflows."""
  above = drawing.observers(graph)
  shown: list[rich.console.RenderableType] = []
  for role in drawing.order(graph):
    nodes = graph.roles[role]
    head = rich.text.Text(f'{drawing.title(role, nodes):<16}', style='bold')
    shown.append(head)
    if statistics:
      shown += _role_text(head, role, graph, statistics)
    for edge in graph.role_edges:
      # Calls of observers are left out.
      if edge.source == role and not {edge.source, edge.target} & above:
        rate = statistics.edge_rate(graph, edge) if statistics else None
        flow = '' if rate is None else f' {_number(rate)}/s'
        target = drawing.title(edge.target, graph.roles[edge.target])
        text = f'    ── {edge.kind}{flow} ──▶ {target}'
        shown.append(rich.text.Text(text, style='cyan'))
    shown.append('')
  if statistics:
    shown.append('    a/b/c: minimum/median/maximum over the nodes of a role')
  return rich.console.Group(*shown)


def _role_text(
  head: rich.text.Text,
  role: str,
  graph: graph_lib.ProgramGraph,
  statistics: node_statistics.ProgramStatistics,
) -> Iterator[rich.console.RenderableType]:
  """Complete the head line of a role, and yield the lines below it."""
  nodes = graph.roles[role]
  spreads = statistics.spreads(node.name for node in nodes)
  if graph.has_tables(role):
    for name, table in statistics.tables.items():
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
  known = [node.name for node in nodes if node.name in statistics.nodes]
  silent = [name for name in known if statistics.nodes[name].is_silent]
  if silent:
    yield rich.text.Text(f'    silent: {", ".join(silent)}', style='bold red')
  calls = spreads.get('milliseconds', {})
  if activities := _shares(spreads.get('activities', {}), calls):
    yield rich.text.Text(f'    {activities}')
  if counts := ', '.join(_counts(spreads)):
    yield rich.text.Text(f'    {counts}', style='bright_black')


def _bar(parts: Sequence[tuple[float, str, str]]) -> rich.text.Text:
  text, done, drawn = rich.text.Text(), 0.0, 0
  for share, character, style in [*parts, (1.0, '░', 'bright_black')]:
    done += share
    end = round(min(done, 1.0) * _BAR)
    text.append(character * (end - drawn), style=style)
    drawn = end
  return text


def _states_bar(states: Mapping[str, float]) -> rich.text.Text:
  whole = sum(states.values()) or 1.0
  styles = _STATE_STYLES.items()
  return _bar([(states.get(s, 0.0) / whole, *style) for s, style in styles])


def _shares(shares: _Spreads, calls: _Spreads) -> str:
  """Return 'forward pass 37% (0.46 ms)', the largest share first."""
  texts = []
  for name in sorted(shares, key=lambda n: -shares[n].median):
    if shares[name].maximum >= _MIN_SHARE:
      each = f' ({_number(calls[name].median)} ms)' if name in calls else ''
      share = _spread(shares[name], '{:.0%}'.format)
      texts.append(f'{name.replace("_", " ")} {share}{each}')
  return ', '.join(texts)


def _counts(spreads: Mapping[str, _Spreads]) -> Iterator[str]:
  """Yield all but shares of time: '0.60 cores', 'agent steps 1,200/s'."""
  process = spreads.get('process', {})
  if 'cores' in process:
    yield f'{_spread(process["cores"], "{:.2f}".format)} cores'
  if 'rss_bytes' in process:
    yield f'{_spread(process["rss_bytes"], lambda v: f"{v / 1e6:,.0f}")} MB'
  calls = spreads.get('milliseconds', {})
  for name, spread in spreads.get('rates', {}).items():
    if name not in calls and spread.maximum:
      yield f'{name.replace("_", " ")} {_spread(spread)}/s'
  for name, spread in spreads.get('gauges', {}).items():
    yield f'{name.replace("_", " ")} {_spread(spread)}'


def _spread(
  spread: node_statistics.Spread, show: Callable[[float], str] | None = None
) -> str:
  """Return minimum/median/maximum, or one number if they are the same."""
  ends = (spread.minimum, spread.median, spread.maximum)
  texts = [(show or _number)(value) for value in ends]
  return texts[0] if len(set(texts)) == 1 else '/'.join(texts)


def _number(value: float) -> str:
  """Return about three significant digits."""
  if abs(value) >= 100 or value == int(value):
    return f'{value:,.0f}'
  return f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}'
