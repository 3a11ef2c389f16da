"""The dashboard's page and the data of a run that it shows."""

import dataclasses
import json
import math
import pathlib
import shlex
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics
from programs.views import drawing, metrics, reading

_PAGE = pathlib.Path(__file__).with_name('page')
_FRESH_SECONDS = 0.4  # Open pages share data that is not older.
_EXPORTED_LOG_BYTES = 4096

Settings = list[dict[str, Any]]


class View:
  """A run as data for the page; thread-safe."""

  def __init__(
    self, run: reading.Run, describe: Callable[[Mapping[str, Any]], Settings]
  ) -> None:
    """Show `run`; `describe` converts the content of `config.json`."""
    self._run, self._describe = run, describe
    self._lock = threading.Lock()
    self._refreshed = -_FRESH_SECONDS
    self._parts: Mapping[str, Callable[[str], Any]] = {
      'state': lambda _: _state(run),
      'graph': lambda _: _graph(run.graph),
      'curves': lambda level: _curves(run, level),
      'evaluations': lambda name: _evaluations(run, name),
      'configuration': lambda _: self._configuration(),
      'log': run.log,
    }

  def read(self, part: str, name: str = '') -> Any:
    """Return a part of the page's data; None if there is no such part.

    Args:
      part: 'state', which changes every second; 'graph'; 'curves' of a level,
        or of all; 'evaluations', one of them in full; 'configuration'; 'log'
        of a node.
      name: Name of the level, evaluation or node.
    """
    if part not in self._parts:
      return None
    with self._lock:
      if time.monotonic() - self._refreshed >= _FRESH_SECONDS:
        self._run.refresh()
        self._refreshed = time.monotonic()
      return self._parts[part](name)

  def export(self) -> dict[str, dict[str, Any]]:
    """Return part -> name -> data, for a page without a server."""
    run = self._run
    self.read('state')
    content = {part: {'': read('')} for part, read in self._parts.items()}
    for level in run.levels.curves:
      content['curves'][level] = _curves(run, level)
    for name in run.evaluations.found:
      content['evaluations'][name] = _evaluations(run, name)
    for node in run.graph.nodes if run.graph else ():
      content['log'][node.name] = run.log(node.name, _EXPORTED_LOG_BYTES)
    return content

  def _configuration(self) -> Settings:
    run = self._run
    if not run.config:
      return []
    facts: dict[str, Any] = {}
    for name, value in run.meta.items():
      if name not in ('processes', 'machines'):  # Shown with the nodes.
        facts |= value if isinstance(value, dict) else {name: value}
    return [
      *self._describe(run.config),
      *(
        {'group': 'provenance', 'name': name, 'value': _text(value)}
        for name, value in facts.items()
      ),
    ]


def _text(value: Any) -> str:
  """Return a value as text; a list as a shell command."""
  if isinstance(value, list):
    return shlex.join(map(str, value))
  return '' if value is None else str(value)


def _state(run: reading.Run) -> dict[str, Any]:
  statistics, graph, last = run.statistics, run.graph, run.learner.last
  frames = metrics.number(last, 'frames') if last else 0.0
  rate = (
    run.mean_frames_per_second() if run.is_over else run.frames_per_second(60)
  )
  left = max((run.total_frames or 0) - frames, 0)
  roles, edges = {}, {}
  if graph and statistics:
    roles = {role: _role(graph, statistics, role) for role in graph.roles}
    edges = {
      f'{e.source} {e.kind} {e.target}': statistics.edge_rate(graph, e)
      for e in graph.role_edges
    }
  return {
    'version': run.version,
    'run': {
      'directory': str(run.directory),
      'level': run.level_name,
      'state': run.state,
      'is_recorded': bool(run.config.get('run', {}).get('monitor', True)),
      'is_over': run.is_over,
      'description': _text(run.ended.get('description')),
      'seconds': run.seconds,
      'age_seconds': run.age_seconds,
    },
    'progress': {
      'frames': frames,
      'total': run.total_frames,
      'frames_per_second': rate,
      'seconds_left': left / rate if rate and not run.is_over else None,
      'episode_return': last.get('episode_return'),
    },
    'statistics': statistics
    and {
      'seconds': statistics.seconds,
      'cores': statistics.cores,
      'machine_busy': statistics.machine_busy,
    },
    'verdict': run.verdict and dataclasses.asdict(run.verdict),
    'warnings': list(statistics.warnings) if statistics else [],
    'roles': roles,
    'edges': edges,
    'nodes': {
      node.name: _node(run, node.name)
      for node in (graph.nodes if graph else ())
    },
  }


