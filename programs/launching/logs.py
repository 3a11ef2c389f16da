"""What nodes write, and what their launcher adds."""

import os
import pathlib
import time

_TAIL_BYTES = 65536


class Log:
  """A node's log: appended to, and read as far as it is of this start."""

  def __init__(self, folder: pathlib.Path, name: str) -> None:
    """Opens the file `<group>_<index>.log` of a node, made if absent.

    Raises:
      OSError: It cannot be opened.
    """
    self.path = folder / f'{name.replace("/", "_")}.log'
    self._name = name
    # The open file serves the tail even if someone deletes or moves the log.
    self.file = open(self.path, 'a+b', buffering=0)  # noqa: SIM115
    self._start = self._size()

  def say(self, sentence: str) -> None:
    """Appends a line of the launcher's own, with time and node."""
    now = time.strftime('%Y-%m-%dT%H:%M:%S%z')
    self.file.write(f'=== {now} {self._name}: {sentence}\n'.encode())

  def begin(self) -> None:
    """What stands there already is no longer of this start."""
    self._start = self._size()

  def tail(self, num_lines: int) -> str:
    """The last lines since the start, at most 64 KiB of them."""
    size = self._size()
    start = max(self._start, size - _TAIL_BYTES)
    text = os.pread(self.file.fileno(), max(size - start, 0), start)
    lines = text.decode(errors='replace').splitlines()
    return '\n'.join(lines[-num_lines:])

  def read(self, offset: int, num_bytes: int) -> bytes:
    """What stands there from an offset on, at most so much of it."""
    return os.pread(self.file.fileno(), num_bytes, offset)

  def last_write_time(self) -> float:
    """When it was last written to, in seconds since the epoch."""
    return os.fstat(self.file.fileno()).st_mtime

  def close(self) -> None:
    """Closes the file."""
    self.file.close()

  def _size(self) -> int:
    return os.fstat(self.file.fileno()).st_size
