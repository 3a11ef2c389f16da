"""Read a run directory for terminal, dashboard and report.

Its files may not exist yet, be incomplete, damaged or replaced, or belong to
another run that was started in the same place; none of that is an error.
"""

import collections
import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics, recording
from programs.monitoring import verdict as verdict_lib
from programs.views import metrics

WINDOW_SECONDS = 10  # Of the statistics of a live run.
LOG_BYTES = 65536  # Shown from the end of a log.
_LOST_SECONDS = 15.0  # Without a record, though one is due every second.
_RECENT_SECONDS = 600.0  # Longest window of `frames_per_second`.


class Run:
  """A run, live or ended; `refresh` reads what is new.

  Attributes:
    config: Group -> field -> value; empty if unknown.
    state: 'starting'; 'running'; 'finished', 'failed' or 'interrupted'; 'lost'
      if it no longer runs but has not recorded its end.
    statistics: Over the last seconds of a live run, over all of an ended one;
      None without records.
    age_seconds: Seconds since the last record; None without records.
    suite: Curves of the suite's scores; None before its name is known.
  """

  def __init__(self, directory: pathlib.Path) -> None:
    self.directory = directory
    self._identity: tuple[int, int] | None = None
    self._clear()

  def _clear(self) -> None:
    folder = self.directory / 'metrics'
    self.config: Mapping[str, Mapping[str, Any]] = {}
    self.meta: Mapping[str, Any] = {}
    self.graph: graph_lib.ProgramGraph | None = None
    self.state = 'starting'
    self.statistics: node_statistics.ProgramStatistics | None = None
    self.verdict: verdict_lib.Verdict | None = None
    self.age_seconds: float | None = None
    self.learner = metrics.CurveFile(
      folder / 'learner.csv',
      *('episode_return', 'loss', 'entropy', 'policy_lag_mean'),
    )
    self.levels = metrics.CurveFile(folder / 'levels.csv', 'episode_return')
    self.suite: metrics.CurveFile | None = None
    self.evaluations = metrics.Evaluations(self.directory / 'evaluations')
    self._changes = 0
    self._clock: collections.deque[tuple[float, float]] = collections.deque()
    self._clear_records()

  def _clear_records(self) -> None:
    self._reader = recording.Reader(self.directory / 'metrics/graph.jsonl')
    self._endpoints = recording.Endpoints()
    self._recent: collections.deque[recording.Record] = collections.deque(
      maxlen=WINDOW_SECONDS + 1
    )

  @property
  def is_over(self) -> bool:
    """True once the run has ended or is lost."""
    return self.state not in ('starting', 'running')

  @property
  def level_name(self) -> str:
    """Level or suite of the training; '' if unknown."""
    return str(self.config.get('run', {}).get('level_name', ''))

  @property
  def total_frames(self) -> float | None:
    """Frames at which training ends; None if unknown."""
    total = self.config.get('agent', {}).get('total_environment_frames')
    return total if isinstance(total, int | float) else None

  @property
  def started(self) -> float:
    """Time of the last start in seconds since 1970; 0 if unknown."""
    return timestamp(self.meta.get('started')) or 0.0

  @property
  def ended(self) -> Mapping[str, Any]:
    """Recorded end, with 'kind' and 'time'; empty if there is none."""
    ended = self.meta.get('ended')
    return ended if isinstance(ended, dict) else {}

  @property
  def seconds(self) -> float | None:
    """Duration since the last start; None if unknown."""
    if not self.started:
      return None
    end = timestamp(self.ended.get('time'))
    lost = self.state == 'lost' and self.age_seconds
    return (end or time.time() - (lost or 0.0)) - self.started

  @property
  def version(self) -> str:
    """A text that changes whenever something besides records was read."""
    files = self.learner, self.levels, self.evaluations
    count = self._changes + sum(each.version for each in files)
    # The count restarts for another run and in another process.
    return f'{os.getpid()} {self._identity} {count}'

  def refresh(self) -> None:
    """Read what is new."""
    identity = _identify(self.directory)
    if identity != self._identity:
      self._identity = identity
      self._clear()
    before = self.config, self.graph
    self.config = _read_groups(self.directory / 'config.json') or self.config
    self.graph = read_graph(self.directory) or self.graph
    self._changes += before != (self.config, self.graph)
    self.meta = _read_json(self.directory / 'meta.json')
    self._read_curves()
    self.evaluations.read()
    try:
      self._read_records()
    except (ValueError, KeyError, TypeError, AttributeError):
      # Records of another version.
      self._clear_records()
      self.statistics = self.verdict = None

  def _read_curves(self) -> None:
    for record in self.learner.read():
      now, frames = (metrics.number(record, n) for n in ('time', 'frames'))
      if self._clock and now < self._clock[-1][0]:  # Another file.
        self._clock.clear()
      if self._clock and (speed := _speed(self._clock[-1], (now, frames))):
        self.learner.curves['frames_per_second'].add(frames, speed)
      self._clock.append((now, frames))
      while self._clock[0][0] < now - _RECENT_SECONDS:
        self._clock.popleft()
    self.levels.read()
    if self.suite is None and self.level_name.isidentifier():
      path = self.directory / 'metrics' / f'{self.level_name}.csv'
      self.suite = metrics.CurveFile(path, 'training_median')
    if self.suite:
      self.suite.read()

  def _read_records(self) -> None:
    records = self._reader.read()
    if self._reader.is_new_file:
      self._endpoints = recording.Endpoints()
      self._recent.clear()
    for record in records:
      self._endpoints.add(record)
      self._recent.append(record)
    self.age_seconds = None
    if self._recent and self._recent[-1]['time'] >= self.started:
      self.age_seconds = time.time() - self._recent[-1]['time']
    is_fresh = (
      self.age_seconds is not None and self.age_seconds <= _LOST_SECONDS
    )
    self.state = self._judge_state(is_fresh)
    if self.is_over:
      found = self._endpoints.records()
      judged = found if self._endpoints.are_under_way else []
    else:
      last = self._recent[-1]['start'] if is_fresh else None
      found = [each for each in self._recent if each['start'] == last]
      judged = [each for each in found if recording.is_under_way(each)]
    self.statistics = node_statistics.make_statistics(found)
    flowing = node_statistics.make_statistics(judged)
    self.verdict = (
      verdict_lib.judge(self.graph, flowing) if self.graph and flowing else None
    )

  def _judge_state(self, is_fresh: bool) -> str:
    if self.ended.get('kind'):
      return str(self.ended['kind'])
    if not is_fresh and not is_in_use(self.directory):
      return 'lost' if self.config or self.graph else 'starting'
    is_recorded = self.config.get('run', {}).get('monitor', True)
    return 'running' if is_fresh or not is_recorded else 'starting'

  def frames_per_second(self, seconds: float) -> float | None:
    """Return the mean over the last `seconds`, or less if the run is young."""
    points = list(self._clock)
    if len(points) < 2:
      return None
    late = (
      point for point in points[:-1] if points[-1][0] - point[0] <= seconds
    )
    return _speed(next(late, points[-2]), points[-1])

  def mean_frames_per_second(self) -> float | None:
    """Return the mean over the whole run; None if unknown."""
    speeds = self.learner.curves['frames_per_second'].to_dict()['y']
    return sum(speeds) / len(speeds) if speeds else None

  def log(self, node: str, size: int = LOG_BYTES) -> dict[str, Any] | None:
    """Return the last lines of a node's log; None if there is no such node."""
    if self.graph is None or node not in {n.name for n in self.graph.nodes}:
      return None
    name = graph_lib.log_name(node)
    length, data = 0, b''
    with (
      contextlib.suppress(OSError),
      open(self.directory / 'logs' / name, 'rb') as file,
    ):
      length = file.seek(0, os.SEEK_END)
      file.seek(max(length - size, 0))
      data = file.read(size)
    if length > size:
      data = data.partition(b'\n')[2]
    text = data.decode('utf-8', 'replace')
    return {'name': name, 'text': text, 'is_whole': length <= size}


