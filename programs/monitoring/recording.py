"""What the monitor records: `metrics/graph.jsonl`, a line every second.

A record holds sums since the start of each node and table, so that any two
tell exactly what was between them, whatever lies or is lost in between:

  time       seconds since 1970
  start      the same, of the monitor's start: other sums than before it
  nodes      name -> what it pushed last: sums 'seconds' and 'calls' by
             activity, 'counts' by name; the present 'activity' and
             'activity_seconds'; 'kinds' of activities; 'gauges' by name;
             'host'; and 'age_seconds' of the push
  tables     name -> 'size', 'capacity', 'insert_headroom' of the rate limiter
             (null: it never waits); sums 'inserts', 'samples',
             'waiting_for_samples_seconds', 'waiting_for_inserts_seconds'; null
             where the server has not answered for some seconds
  processes  node -> sum 'cpu_seconds' and 'rss_bytes', with its children; of
             nodes that push and have a process of their own
  machine    the monitor's: 'cores' that may be used; sums 'busy_seconds' and
             'total_seconds' over these; 'memory_used_bytes', 'memory_bytes'
  warnings   what the watchdog says now
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
  """Appends records; thins the older ones when there are too many bytes."""

  def __init__(self, path: pathlib.Path, max_bytes: int = MAX_BYTES) -> None:
    self._path = path
    self._max_bytes = max_bytes
    path.parent.mkdir(parents=True, exist_ok=True)

  def write(self, record: Record) -> None:
    """Appends a record.

    Raises:
      OSError: The file cannot be written, or its folder is gone.
    """
    line = json.dumps(record, separators=(',', ':')).encode() + b'\n'
    with open(self._path, 'ab') as file:
      file.write(line)
      size = file.tell()
    if size > self._max_bytes:
      self._thin()

  def _thin(self) -> None:
    """Keeps every second record: the older, the farther apart they get."""
    lines = self._path.read_bytes().splitlines(keepends=True)
    temporary = self._path.with_name(f'.{self._path.name}.{os.getpid()}')
    # From the end, so that the newest stays.
    temporary.write_bytes(b''.join(lines[::-2][::-1]))
    os.replace(temporary, self._path)


class Reader:
  """Follows a file of records, thinned and replaced as it may be."""

  def __init__(self, path: pathlib.Path) -> None:
    self.began_anew = True  # Whether `read` told all of another file.
    self._path = path
    self._offset, self._inode = 0, -1

  def read(self) -> list[Record]:
    """The records since the last call; all of them where the file is new."""
    with contextlib.ExitStack() as stack:
      try:
        file = stack.enter_context(open(self._path, 'rb'))
      except OSError:
        return []
      status = os.fstat(file.fileno())
      if status.st_ino != self._inode or status.st_size < self._offset:
        self._offset, self._inode = 0, status.st_ino
      self.began_anew = not self._offset
      file.seek(self._offset)
      text = file.read()
    whole = text[: text.rfind(b'\n') + 1]
    self._offset += len(whole)
    records: list[Record] = []
    for line in whole.splitlines():
      with contextlib.suppress(ValueError):  # Half a line, left by a crash.
        record = json.loads(line)
        if isinstance(record, dict) and record.keys() >= _PARTS:
          records.append(record)
    return records


def is_under_way(record: Record) -> bool:
  """Whether data flows: who samples has had a batch, and is not done.

  Before, all wait for the slowest start; after, the last evaluation runs while
  the queue is full. Neither says which side is slow.
  """
  return record['tables'] is not None and any(
    node['calls'].get('waiting_for_data')
    and node['kinds'].get(node['activity']) != 'idle'
    for node in record['nodes'].values()
  )


class Ends:
  """The first and the last record of each start of the monitor.

  Of those that are under way; of all where fewer than two of a start are.
  """

  def __init__(self, records: Iterable[Record] = ()) -> None:
    self._all: dict[float, list[Record]] = {}
    self._under_way: dict[float, list[Record]] = {}
    for record in records:
      self.add(record)

  def add(self, record: Record) -> None:
    """Takes the next record, in the order of their time."""
    self._all.setdefault(record['start'], [record, record])[1] = record
    if is_under_way(record):
      ends = self._under_way.setdefault(record['start'], [record, record])
      ends[1] = record

  @property
  def are_under_way(self) -> bool:
    """Whether they say which side is slow."""
    return any(first is not last for first, last in self._under_way.values())

  def records(self) -> list[Record]:
    """Two records of each start."""
    pairs = self._under_way if self.are_under_way else self._all
    return [record for pair in pairs.values() for record in pair]


def deltas(stretches: Iterable[Sequence[Record]]) -> dict[str, Any]:
  """What the sums have grown by over stretches of records.

  Args:
    stretches: Records of one start each, by their time.

  Returns:
    As a record, with the seconds between as 'time'. 'tables' and 'tables_time'
    are from the first to the last record in which the server answered. Empty
    without stretches.
  """
  total: dict[str, Any] = {}
  for records in stretches:
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
  """By how much each number has grown; all of it where it began anew."""
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