def _role(
  graph: graph_lib.ProgramGraph,
  statistics: node_statistics.ProgramStatistics,
  role: str,
) -> dict[str, Any]:
  names = [node.name for node in graph.roles[role]]
  nodes = [statistics.nodes[n] for n in names if n in statistics.nodes]
  spreads = statistics.spreads(names).get('states', {})
  cores = [node.cores for node in nodes if node.cores is not None]
  memory = [n.rss_bytes for n in nodes if n.rss_bytes is not None]
  tables = statistics.tables if graph.has_tables(role) else {}
  return {
    'states': _mean(node.states for node in nodes),
    'spreads': {name: vars(spread) for name, spread in spreads.items()},
    'activities': _mean(node.activities for node in nodes),
    'cores': sum(cores) if cores else None,
    'rss_bytes': sum(memory) if memory else None,
    'silent': sum(node.is_silent for node in nodes),
    'tables': {name: vars(table) for name, table in tables.items()},
  }


def _mean(shares: Iterable[Mapping[str, float]]) -> dict[str, float]:
  known = [each for each in shares if each]
  names = dict.fromkeys(name for each in known for name in each)
  return {
    name: sum(each.get(name, 0.0) for each in known) / len(known)
    for name in names
  }


def _node(run: reading.Run, name: str) -> dict[str, Any]:
  nodes = run.statistics.nodes if run.statistics else {}
  found = nodes.get(name, node_statistics.NodeStatistics())
  pids = run.meta.get('processes')
  pid = pids.get(name) if isinstance(pids, dict) else None
  return {**vars(found), 'state': found.state, 'pid': pid}


def _graph(graph: graph_lib.ProgramGraph | None) -> dict[str, Any]:
  """Return the drawing, with two empty lines in each box, and the roles."""
  if graph is None:
    return {'svg': None, 'roles': []}
  return {
    'svg': drawing.svg(graph, num_lines=2),
    'roles': [
      {
        'role': role,
        'title': drawing.title(role, nodes),
        'about': nodes[0].about or nodes[0].function,
        'nodes': [node.name for node in nodes],
      }
      for role, nodes in graph.roles.items()
    ],
  }


def _curves(run: reading.Run, level: str) -> dict[str, Any]:
  """Return the curves of a level; of all if there is none of this name."""
  curves = {name: c.to_dict() for name, c in run.learner.curves.items()}
  returns = curves.pop('episode_return', {'x': [], 'y': []})
  is_level = level in run.levels.curves
  return {
    'levels': sorted(run.levels.curves),
    'returns': run.levels.curves[level].to_dict() if is_level else returns,
    'evaluations': evaluation_points(run, [level] if is_level else []),
    'small': curves,
  }


def _evaluations(run: reading.Run, name: str) -> dict[str, Any]:
  """Return all names and the named evaluation, by default the latest."""
  found = run.evaluations.found
  name = name if name in found else next(iter(found), '')
  return {'names': list(found), 'name': name, 'content': found.get(name)}


def evaluation_points(
  run: reading.Run, levels: Collection[str]
) -> list[list[float | None]]:
  """Return frames, mean return and interval of evaluations during training.

  Those of `levels`; the means over all levels if it is empty.
  """
  names = ('mean_return', 'mean_return_low', 'mean_return_high')
  return [
    [each['trained_frames'], *(score.get(name) for name in names)]
    for each in run.evaluations.of_training()
    for score in (each['levels'] if levels else [each['summary']])
    if not levels or score['level_name'] in levels
  ]


def read_page() -> dict[str, str]:
  """Return the page's files, name -> content."""
  return {
    path.name: path.read_text(encoding='utf-8')
    for path in _PAGE.iterdir()
    if path.suffix in ('.html', '.css', '.js')
  }


def to_json(content: Any) -> str:
  """Return JSON with null for numbers that are not finite."""
  return json.dumps(_finite(content), allow_nan=False, separators=(',', ':'))


def _finite(content: Any) -> Any:
  if isinstance(content, float):
    return content if math.isfinite(content) else None
  if isinstance(content, Mapping):
    return {str(name): _finite(value) for name, value in content.items()}
  if isinstance(content, Sequence) and not isinstance(content, str):
    return [_finite(value) for value in content]
  return content
