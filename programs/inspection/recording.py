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
             where the server has not told for some seconds
  processes  node -> sum 'cpu_seconds' and 'rss_bytes', with its children
  machine    the monitor's: 'cores' that may be used; sums 'busy_seconds' and
             'total_seconds' over these; 'memory_used_bytes', 'memory_bytes'
  warnings   what the watchdog says now
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

MAX_BYTES = 16_000_000

_PARTS = {
  'time',
  'start',
  'nodes',
  'tables',
  'processes',
  'machine',
  'warnings',
}


class Recorder:
  """Appends records; thins the older ones when there are too many bytes."""

  def __init__(self, path: pathlib.Path, max_bytes: int = MAX_BYTES) -> None:
    """Makes the file's folder, if it is not there.

    Args:
      path: Made at the first record.
      max_bytes: When the file is that long, every second line of it goes.
    """
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
    """Starts before the file's first record; it need not exist yet."""
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