def read_graph(directory: pathlib.Path) -> graph_lib.ProgramGraph | None:
  """Read the graph of a run; None if missing or of another version."""
  try:
    text = (directory / 'graph.json').read_text(encoding='utf-8')
    return graph_lib.ProgramGraph.from_json(text)
  except (OSError, ValueError, KeyError, TypeError):
    return None


def is_in_use(directory: pathlib.Path) -> bool:
  """Return True if a process holds the lock of a run directory."""
  try:
    with open(directory / '.lock', encoding='utf-8') as file:
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except BlockingIOError:
    return True
  except OSError:
    return False
  return False


def timestamp(text: Any) -> float | None:
  """Convert a time in ISO 8601 to seconds since 1970; None if it is none."""
  try:
    return datetime.datetime.fromisoformat(text).timestamp()
  except (TypeError, ValueError):
    return None


def _read_groups(path: pathlib.Path) -> Mapping[str, Mapping[str, Any]]:
  groups = _read_json(path)
  is_good = all(isinstance(group, dict) for group in groups.values())
  return groups if is_good else {}


def _speed(
  first: tuple[float, float], last: tuple[float, float]
) -> float | None:
  seconds, frames = last[0] - first[0], last[1] - first[1]
  return max(frames, 0.0) / seconds if seconds > 0 else None


def _identify(directory: pathlib.Path) -> tuple[int, int] | None:
  with contextlib.suppress(OSError):
    status = os.stat(directory)
    return status.st_dev, status.st_ino
  return None


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  """Read a JSON object; empty if missing or damaged."""
  with contextlib.suppress(OSError, ValueError):
    content = json.loads(path.read_text(encoding='utf-8'))
    return content if isinstance(content, dict) else {}
  return {}
