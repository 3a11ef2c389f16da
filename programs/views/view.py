"""What the page shows of a run, as plain data: for a server, or for a file."""

import dataclasses
import json
import math
import shlex
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics
from programs.views import curves as curves_lib
from programs.views import drawing, reading

_FRESH_SECONDS = 0.4  # Several pages share what was read so recently.
_EXPORTED_LOG_BYTES = 4096

Settings = list[dict[str, Any]]


class View:
  """A run as the page wants it; safe for threads."""

  def __init__(
    self, run: reading.Run, describe: Callable[[Mapping[str, Any]], Settings]
  ) -> None:
    """`describe` makes settings of the content of `config.json`."""
    self._run, self._describe = run, describe
    self._lock = threading.Lock()
    self._looked = -_FRESH_SECONDS
    self._parts: Mapping[str, Callable[[str], Any]] = {
      'state': lambda _: _state(run),
      'graph': lambda _: _graph(run.graph),
      'curves': lambda level: _curves(run, level),
      'evaluations': lambda name: _evaluations(run, name),
      'configuration': lambda _: self._configuration(),
      'log': run.log,
    }

  def read(self, part: str, name: str = '') -> Any:
    """A part of what the page shows; None where there is none such.

    Args:
      part: 'state', which changes all the time; 'graph', 'curves' of a level,
        or else of all; 'evaluations', of which one in full; 'configuration';
        'log' of a node.
      name: Of the level, evaluation or node.
    """
    if part not in self._parts:
      return None
    with self._lock:
      if time.monotonic() - self._looked >= _FRESH_SECONDS:
        self._run.look()
        self._looked = time.monotonic()
      return self._parts[part](name)

  def export(self) -> dict[str, dict[str, Any]]:
    """Part -> name -> what `read` says, for a page that asks nobody."""
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
      if name not in ('processes', 'machines'):  # The nodes' own.
        facts |= value if isinstance(value, dict) else {name: value}
    return [
      *self._describe(run.config),
      *(
        {'group': 'start and end', 'name': name, 'value': _text(value)}
        for name, value in facts.items()
      ),
    ]


def _text(value: Any) -> str:
  """A command line is one that can be typed."""
  if isinstance(value, list):
    return shlex.join(map(str, value))
  return '' if value is None else str(value)


def _state(run: reading.Run) -> dict[str, Any]:
  figures, graph, row = run.figures, run.graph, run.learner.last
  frames = curves_lib.number(row, 'frames') if row else 0.0
  rate = (
    run.mean_frames_per_second() if run.is_over else run.frames_per_second(60)
  )
  left = max((run.total_frames or 0) - frames, 0)
  roles, edges = {}, {}
  if graph and figures:
    roles = {role: _role(graph, figures, role) for role in graph.roles}
    edges = {
      f'{edge.source} {edge.kind} {edge.target}': figures.edge_rate(graph, edge)
      for edge in graph.role_edges
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
      'episode_return': row.get('episode_return'),
    },
    'figures': figures
    and {
      'seconds': figures.seconds,
      'cores': figures.cores,
      'machine_busy': figures.machine_busy,
    },
    'verdict': run.verdict and dataclasses.asdict(run.verdict),
    'warnings': list(figures.warnings) if figures else [],
    'roles': roles,
    'edges': edges,
    'nodes': {
      node.name: _node(run, node.name)
      for node in (graph.nodes if graph else ())
    },
  }


def _role(
  graph: graph_lib.ProgramGraph, figures: node_statistics.Figures, role: str
) -> dict[str, Any]:
  names = [node.name for node in graph.roles[role]]
  found = [figures.nodes[name] for name in names if name in figures.nodes]
  spreads = figures.spreads(names).get('states', {})
  cores = [node.cores for node in found if node.cores is not None]
  memory = [n.rss_bytes for n in found if n.rss_bytes is not None]
  tables = figures.tables if graph.has_tables(role) else {}
  return {
    'states': _mean(node.states for node in found),
    'spreads': {name: vars(spread) for name, spread in spreads.items()},
    'activities': _mean(node.activities for node in found),
    'cores': sum(cores) if cores else None,
    'rss_bytes': sum(memory) if memory else None,
    'silent': sum(node.is_silent for node in found),
    'tables': {name: vars(table) for name, table in tables.items()},
  }


def _mean(shares: Iterable[Mapping[str, float]]) -> dict[str, float]:
  told = [each for each in shares if each]
  names = dict.fromkeys(name for each in told for name in each)
  return {
    name: sum(each.get(name, 0.0) for each in told) / len(told)
    for name in names
  }


def _node(run: reading.Run, name: str) -> dict[str, Any]:
  nodes = run.figures.nodes if run.figures else {}
  found = nodes.get(name, node_statistics.NodeFigures())
  pids = run.meta.get('processes')
  pid = pids.get(name) if isinstance(pids, dict) else None
  return {**vars(found), 'state': found.state, 'pid': pid}


def _graph(graph: graph_lib.ProgramGraph | None) -> dict[str, Any]:
  """The drawing, with room for two lines in each box, and all roles."""
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
  """Learning curves; of all levels where there is none of this name."""
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
  """All names; and one in full, or the latest where there is none such."""
  found = run.evaluations.found
  name = name if name in found else next(iter(found), '')
  return {'names': list(found), 'name': name, 'content': found.get(name)}


def evaluation_points(
  run: reading.Run, levels: Collection[str]
) -> list[list[float | None]]:
  """Frames, mean return and its interval of the evaluations while training.

  They are of `levels`; over all levels where these are none.
  """
  names = ('mean_return', 'mean_return_low', 'mean_return_high')
  return [
    [each['trained_frames'], *(row.get(name) for name in names)]
    for each in run.evaluations.of_training()
    for row in (each['levels'] if levels else [each['summary']])
    if not levels or row['level_name'] in levels
  ]


def to_json(content: Any) -> str:
  """As JSON, which has no numbers that are not finite: null there."""
  return json.dumps(_finite(content), allow_nan=False, separators=(',', ':'))


def _finite(content: Any) -> Any:
  if isinstance(content, float):
    return content if math.isfinite(content) else None
  if isinstance(content, Mapping):
    return {str(name): _finite(value) for name, value in content.items()}
  if isinstance(content, Sequence) and not isinstance(content, str):
    return [_finite(value) for value in content]
  return content
