"""Log files of nodes."""

import os
import pathlib
import time

_TAIL_BYTES = 65536


class Log:
  """Log of a node: output is appended; the tail is of the latest start."""

  def __init__(self, folder: pathlib.Path, name: str) -> None:
    """Opens or creates the file `<group>_<index>.log` of a node.

    Raises:
      OSError: It cannot be opened.
    """
    self.path = folder / f'{name.replace("/", "_")}.log'
    self._name = name
    # The open file serves the tail even if someone deletes or moves the log.
    self.file = open(self.path, 'a+b', buffering=0)  # noqa: SIM115
    self.mark_start()

  def add_line(self, text: str) -> None:
    """Append a line of the launcher, with time and node."""
    now = time.strftime('%Y-%m-%dT%H:%M:%S%z')
    self.file.write(f'=== {now} {self._name}: {text}\n'.encode())

  def mark_start(self) -> None:
    """Leave everything written so far out of the tail."""
    self._start = self._size()

  def tail(self, num_lines: int) -> str:
    """Return the last lines since the start, at most 64 KiB of them."""
    size = self._size()
    start = max(self._start, size - _TAIL_BYTES)
    text = os.pread(self.file.fileno(), max(size - start, 0), start)
    lines = text.decode(errors='replace').splitlines()
    return '\n'.join(lines[-num_lines:])

  def read(self, offset: int, num_bytes: int) -> bytes:
    """Return at most `num_bytes` of the file from an offset on."""
    return os.pread(self.file.fileno(), num_bytes, offset)

  def last_write_time(self) -> float:
    """Return the file's modification time, in seconds since the epoch."""
    return os.fstat(self.file.fileno()).st_mtime

  def close(self) -> None:
    """Close the file."""
    self.file.close()

  def _size(self) -> int:
    return os.fstat(self.file.fileno()).st_size
