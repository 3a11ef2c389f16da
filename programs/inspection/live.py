"""A run directory as it is now, or as it was when the run ended."""

import collections
import dataclasses
import datetime
import fcntl
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any, Literal

from programs.inspection import figures as figures_lib
from programs.inspection import graph as graph_lib
from programs.inspection import recording
from programs.inspection import verdict as verdict_lib

WINDOW_SECONDS = 10  # Of figures, while a run goes on.
_LOST_SECONDS = 15.0  # A record is written every second.


@dataclasses.dataclass(frozen=True)
class Snapshot:
  """What is to see of a run.

  Attributes:
    graph: Of its program.
    state: 'running'; 'finished', 'failed' or 'interrupted'; 'lost' where it
      neither goes on nor has said that it ended.
    meta: What `meta.json` holds.
    figures: Of the last seconds of a run that goes on, of the whole of one
      that does not; None before there are any.
    verdict: On these figures, if there can be one.
    age_seconds: Since the last record; None before there is one.
  """

  graph: graph_lib.ProgramGraph
  state: Literal['running', 'finished', 'failed', 'interrupted', 'lost']
  meta: Mapping[str, Any]
  figures: figures_lib.Figures | None
  verdict: verdict_lib.Verdict | None
  age_seconds: float | None


class Run:
  """A run that is looked at again and again."""

  def __init__(self, directory: pathlib.Path) -> None:
    """Reads nothing yet.

    Args:
      directory: Of the run, which may be starting, go on or have ended.
    """
    self._directory = directory
    self._reader = recording.Reader(directory / 'metrics' / 'graph.jsonl')
    self._ends = recording.Ends()
    self._recent: collections.deque[recording.Record] = collections.deque(
      maxlen=WINDOW_SECONDS + 1
    )

  def look(self) -> Snapshot | None:
    """What is to see now; None as long as there is no graph."""
    graph = read_graph(self._directory)
    if graph is None:
      return None
    self._read_records()
    meta = self._read_meta()
    state = (meta.get('ended') or {}).get('kind', 'running')
    age = None
    if self._recent and self._recent[-1]['time'] >= _started(meta):
      age = time.time() - self._recent[-1]['time']
    is_fresh = age is not None and age <= _LOST_SECONDS
    if state == 'running' and not is_fresh and not is_in_use(self._directory):
      state = 'lost'
    if state != 'running':
      records, judged = self._ends.records(), self._ends.records()
      if not self._ends.are_under_way:
        judged = []
    else:
      records = self._latest() if is_fresh else []
      judged = [record for record in records if recording.is_under_way(record)]
    judged_figures = figures_lib.make_figures(judged)
    return Snapshot(
      graph,
      state,
      meta,
      figures_lib.make_figures(records),
      verdict_lib.judge(graph, judged_figures) if judged_figures else None,
      age,
    )

  def _latest(self) -> list[recording.Record]:
    """The last seconds of the last start."""
    start = self._recent[-1]['start']
    return [record for record in self._recent if record['start'] == start]

  def _read_records(self) -> None:
    records = self._reader.read()
    if self._reader.began_anew:
      self._ends = recording.Ends()
      self._recent.clear()
    for record in records:
      self._ends.add(record)
      self._recent.append(record)

  def _read_meta(self) -> Mapping[str, Any]:
    try:
      return json.loads((self._directory / 'meta.json').read_text('utf-8'))
    except (OSError, ValueError):
      return {}


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


def _started(meta: Mapping[str, Any]) -> float:
  """When the run was started last, in seconds since 1970."""
  if not meta.get('started'):
    return 0.0
  return datetime.datetime.fromisoformat(meta['started']).timestamp()
