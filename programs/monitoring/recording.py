"""The records of the monitor: `metrics/graph.jsonl`, a JSON line a second.

Counters run from the start of each node and table, so that the difference of
any two records is exact, even if records between them are lost:

  time       seconds since 1970
  start      time at which the monitor started, and all counters with it
  nodes      name -> last push: counters 'seconds' and 'calls' by activity,
             'counts' by name; current 'activity' and 'activity_seconds';
             'kinds', the state of each activity; 'gauges' by name; 'host';
             'age_seconds' since the push
  tables     name -> 'size', 'capacity', 'insert_headroom' of the rate limiter
             (null: it never blocks); counters 'inserts', 'samples',
             'waiting_for_samples_seconds', 'waiting_for_inserts_seconds'; null
             while the server does not answer
  processes  node -> counter 'cpu_seconds', and 'rss_bytes', children included;
             of nodes that share no process
  machine    of the monitor: 'cores' that may be used; counters 'busy_seconds'
             and 'total_seconds' over them; 'memory_used_bytes', 'memory_bytes'
  warnings   current warnings of the watchdog
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

MAX_BYTES = 16_000_000

_PARTS = {
  *('time', 'start', 'nodes', 'tables', 'processes', 'machine', 'warnings')
}


class Recorder:
  """Appends records, and drops every second one when the file is too long."""

  def __init__(self, path: pathlib.Path, max_bytes: int = MAX_BYTES) -> None:
    self._path = path
    self._max_bytes = max_bytes
    path.parent.mkdir(parents=True, exist_ok=True)

  def write(self, record: Record) -> None:
    """Append a record.

    Raises:
      OSError: The file cannot be written, or its directory is gone.
    """
    line = json.dumps(record, separators=(',', ':')).encode() + b'\n'
    with open(self._path, 'ab') as file:
      file.write(line)
      size = file.tell()
    if size > self._max_bytes:
      self._thin()

  def _thin(self) -> None:
    """Keep every second record, so that older records lie farther apart."""
    lines = self._path.read_bytes().splitlines(keepends=True)
    temporary = self._path.with_name(f'.{self._path.name}.{os.getpid()}')
    # Counted from the end, so that the newest record stays.
    temporary.write_bytes(b''.join(lines[::-2][::-1]))
    os.replace(temporary, self._path)


class LineReader:
  """Follows the complete lines of a file that may be cut or replaced.

  Attributes:
    is_new_file: True if the last `read_lines` was of another file than before,
      or found that the file is gone.
  """

  def __init__(self, path: pathlib.Path) -> None:
    self.is_new_file = False
    self._path = path
    self._offset, self._inode = 0, -1

  def read_lines(self) -> bytes:
    """Return the lines since the last call; all of a new file."""
    try:
      with open(self._path, 'rb') as file:
        status = os.fstat(file.fileno())
        self.is_new_file = (
          status.st_ino != self._inode or status.st_size < self._offset
        )
        if self.is_new_file:
          self._offset, self._inode = 0, status.st_ino
        file.seek(self._offset)
        data = file.read()
    except OSError:
      self.is_new_file = self._inode != -1
      self._offset, self._inode = 0, -1
      return b''
    lines = data[: data.rfind(b'\n') + 1]  # Half a line may be in the writing.
    self._offset += len(lines)
    return lines


class Reader(LineReader):
  """Follows a file of records."""

  def read(self) -> list[Record]:
    """Return the records since the last call; all of a new file."""
    records: list[Record] = []
    for line in self.read_lines().splitlines():
      with contextlib.suppress(ValueError):  # A crash cut the line short.
        record = json.loads(line)
        if isinstance(record, dict) and record.keys() >= _PARTS:
          records.append(record)
    return records


def is_under_way(record: Record) -> bool:
  """Return True if data flows: the learner has had a batch and is not done.

  Before that all nodes wait for the slowest start; after it the last
  evaluation runs while the queue is full. Neither shows a bottleneck.
  """
  return record['tables'] is not None and any(
    node['calls'].get('waiting_for_data')
    and node['kinds'].get(node['activity']) != 'idle'
    for node in record['nodes'].values()
  )


class Endpoints:
  """The first and the last record of each start of the monitor.

  Counts only records that are under way, unless no start has two of them.
  """

  def __init__(self) -> None:
    self._all: dict[float, list[Record]] = {}
    self._under_way: dict[float, list[Record]] = {}

  def add(self, record: Record) -> None:
    """Add the next record, in order of time."""
    self._all.setdefault(record['start'], [record, record])[1] = record
    if is_under_way(record):
      ends = self._under_way.setdefault(record['start'], [record, record])
      ends[1] = record

  @property
  def are_under_way(self) -> bool:
    """True if the records can show a bottleneck."""
    return any(first is not last for first, last in self._under_way.values())

  def records(self) -> list[Record]:
    """Return two records of each start."""
    pairs = self._under_way if self.are_under_way else self._all
    return [record for pair in pairs.values() for record in pair]


def deltas(starts: Iterable[Sequence[Record]]) -> dict[str, Any]:
  """Sum the growth of all counters over several starts of the monitor.

  Args:
    starts: Records of one start each, by time.

  Returns:
    A record of the differences; 'time' is the seconds covered. 'tables' and
    'tables_time' run from the first to the last record in which the server
    answered. Empty without starts.
  """
  total: dict[str, Any] = {}
  for records in starts:
    answered = [record for record in records if record['tables'] is not None]
    first, last = (answered[0], answered[-1]) if answered else ({}, {})
    delta = {
      **_growth(records[0], records[-1]),
      'tables': _growth(first.get('tables', {}), last.get('tables', {})),
      'tables_time': last.get('time', 0.0) - first.get('time', 0.0),
    }
    total = _add(total, delta)
  return total


def _growth(
  first: Mapping[str, Any], last: Mapping[str, Any]
) -> dict[str, Any]:
  """Return the growth of each number; all of it after a restart at 0."""
  grown: dict[str, Any] = {}
  for name, value in last.items():
    if isinstance(value, Mapping):
      grown[name] = _growth(first.get(name) or {}, value)
    elif isinstance(value, int | float):
      before = first.get(name) or 0
      grown[name] = value - before if value >= before else value
  return grown


def _add(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
  both = dict(one)
  for name, value in other.items():
    if isinstance(value, Mapping):
      both[name] = _add(both.get(name, {}), value)
    else:
      both[name] = both.get(name, 0) + value
  return both
