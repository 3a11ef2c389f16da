"""What the page shows of a run, as plain data: for a server, or for a file."""

import collections
import dataclasses
import json
import math
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from programs.inspection import curves as curves_lib
from programs.inspection import drawing, reading
from programs.inspection import figures as figures_lib

_FRESH_SECONDS = 0.4  # Several pages share what was read so recently.
_EXPORTED_LOG_BYTES = 4096

Settings = list[dict[str, Any]]


class View:
  """A run as the page wants it; safe for threads."""

  def __init__(
    self,
    run: reading.Run,
    describe: Callable[[Mapping[str, Any]], Settings],
  ) -> None:
    """Reads nothing yet.

    Args:
      run: That is shown.
      describe: From the content of `config.json` to a list of its settings.
    """
    self._run, self._describe = run, describe
    self._lock = threading.Lock()
    self._looked = -_FRESH_SECONDS
    self._parts: Mapping[str, Callable[[str], Any]] = {
      'state': lambda _: self._state(),
      'graph': lambda _: self._graph(),
      'curves': self._curves,
      'evaluations': self._evaluations,
      'configuration': lambda _: self._configuration(),
      'log': run.log,
    }

  def read(self, part: str, name: str = '') -> Any:
    """A part of what the page shows.

    Args:
      part: 'state', which changes all the time; 'graph', 'curves' of a level,
        or else of all; 'evaluations', of which one in full; 'configuration';
        'log' of a node.
      name: Of the level, evaluation or node.

    Returns:
      Plain data; None where there is no such part or node.
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
    self.read('state')
    graph = self._run.graph
    names = {
      'curves': ['', *self._run.levels.curves],
      'evaluations': ['', *self._run.evaluations.found],
      'log': [],
    }
    return {
      **{
        part: {name: read(name) for name in names.get(part, [''])}
        for part, read in self._parts.items()
      },
      'log': {
        node.name: self._run.log(node.name, _EXPORTED_LOG_BYTES)
        for node in (graph.nodes if graph else ())
      },
    }

  def video(self, evaluation: str, name: str) -> Any:
    """Path of a video of an evaluation, if there is one of these names."""
    with self._lock:
      found = self._run.evaluations.videos(evaluation)
    return next((path for path in found if path.name == name), None)

  def _state(self) -> dict[str, Any]:
    run, figures = self._run, self._run.figures
    return {
      'versions': run.versions,
      'run': self._describe_run(),
      'progress': self._progress(),
      'figures': figures
      and {
        'seconds': figures.seconds,
        'cores': figures.cores,
        'machine_busy': figures.machine_busy,
      },
      'verdict': run.verdict and dataclasses.asdict(run.verdict),
      'warnings': list(figures.warnings) if figures else [],
      'roles': self._roles(figures) if figures else {},
      'edges': self._edges(figures) if figures else {},
      'nodes': self._nodes(figures),
    }

  def _describe_run(self) -> dict[str, Any]:
    run = self._run
    return {
      'directory': str(run.directory),
      'level': run.level_name,
      'state': run.state,
      'is_recorded': bool(run.config.get('run', {}).get('monitor', True)),
      'is_over': run.is_over,
      'description': str(run.ended.get('description', '')),
      'seconds': run.seconds,
      'age_seconds': run.age_seconds,
    }

  def _progress(self) -> dict[str, Any]:
    run = self._run
    row, total = run.learner.last, run.total_frames
    rate = (
      run.mean_frames_per_second() if run.is_over else run.frames_per_second(60)
    )
    frames = curves_lib.number(row, 'frames') if row else 0.0
    return {
      'frames': frames,
      'total': total,
      'frames_per_second': rate,
      'seconds_left': max(total - frames, 0) / rate
      if rate and total and not run.is_over
      else None,
      'episode_return': row.get('episode_return'),
    }

  def _roles(self, figures: figures_lib.Figures) -> dict[str, Any]:
    """Role -> what its box shows."""
    shown = {}
    graph = self._run.graph
    for role, nodes in graph.roles.items() if graph else ():
      found = [figures.nodes[n.name] for n in nodes if n.name in figures.nodes]
      spreads = figures.spreads(node.name for node in nodes).get('states', {})
      cores = [node.cores for node in found if node.cores is not None]
      memory = [n.rss_bytes for n in found if n.rss_bytes is not None]
      shown[role] = {
        'states': _mean(node.states for node in found),
        'spreads': {name: vars(spread) for name, spread in spreads.items()},
        'activities': _mean(node.activities for node in found),
        'cores': sum(cores) if cores else None,
        'rss_bytes': sum(memory) if memory else None,
        'silent': sum(node.is_silent for node in found),
        'tables': {name: vars(table) for name, table in figures.tables.items()}
        if graph and graph.has_tables(role)
        else {},
      }
    return shown

  def _edges(self, figures: figures_lib.Figures) -> dict[str, float | None]:
    """'<source> <kind> <target>' -> how much flows."""
    graph = self._run.graph
    if graph is None:
      return {}
    return {
      f'{edge.source} {edge.kind} {edge.target}': figures.edge_rate(graph, edge)
      for edge in graph.role_edges
    }

  def _nodes(self, figures: figures_lib.Figures | None) -> dict[str, Any]:
    """Node -> its figures and process."""
    processes = self._run.meta.get('processes')
    shown = {}
    for node in self._run.graph.nodes if self._run.graph else ():
      found = figures_lib.NodeFigures()
      if figures:
        found = figures.nodes.get(node.name, found)
      shown[node.name] = {
        **vars(found),
        'state': found.state,
        'pid': processes.get(node.name)
        if isinstance(processes, dict)
        else None,
      }
    return shown

  def _graph(self) -> dict[str, Any]:
    """The drawing, with room for two lines in each box, and all roles."""
    graph = self._run.graph
    if graph is None:
      return {'svg': None, 'roles': []}
    return {
      'svg': drawing.svg(graph, {role: ('', '') for role in graph.roles}),
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

  def _curves(self, level: str) -> dict[str, Any]:
    """Learning curves; of all levels where there is none of this name."""
    run = self._run
    levels = sorted(run.levels.curves)
    curves = {name: c.to_dict() for name, c in run.learner.curves.items()}
    returns = curves.pop('episode_return', {'x': [], 'y': []})
    if level in levels:
      returns = run.levels.curves[level].to_dict()
    return {
      'levels': levels,
      'returns': returns,
      'evaluations': evaluation_points(run, {level} if level in levels else ()),
      'small': curves,
    }

  def _evaluations(self, name: str) -> dict[str, Any]:
    """All names; and one in full, or the latest where there is none such."""
    found = self._run.evaluations.found
    if name not in found:
      name = next(iter(found), '')
    return {
      'names': list(found),
      'name': name,
      'content': found.get(name),
      'videos': [each.name for each in self._run.evaluations.videos(name)],
    }

  def _configuration(self) -> Settings:
    if not self._run.config:
      return []
    return [
      *self._describe(self._run.config),
      *(
        {'group': 'start and end', 'name': name, 'value': value}
        for name, value in provenance(self._run).items()
      ),
    ]


def evaluation_points(
  run: reading.Run, levels: Iterable[str]
) -> list[list[float | None]]:
  """Frames, mean return and its interval of the evaluations while training.

  Args:
    run: Read.
    levels: Whose; none: over all levels.
  """
  rows = []
  for each in run.evaluations.of_training():
    found = [row for row in each['levels'] if row['level_name'] in levels]
    for row in found if levels else [each['summary']]:
      names = ('mean_return', 'mean_return_low', 'mean_return_high')
      rows.append([each['trained_frames'], *(row.get(name) for name in names)])
  return rows


def provenance(run: reading.Run) -> dict[str, str]:
  """Command line, commit, host, versions, and how a run ended."""
  meta, ended = run.meta, run.ended
  versions = meta.get('versions')
  facts = {
    'directory': run.directory,
    'command line': meta.get('command_line'),
    'commit': meta.get('git_revision'),
    'host': meta.get('host'),
    'started': meta.get('started'),
    'ended': ended.get('time'),
    'how it ended': ended.get('description'),
    'exit status': ended.get('exit_status'),
    'python': meta.get('python'),
    **(versions if isinstance(versions, dict) else {}),
  }
  return {
    name: shlex.join(map(str, value)) if isinstance(value, list) else str(value)
    for name, value in facts.items()
    if value not in (None, '')
  }


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


def _mean(shares: Iterable[Mapping[str, float]]) -> dict[str, float]:
  """Name -> mean share, over those that told any."""
  told = [each for each in shares if each]
  sums: dict[str, float] = collections.defaultdict(float)
  for each in told:
    for name, share in each.items():
      sums[name] += share / len(told)
  return sums
