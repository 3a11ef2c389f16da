"""Statistics from the monitor's records: rates, shares of time and states."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from programs.monitoring import graph as graph_lib
from programs.monitoring import recording

# States of a node, best first: doing its own work, waiting for data from
# upstream, blocked by a full queue downstream, without work.
STATES = ('busy', 'waiting', 'blocked', 'idle')

SILENT_SECONDS = 10.0  # Nodes push every second.


@dataclasses.dataclass(frozen=True)
class Spread:
  """A statistic over the nodes of a role."""

  minimum: float
  median: float
  maximum: float


@dataclasses.dataclass(frozen=True)
class NodeStatistics:
  """One node over a time window. Unknown values are absent or None.

  Attributes:
    states: State -> share of the time, 0 to 1.
    activities: Activity -> share of the time, 0 to 1.
    milliseconds: Activity -> mean time of a call.
    rates: Counter -> growth a second.
    counts: Counter -> count since the node's start.
    gauges: Name -> last value.
    activity: The current one.
    cores: Mean number of CPU cores in use by its process and children.
    rss_bytes: Resident memory of its process and children.
    is_silent: True if it has not pushed for `SILENT_SECONDS`.
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
    """The state that takes most of the time; None if unknown."""
    return max(self.states, key=self.states.__getitem__, default=None)


@dataclasses.dataclass(frozen=True)
class TableStatistics:
  """One table over a time window.

  Attributes:
    waiting_for_samples: Share of the time that inserts waited for a sample.
    waiting_for_inserts: Share of the time that samplers waited for an insert.
  """

  size: int
  capacity: int
  inserts_per_second: float
  samples_per_second: float
  waiting_for_samples: float
  waiting_for_inserts: float


@dataclasses.dataclass(frozen=True)
class ProgramStatistics:
  """A program over a time window.

  Attributes:
    nodes: Statistics by name, of nodes that have pushed.
    machine_busy: Share of the machine's cores that was in use.
  """

  seconds: float
  nodes: Mapping[str, NodeStatistics]
  tables: Mapping[str, TableStatistics]
  cores: int
  machine_busy: float
  warnings: Sequence[str]

  def spreads(self, names: Iterable[str]) -> dict[str, dict[str, Spread]]:
    """Return the spread over nodes of each statistic that any of them has.

    Field of `NodeStatistics` -> key -> spread; 'process' -> 'cores' or
    'rss_bytes' -> spread.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for name in names:
      node = self.nodes.get(name, NodeStatistics())
      for field, values in {
        'states': node.states,
        'activities': node.activities,
        'milliseconds': node.milliseconds,
        'rates': node.rates,
        'gauges': node.gauges,
        'process': {'cores': node.cores, 'rss_bytes': node.rss_bytes},
      }.items():
        for key, value in values.items():
          if value is not None:
            found.setdefault(field, {}).setdefault(key, []).append(value)
    return {
      field: {
        key: Spread(min(values), statistics.median(values), max(values))
        for key, values in by_key.items()
      }
      for field, by_key in found.items()
    }

  def edge_rate(
    self, graph: graph_lib.ProgramGraph, edge: graph_lib.RoleEdge
  ) -> float | None:
    """Return the items or fetches a second along an edge; None if unknown."""
    tables = self.tables.values()
    if edge.kind == 'insert' and tables:
      # Queue and replay receive the same items.
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


def make_statistics(
  records: Sequence[recording.Record],
) -> ProgramStatistics | None:
  """Return the statistics of records, by time; None if they span no time.

  The first and the last record of each start of the monitor count; for
  tables, of the records in which the server answered.
  """
  starts: dict[float, list[recording.Record]] = {}
  for record in records:
    starts.setdefault(record['start'], []).append(record)
  deltas = recording.deltas(starts.values())
  seconds = deltas.get('time', 0.0)
  if seconds <= 0:
    return None
  last = dict(records[-1])
  for part in ('nodes', 'processes'):
    # The last start may have ended before its nodes pushed.
    last[part] = {
      name: pushed
      for each in starts.values()
      for name, pushed in each[-1][part].items()
    }
  tables = [r['tables'] for r in records if r['tables'] is not None]
  machine = deltas['machine']
  return ProgramStatistics(
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
) -> NodeStatistics:
  spent = {n: s for n, s in delta.get('seconds', {}).items() if s}
  calls = {n: c for n, c in delta.get('calls', {}).items() if c}
  if len(spent) > 1:
    spent.pop('starting', None)  # Left out once the node works.
    calls.pop('starting', None)
  whole = sum(spent.values()) or 1.0
  activities = {name: value / whole for name, value in spent.items()}
  states: dict[str, float] = {}
  for activity, share in activities.items():
    state = pushed.get('kinds', {}).get(activity, 'busy')
    states[state] = states.get(state, 0.0) + share
  return NodeStatistics(
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
) -> TableStatistics:
  rates = {name: value / max(seconds, 1e-9) for name, value in delta.items()}
  return TableStatistics(
    last['size'],
    last['capacity'],
    rates['inserts'],
    rates['samples'],
    min(rates['waiting_for_samples_seconds'], 1.0),
    min(rates['waiting_for_inserts_seconds'], 1.0),
  )
