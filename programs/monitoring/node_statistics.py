"""What the monitor's records come to: rates, shares and states by node."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from programs.monitoring import graph as graph_lib
from programs.monitoring import recording

# States of a node, best first: at its own work, waiting for what comes before
# it, blocked by what comes after it, without anything to do.
STATES = ('busy', 'waiting', 'blocked', 'idle')

SILENT_SECONDS = 10.0  # Nodes push every second.


@dataclasses.dataclass(frozen=True)
class Spread:
  """A figure over the nodes of a role."""

  least: float
  median: float
  most: float


@dataclasses.dataclass(frozen=True)
class NodeFigures:
  """One node over a stretch of time. What is not known is absent or None.

  Attributes:
    states: State -> share of the time, 0 to 1.
    activities: Activity -> the same.
    milliseconds: Activity -> mean time of one call.
    rates: What is counted -> how many a second.
    counts: What is counted -> how many since the node's start.
    cores: Of the processor, that its process and its children use.
    rss_bytes: Memory of these.
  """

  states: Mapping[str, float] = dataclasses.field(default_factory=dict)
  activities: Mapping[str, float] = dataclasses.field(default_factory=dict)
  milliseconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
  rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
  counts: Mapping[str, float] = dataclasses.field(default_factory=dict)
  gauges: Mapping[str, float] = dataclasses.field(default_factory=dict)
  activity: str | None = None
  cores: float | None = None
  rss_bytes: int | None = None
  host: str | None = None
  is_silent: bool = False

  @property
  def state(self) -> str | None:
    """What it is most of the time."""
    return max(self.states, key=self.states.__getitem__, default=None)


@dataclasses.dataclass(frozen=True)
class TableFigures:
  """One table over a stretch of time.

  Attributes:
    insert_headroom: Items until its rate limiter blocks; None: it never does.
    waiting_for_samples: Share of the time that inserts waited for a sample.
    waiting_for_inserts: Share of the time that samplers waited for an insert.
  """

  size: int
  capacity: int
  insert_headroom: float | None
  inserts_per_second: float
  samples_per_second: float
  waiting_for_samples: float
  waiting_for_inserts: float


@dataclasses.dataclass(frozen=True)
class Figures:
  """A program over a stretch of time.

  Attributes:
    nodes: Name -> figures, of those that pushed or have a process.
    machine_busy: Share of the machine's processors that was in use.
  """

  seconds: float
  nodes: Mapping[str, NodeFigures]
  tables: Mapping[str, TableFigures]
  cores: int
  machine_busy: float
  warnings: Sequence[str]

  def spreads(self, names: Iterable[str]) -> dict[str, dict[str, Spread]]:
    """Least, median and most over nodes, of each figure that any of them has.

    Field of `NodeFigures` -> figure -> spread; 'process' has cores, rss_bytes.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for name in names:
      node = self.nodes.get(name, NodeFigures())
      for field, values in {
        'states': node.states,
        'activities': node.activities,
        'milliseconds': node.milliseconds,
        'rates': node.rates,
        'gauges': node.gauges,
        'process': {'cores': node.cores, 'rss_bytes': node.rss_bytes},
      }.items():
        for figure, value in values.items():
          if value is not None:
            by_figure = found.setdefault(field, {})
            by_figure.setdefault(figure, []).append(value)
    return {
      field: {
        figure: Spread(min(values), statistics.median(values), max(values))
        for figure, values in by_figure.items()
      }
      for field, by_figure in found.items()
    }

  def edge_rate(
    self, graph: graph_lib.ProgramGraph, edge: graph_lib.RoleEdge
  ) -> float | None:
    """How much flows along an edge, items or fetches a second; or None."""
    tables = self.tables.values()
    if edge.kind == 'insert' and tables:
      # What goes to several tables is the same item.
      return max(table.inserts_per_second for table in tables)
    if edge.kind == 'sample' and tables:
      return sum(table.samples_per_second for table in tables)
    if edge.kind == 'variables':
      nodes = [self.nodes.get(n.name) for n in graph.roles[edge.target]]
      rates = [
        node.rates['fetching_variables']
        for node in nodes
        if node and 'fetching_variables' in node.rates
      ]
      return sum(rates) if rates else None
    return None


def make_figures(records: Sequence[recording.Record]) -> Figures | None:
  """The figures of records, by their time; None where there are too few.

  Of each start of the monitor the first and the last record count, and for
  tables those in which the server answered.
  """
  stretches: dict[float, list[recording.Record]] = {}
  for record in records:
    stretches.setdefault(record['start'], []).append(record)
  deltas = recording.deltas(stretches.values())
  seconds = deltas.get('time', 0.0)
  if seconds <= 0:
    return None
  last = dict(records[-1])
  for part in ('nodes', 'processes'):
    # A start may have ended before its nodes reported anything.
    last[part] = {
      name: reported
      for stretch in stretches.values()
      for name, reported in stretch[-1][part].items()
    }
  tables = [r['tables'] for r in records if r['tables'] is not None]
  machine = deltas['machine']
  return Figures(
    seconds,
    {
      name: _node(
        last['nodes'].get(name, {}),
        deltas['nodes'].get(name, {}),
        last['processes'].get(name, {}).get('rss_bytes'),
        deltas['processes'].get(name, {}).get('cpu_seconds'),
        seconds,
      )
      for name in sorted({*last['nodes'], *last['processes']})
    },
    {
      name: _table(table, deltas['tables'][name], deltas['tables_time'])
      for name, table in (tables[-1] if tables else {}).items()
    },
    last['machine']['cores'],
    machine['busy_seconds'] / max(machine['total_seconds'], 1e-9),
    last['warnings'],
  )


def _node(
  pushed: Mapping[str, Any],
  delta: Mapping[str, Any],
  rss_bytes: int | None,
  cpu_seconds: float | None,
  seconds: float,
) -> NodeFigures:
  # A node that is silent has spent nothing.
  spent = {n: s for n, s in delta.get('seconds', {}).items() if s}
  if len(spent) > 1:
    spent.pop('starting', None)  # What it does, not how it began.
  whole = sum(spent.values()) or 1.0
  calls = {n: c for n, c in delta.get('calls', {}).items() if c}
  activities = {name: value / whole for name, value in spent.items()}
  states: dict[str, float] = {}
  for activity, share in activities.items():
    state = pushed.get('kinds', {}).get(activity, 'busy')
    states[state] = states.get(state, 0.0) + share
  return NodeFigures(
    states=states,
    activities=activities,
    milliseconds={
      activity: 1000 * spent[activity] / count
      for activity, count in calls.items()
      if activity in spent
    },
    rates={
      name: count / seconds
      for name, count in {**calls, **delta.get('counts', {})}.items()
    },
    counts=pushed.get('counts', {}),
    gauges=pushed.get('gauges', {}),
    activity=pushed.get('activity'),
    cores=None if cpu_seconds is None else cpu_seconds / seconds,
    rss_bytes=rss_bytes,
    host=pushed.get('host'),
    is_silent=pushed.get('age_seconds', 0.0) > SILENT_SECONDS,
  )


def _table(
  last: Mapping[str, Any], delta: Mapping[str, float], seconds: float
) -> TableFigures:
  rates = {name: value / max(seconds, 1e-9) for name, value in delta.items()}
  return TableFigures(
    last['size'],
    last['capacity'],
    last['insert_headroom'],
    rates['inserts'],
    rates['samples'],
    min(rates['waiting_for_samples_seconds'], 1.0),
    min(rates['waiting_for_inserts_seconds'], 1.0),
  )
