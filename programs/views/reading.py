"""A run directory, read for all that people look at.

Everything is there as far as it is there: files may not exist yet, be half
written, damaged, replaced, or be those of another run that was started in the
same place.
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
from programs.views import curves as curves_lib
from programs.views import evaluations

WINDOW_SECONDS = 10  # Of figures, while a run goes on.
LOG_BYTES = 65536  # Of a log, what is shown: its end.
_LOST_SECONDS = 15.0  # A record is written every second.
_RECENT_SECONDS = 600.0  # Over which a speed can be asked for.


class Run:
  """A run that is looked at again and again.

  Attributes:
    config: Group -> field -> value; empty where there is none.
    state: 'starting'; 'running'; 'finished', 'failed' or 'interrupted'; 'lost'
      where it neither goes on nor has said that it ended.
    figures: Of the last seconds of a run that goes on, of the whole of one
      that does not; None before there are any.
    age_seconds: Since the last record; None before there is one.
    suite: Curves; None before its name is known.
  """

  def __init__(self, directory: pathlib.Path) -> None:
    self.directory = directory
    self._identity: tuple[int, int] | None = None
    self._begin()

  def _begin(self) -> None:
    metrics = self.directory / 'metrics'
    self.config: Mapping[str, Mapping[str, Any]] = {}
    self.meta: Mapping[str, Any] = {}
    self.graph: graph_lib.ProgramGraph | None = None
    self.state = 'starting'
    self.figures: node_statistics.Figures | None = None
    self.verdict: verdict_lib.Verdict | None = None
    self.age_seconds: float | None = None
    self.learner = curves_lib.CurveFile(
      metrics / 'learner.csv',
      *('episode_return', 'loss', 'entropy', 'policy_lag_mean'),
    )
    self.levels = curves_lib.CurveFile(metrics / 'levels.csv', 'episode_return')
    self.suite: curves_lib.CurveFile | None = None
    self.evaluations = evaluations.Evaluations(self.directory / 'evaluations')
    self._changes = 0
    self._clock: collections.deque[tuple[float, float]] = collections.deque()
    self._begin_records()

  def _begin_records(self) -> None:
    self._reader = recording.Reader(self.directory / 'metrics/graph.jsonl')
    self._ends = recording.Ends()
    self._recent: collections.deque[recording.Record] = collections.deque(
      maxlen=WINDOW_SECONDS + 1
    )

  @property
  def is_over(self) -> bool:
    """Whether it does not go on."""
    return self.state not in ('starting', 'running')

  @property
  def level_name(self) -> str:
    """What it is trained on; empty where that is not known."""
    return str(self.config.get('run', {}).get('level_name', ''))

  @property
  def total_frames(self) -> float | None:
    """Where learning ends."""
    total = self.config.get('agent', {}).get('total_environment_frames')
    return total if isinstance(total, int | float) else None

  @property
  def started(self) -> float:
    """When it was started last, in seconds since 1970; 0: not known."""
    return timestamp(self.meta.get('started')) or 0.0

  @property
  def ended(self) -> Mapping[str, Any]:
    """How and when; empty where it has not said."""
    ended = self.meta.get('ended')
    return ended if isinstance(ended, dict) else {}

  @property
  def seconds(self) -> float | None:
    """For how long it has gone on since then; None: not known."""
    if not self.started:
      return None
    end = timestamp(self.ended.get('time'))
    lost = self.state == 'lost' and self.age_seconds
    return (end or time.time() - (lost or 0.0)) - self.started

  @property
  def version(self) -> str:
    """Another text after there was something to read besides records."""
    files = self.learner, self.levels, self.evaluations
    count = self._changes + sum(each.version for each in files)
    # Counted anew for another run and by another process.
    return f'{os.getpid()} {self._identity} {count}'

  def look(self) -> None:
    """Reads what is new."""
    identity = _identify(self.directory)
    if identity != self._identity:
      self._identity = identity
      self._begin()
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
      # Of another version, or not even ours.
      self._begin_records()
      self.figures = self.verdict = None

  def _read_curves(self) -> None:
    for row in self.learner.read():
      now, frames = (
        curves_lib.number(row, name) for name in ('time', 'frames')
      )
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
      self.suite = curves_lib.CurveFile(path, 'training_median')
    if self.suite:
      self.suite.read()

  def _read_records(self) -> None:
    records = self._reader.read()
    if self._reader.began_anew:
      self._ends = recording.Ends()
      self._recent.clear()
    for record in records:
      self._ends.add(record)
      self._recent.append(record)
    self.age_seconds = None
    if self._recent and self._recent[-1]['time'] >= self.started:
      self.age_seconds = time.time() - self._recent[-1]['time']
    is_fresh = (
      self.age_seconds is not None and self.age_seconds <= _LOST_SECONDS
    )
    self.state = self._judge_state(is_fresh)
    if self.is_over:
      found = self._ends.records()
      judged = found if self._ends.are_under_way else []
    else:
      last = self._recent[-1]['start'] if is_fresh else None
      found = [each for each in self._recent if each['start'] == last]
      judged = [each for each in found if recording.is_under_way(each)]
    self.figures = node_statistics.make_figures(found)
    told = node_statistics.make_figures(judged)
    self.verdict = (
      verdict_lib.judge(self.graph, told) if self.graph and told else None
    )

  def _judge_state(self, is_fresh: bool) -> str:
    if self.ended.get('kind'):
      return str(self.ended['kind'])
    if not is_fresh and not is_in_use(self.directory):
      return 'lost' if self.config or self.graph else 'starting'
    is_recorded = self.config.get('run', {}).get('monitor', True)
    return 'running' if is_fresh or not is_recorded else 'starting'

  def frames_per_second(self, seconds: float) -> float | None:
    """Mean over the last seconds, or as much as there is; None: not known."""
    points = list(self._clock)
    if len(points) < 2:
      return None
    late = (
      point for point in points[:-1] if points[-1][0] - point[0] <= seconds
    )
    return _speed(next(late, points[-2]), points[-1])

  def mean_frames_per_second(self) -> float | None:
    """Mean over all that is known; None where nothing is."""
    speeds = self.learner.curves['frames_per_second'].to_dict()['y']
    return sum(speeds) / len(speeds) if speeds else None

  def log(self, node: str, size: int = LOG_BYTES) -> dict[str, Any] | None:
    """The end of a node's log, in whole lines; None: there is no such node."""
    if self.graph is None or node not in {n.name for n in self.graph.nodes}:
      return None
    # What is colocated writes to the log of its process.
    name = '_'.join(node.split('/')[:2]) + '.log'
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
  """The graph that a run left; None where there is none of this version."""
  try:
    text = (directory / 'graph.json').read_text(encoding='utf-8')
    return graph_lib.ProgramGraph.from_json(text)
  except (OSError, ValueError, KeyError, TypeError):
    return None


