"""A run directory as it is now, or as it was when the run ended."""

import collections
import dataclasses
import datetime
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
    # First and last record of each start of the monitor.
    self._ends: dict[float, list[recording.Record]] = {}
    self._recent: collections.deque[recording.Record] = collections.deque(
      maxlen=WINDOW_SECONDS + 1
    )

  def look(self) -> Snapshot | None:
    """What is to see now; None as long as there is no graph."""
    graph = self._read_graph()
    if graph is None:
      return None
    self._read_records()
    meta = self._read_meta()
    state = (meta.get('ended') or {}).get('kind', 'running')
    age = None
    if self._recent and self._recent[-1]['time'] >= _started(meta):
      age = time.time() - self._recent[-1]['time']
      if state == 'running' and age > _LOST_SECONDS:
        state = 'lost'
    figures = None
    if state != 'running':
      ends = [record for pair in self._ends.values() for record in pair]
      figures = figures_lib.make_figures(ends)
    elif age is not None:
      figures = self._latest_figures()
    return Snapshot(
      graph,
      state,
      meta,
      figures,
      verdict_lib.judge(graph, figures) if figures else None,
      age,
    )

  def _latest_figures(self) -> figures_lib.Figures | None:
    start = self._recent[-1]['start']
    return figures_lib.make_figures(
      [record for record in self._recent if record['start'] == start]
    )

  def _read_records(self) -> None:
    records = self._reader.read()
    if self._reader.began_anew:
      self._ends.clear()
      self._recent.clear()
    for record in records:
      self._ends.setdefault(record['start'], [record, record])[1] = record
      self._recent.append(record)

  def _read_graph(self) -> graph_lib.ProgramGraph | None:
    try:
      text = (self._directory / 'graph.json').read_text(encoding='utf-8')
    except FileNotFoundError:
      return None
    return graph_lib.ProgramGraph.from_json(text)

  def _read_meta(self) -> Mapping[str, Any]:
    try:
      return json.loads((self._directory / 'meta.json').read_text('utf-8'))
    except (FileNotFoundError, ValueError):
      return {}


def _started(meta: Mapping[str, Any]) -> float:
  """When the run was started last, in seconds since 1970."""
  if 'started' not in meta:
    return 0.0
  return datetime.datetime.fromisoformat(meta['started']).timestamp()
