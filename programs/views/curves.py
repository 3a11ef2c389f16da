"""Curves of a run, from the rows of its CSV files, however many these are."""

import collections
import math
import pathlib
from typing import Any

from programs.views import rows

MAX_POINTS = 500


class Curve:
  """A curve of at most `MAX_POINTS`, each the mean of as many values."""

  def __init__(self) -> None:
    self._sums: list[list[float]] = []  # Of x, of y, and how many.
    self._stride = 1

  def add(self, x: float, y: float) -> None:
    """Adds a value, unless it is not known.

    A run that goes on after a crash goes back a little: what it learns anew
    takes the place of what was lost.
    """
    if not (math.isfinite(x) and math.isfinite(y)):
      return
    while self._sums and self._sums[-1][0] > x * self._sums[-1][2]:
      self._sums.pop()
    if self._sums and self._sums[-1][2] < self._stride:
      last = self._sums[-1]
      last[0], last[1], last[2] = last[0] + x, last[1] + y, last[2] + 1
      return
    if len(self._sums) == MAX_POINTS:
      evens, odds = self._sums[::2], self._sums[1::2]
      self._sums = [
        [a + b for a, b in zip(*pair, strict=True)]
        for pair in zip(evens, odds, strict=True)
      ]
      self._stride *= 2
    self._sums.append([x, y, 1])

  def to_dict(self) -> dict[str, list[float]]:
    """All x, and all y."""
    return {
      name: [each[index] / each[2] for each in self._sums]
      for index, name in enumerate('xy')
    }


class CurveFile:
  """The curves by frames of a CSV file that may come, grow and be replaced.

  Attributes:
    curves: By column; or by level, where rows tell theirs.
    last: The last row.
    version: Another one after there was something to read.
  """

  def __init__(self, path: pathlib.Path, *columns: str) -> None:
    self._rows, self._columns = rows.Rows(path), columns
    self.version = 0
    self._forget()

  def _forget(self) -> None:
    self.curves: dict[str, Curve] = collections.defaultdict(Curve)
    self.last: rows.Row = {}

  def read(self) -> list[rows.Row]:
    """Takes what is new, and returns it."""
    new = self._rows.read()
    if self._rows.began_anew:
      self._forget()
    for row in new:
      for column in self._columns:
        name = str(row.get('level_name', column))
        self.curves[name].add(number(row, 'frames'), number(row, column))
      self.last = row
    self.version += bool(new or self._rows.began_anew)
    return new


def number(row: rows.Row, name: str) -> float:
  """NaN where there is none."""
  value: Any = row.get(name)
  return value if isinstance(value, float) else math.nan
