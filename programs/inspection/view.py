"""What a page shows of a run, as plain data, read from its directory.

Everything is there as far as it is there: files may not exist yet, be replaced,
or be those of another run that was started in the same place.
"""

import collections
import dataclasses
import datetime
import json
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from programs.inspection import boxes, drawing, live
from programs.inspection import curves as curves_lib
from programs.inspection import evaluations as evaluations_lib

LOG_BYTES = 65536  # Of a log, what is shown: its end.
_FRESH_SECONDS = 0.4  # Several pages share what was read so recently.

Settings = Sequence[Mapping[str, Any]]


class View:
  """A run that is looked at again and again; safe for threads."""

  def __init__(
    self,
    directory: pathlib.Path,
    describe: Callable[[Mapping[str, Any]], Settings],
  ) -> None:
    """Reads nothing yet.

    Args:
      directory: Of the run.
      describe: From the content of `config.json` to a list of its settings.
    """
    self._directory = directory
    self._describe = describe
    self._lock = threading.RLock()
    self._looked = -_FRESH_SECONDS
    self._identity: Any = None
    self._begin()

  def _begin(self) -> None:
    """Forgets what was read."""
    self._run = live.Run(self._directory)
    self._snapshot: live.Snapshot | None = None
    self._curves = curves_lib.LearningCurves(self._directory / 'metrics')
    folder = self._directory / 'evaluations'
    self._evaluations = evaluations_lib.Evaluations(folder)
    self._config: Mapping[str, Any] = {}
    self._changes: collections.Counter[str] = collections.Counter()

  def _look(self) -> None:
    """Reads what is new."""
    if time.monotonic() - self._looked < _FRESH_SECONDS:
      return
    identity = self._identify()
    if identity != self._identity:
      self._identity = identity
      self._begin()
    before = self._snapshot, self._config
    self._snapshot = self._run.look() or self._snapshot
    self._config = _read_json(self._directory / 'config.json') or self._config
    self._curves.read()
    self._evaluations.read()
    if self._config != before[1]:
      self._changes['configuration'] += 1
    if self._snapshot and (
      before[0] is None or self._snapshot.graph != before[0].graph
    ):
      self._changes['graph'] += 1
    self._looked = time.monotonic()

  def _identify(self) -> Any:
    """Another value where another run stands in the directory's place."""
    try:
      status = os.stat(self._directory)
    except OSError:
      return None
    return status.st_dev, status.st_ino

  def state(self, role: str = '') -> dict[str, Any]:
    """What changes all the time.

    Args:
      role: Whose nodes are told one by one.
    """
    with self._lock:
      self._look()
      snapshot = self._snapshot
      figures = snapshot.figures if snapshot else None
      graph = snapshot.graph if snapshot else None
      return {
        'versions': self._versions(),
        'run': self._describe_run(),
        'progress': self._progress(),
        'figures': figures
        and {
          'seconds': figures.seconds,
          'cores': figures.cores,
          'machine_busy': figures.machine_busy,
        },
        'verdict': snapshot
        and snapshot.verdict
        and dataclasses.asdict(snapshot.verdict),
        'warnings': list(figures.warnings) if figures else [],
        'roles': boxes.roles(graph, figures) if graph and figures else {},
        'edges': boxes.edges(graph, figures) if graph and figures else {},
        'nodes': boxes.nodes(snapshot, role) if snapshot else {},
      }

  def graph(self) -> dict[str, Any]:
    """The drawing, with room for two lines in each box, and all roles."""
    with self._lock:
      self._look()
      graph = self._snapshot.graph if self._snapshot else None
      if graph is None:
        return {'svg': None, 'roles': []}
      return {
        'svg': drawing.svg(graph, {role: ('', '') for role in graph.roles}),
        'roles': [
          {
            'role': role,
            'title': drawing.title(role, nodes),
            'about': nodes[0].about,
            'runs': nodes[0].function,
            'nodes': [node.name for node in nodes],
          }
          for role, nodes in graph.roles.items()
        ],
      }

  def curves(self, level: str = '') -> dict[str, Any]:
    """Learning curves; of all levels where there is none of this name."""
    with self._lock:
      self._look()
      if level not in self._curves.levels():
        return self._curves.to_dict()
      return {
        **self._curves.to_dict(level),
        'evaluations': self._evaluations.points(level),
      }

  def evaluations(self, name: str = '') -> dict[str, Any]:
    """The evaluation in a folder; see `evaluations.Evaluations.to_dict`."""
    with self._lock:
      self._look()
      return self._evaluations.to_dict(name)

  def configuration(self) -> Settings:
    """The settings, one by one."""
    with self._lock:
      self._look()
      return self._describe(self._config) if self._config else []

  def log(self, node: str) -> dict[str, Any] | None:
    """The end of a node's log; None where there is no such node."""
    with self._lock:
      self._look()
      graph = self._snapshot.graph if self._snapshot else None
    if graph is None or node not in {each.name for each in graph.nodes}:
      return None
    # What is colocated writes to the log of its process.
    name = '_'.join(node.split('/')[:2]) + '.log'
    return {'name': name, **_tail(self._directory / 'logs' / name)}

  def video(self, evaluation: str, name: str) -> pathlib.Path | None:
    """A video of an evaluation, if there is one of these names."""
    with self._lock:
      self._look()
      return self._evaluations.video(evaluation, name)

  def _versions(self) -> dict[str, str]:
    """Part -> what changes when it does."""
    counts = {
      'graph': self._changes['graph'],
      'configuration': self._changes['configuration'],
      'curves': self._curves.version,
      'evaluations': self._evaluations.version,
    }
    # Counted anew for another run and by another server.
    whose = f'{os.getpid()} {self._identity}'
    return {part: f'{whose} {count}' for part, count in counts.items()}

  def _describe_run(self) -> dict[str, Any]:
    snapshot, config = self._snapshot, self._config.get('run', {})
    is_recorded = config.get('monitor', True)
    described = {
      'directory': str(self._directory),
      'level': config.get('level_name', ''),
      'state': 'starting',
      'is_recorded': is_recorded,
    }
    if snapshot is None:
      return described
    ended = snapshot.meta.get('ended') or {}
    begun = _timestamp(snapshot.meta.get('started'))
    end = _timestamp(ended.get('time')) or time.time()
    is_starting = snapshot.state == 'running' and not (
      snapshot.figures or not is_recorded
    )
    return {
      **described,
      'state': 'starting' if is_starting else snapshot.state,
      'description': ended.get('description', ''),
      'seconds': end - begun if begun else None,
      'age_seconds': snapshot.age_seconds,
    }

  def _progress(self) -> dict[str, Any]:
    row = self._curves.last
    total = self._config.get('agent', {}).get('total_environment_frames')
    snapshot = self._snapshot
    is_over = snapshot is not None and snapshot.state != 'running'
    since = None
    if snapshot and is_over:
      since = _timestamp(snapshot.meta.get('started'))
    rate = self._curves.frames_per_second(since)
    frames = row.get('frames', 0.0)
    return {
      'frames': frames,
      'total': total,
      'frames_per_second': rate,
      'seconds_left': max(total - frames, 0) / rate
      if rate and total and not is_over
      else None,
      'episode_return': row.get('episode_return'),
    }


def _timestamp(text: str | None) -> float | None:
  """Seconds since 1970 of a time in ISO 8601."""
  return datetime.datetime.fromisoformat(text).timestamp() if text else None


def _tail(path: pathlib.Path) -> dict[str, Any]:
  """The end of a text file, from the start of a line."""
  try:
    with open(path, 'rb') as file:
      size = file.seek(0, os.SEEK_END)
      file.seek(max(size - LOG_BYTES, 0))
      data = file.read(LOG_BYTES)
  except OSError:
    return {'text': '', 'is_whole': True}
  if size > LOG_BYTES:
    data = data.partition(b'\n')[2]
  return {
    'text': data.decode('utf-8', 'replace'),
    'is_whole': size <= LOG_BYTES,
  }


def _read_json(path: pathlib.Path) -> Any:
  """The content; None where there is none that can be read."""
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return None
