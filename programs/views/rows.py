"""Rows of a CSV file that a run writes, may be writing, or replaces."""

import csv
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]  # Column -> number, or text where it is none.


class Rows:
  """Follows a CSV file.

  A crash leaves half a row, and a run that goes on may be about to write one:
  whole rows alone are read.

  Attributes:
    began_anew: Whether the last `read` was of another file than before.
  """

  def __init__(self, path: pathlib.Path, from_start: bool = True) -> None:
    """Reads what is there too, with `from_start`, else only what comes.

    That includes `<name>.before-*.csv`, kept when the columns changed.
    """
    self.began_anew = False
    self._path = path
    self._has_past = from_start
    self._offset, self._inode = 0, -1
    self._names: Sequence[str] = ()
    if not from_start:
      self.read()

  def read(self) -> list[Row]:
    """Whole rows since the last call."""
    try:
      status = os.stat(self._path)
    except OSError:
      self.began_anew = self._inode != -1
      self._offset, self._inode = 0, -1
      return []
    rows: list[Row] = []
    self.began_anew = (
      status.st_ino != self._inode or status.st_size < self._offset
    )
    if self.began_anew:
      before = self._path.parent.glob(f'{self._path.stem}.before-*.csv')
      for path in sorted(before) if self._has_past else ():
        self._offset = 0
        rows += self._parse(path)
      self._offset, self._inode = 0, status.st_ino
    rows += self._parse(self._path)
    return rows

  def _parse(self, path: pathlib.Path) -> Iterator[Row]:
    """Rows of a file behind the offset, which moves on."""
    try:
      with open(path, 'rb') as file:
        file.seek(self._offset)
        data = file.read()
    except OSError:
      return
    whole = data[: data.rfind(b'\n') + 1]
    # A power cut may leave zeros, which csv refuses.
    text = whole.replace(b'\0', b'').decode('utf-8', 'replace')
    lines = csv.reader(text.splitlines())
    if whole and not self._offset:
      self._names = next(lines)
    self._offset += len(whole)
    for cells in lines:
      # Behind half a row of a crash the next start goes on.
      if len(cells) == len(self._names):
        yield dict(zip(self._names, map(_value, cells), strict=True))


def _value(cell: str) -> float | str:
  try:
    return float(cell)
  except ValueError:
    return cell