def is_in_use(directory: pathlib.Path) -> bool:
  """Whether a process runs in a run directory now: it holds the lock."""
  try:
    with open(directory / '.lock', encoding='utf-8') as file:
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except BlockingIOError:
    return True
  except OSError:
    return False
  return False


def timestamp(text: Any) -> float | None:
  """Seconds since 1970 of a time in ISO 8601; None where it is none."""
  try:
    return datetime.datetime.fromisoformat(text).timestamp()
  except (TypeError, ValueError):
    return None


def _read_groups(path: pathlib.Path) -> Mapping[str, Mapping[str, Any]]:
  """A `config.json`; empty where it is damaged or not there."""
  groups = _read_json(path)
  is_good = all(isinstance(group, dict) for group in groups.values())
  return groups if is_good else {}


def _speed(
  first: tuple[float, float], last: tuple[float, float]
) -> float | None:
  """Frames a second between two times; None where these are the same."""
  seconds, frames = last[0] - first[0], last[1] - first[1]
  return max(frames, 0.0) / seconds if seconds > 0 else None


def _identify(directory: pathlib.Path) -> tuple[int, int] | None:
  """Another value where another run stands in the directory's place."""
  with contextlib.suppress(OSError):
    status = os.stat(directory)
    return status.st_dev, status.st_ino
  return None


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  """Empty where there is no such file, or no object in it."""
  with contextlib.suppress(OSError, ValueError):
    content = json.loads(path.read_text(encoding='utf-8'))
    return content if isinstance(content, dict) else {}
  return {}
