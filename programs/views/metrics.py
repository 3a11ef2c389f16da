"""Follow the metrics of a run: CSV records, curves and evaluation results."""

import collections
import contextlib
import csv
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from programs.monitoring import recording

MAX_POINTS = 500
_PER_EPISODE = ('returns', 'steps')  # Long lists in results, never shown.

Record = Mapping[str, Any]  # Column -> number, or text if it is none.
Results = Mapping[str, Any]  # Content of a `results.json`.


class CsvReader(recording.LineReader):
  """Follows a CSV file that a run appends to and may replace."""

  def __init__(self, path: pathlib.Path, from_start: bool = True) -> None:
    """Follow `path` from its start, or from its present end.

    From the start includes `<name>.before-*.csv`, the files of other columns.
    """
    super().__init__(path)
    self._from_start = from_start
    self._columns: Sequence[str] = ()
    if not from_start:
      self.read()

  def read(self) -> list[Record]:
    """Return the records since the last call."""
    lines = self.read_lines()
    records: list[Record] = []
    if self.is_new_file and self._from_start and self._path.exists():
      before = self._path.parent.glob(f'{self._path.stem}.before-*.csv')
      for path in sorted(before):
        self._columns = ()
        records += self._parse(recording.LineReader(path).read_lines())
    if self.is_new_file:
      self._columns = ()
    return [*records, *self._parse(lines)]

  def _parse(self, lines: bytes) -> Iterator[Record]:
    # A power cut may leave zeros, which csv refuses.
    text = lines.replace(b'\0', b'').decode('utf-8', 'replace')
    rows = csv.reader(text.splitlines())
    if not self._columns:
      self._columns = next(rows, ())
    for cells in rows:
      # After a crash the next start appends to half a line.
      if len(cells) == len(self._columns):
        yield dict(zip(self._columns, map(_value, cells), strict=True))


def _value(cell: str) -> float | str:
  try:
    return float(cell)
  except ValueError:
    return cell


def number(record: Record, name: str) -> float:
  """Return a column as a number, NaN if there is none."""
  value: Any = record.get(name)
  return value if isinstance(value, float) else math.nan


class Curve:
  """A curve of at most `MAX_POINTS`, each the mean of as many values."""

  def __init__(self) -> None:
    self._points: list[list[float]] = []  # Sum of x, sum of y, count.
    self._stride = 1

  def add(self, x: float, y: float) -> None:
    """Add a value, unless it is not finite.

    A run that resumes after a crash goes back to its last checkpoint: its new
    values replace the old ones from there on.
    """
    if not (math.isfinite(x) and math.isfinite(y)):
      return
    while self._points and self._points[-1][0] > x * self._points[-1][2]:
      self._points.pop()
    if self._points and self._points[-1][2] < self._stride:
      last = self._points[-1]
      last[0], last[1], last[2] = last[0] + x, last[1] + y, last[2] + 1
      return
    if len(self._points) == MAX_POINTS:
      evens, odds = self._points[::2], self._points[1::2]
      self._points = [
        [a + b for a, b in zip(*pair, strict=True)]
        for pair in zip(evens, odds, strict=True)
      ]
      self._stride *= 2
    self._points.append([x, y, 1])

  def to_dict(self) -> dict[str, list[float]]:
    """Return all 'x' and all 'y'."""
    return {
      name: [each[index] / each[2] for each in self._points]
      for index, name in enumerate('xy')
    }


class CurveFile:
  """Curves over frames of a CSV file that may appear, grow and be replaced.

  Attributes:
    curves: By column; by level if the records have a `level_name`.
    last: Last record; empty if there is none.
    version: Changes whenever something was read.
  """

  def __init__(self, path: pathlib.Path, *columns: str) -> None:
    self._reader, self._columns = CsvReader(path), columns
    self.version = 0
    self._clear()

  def _clear(self) -> None:
    self.curves: dict[str, Curve] = collections.defaultdict(Curve)
    self.last: Record = {}

  def read(self) -> list[Record]:
    """Add the new records to the curves, and return them."""
    new = self._reader.read()
    if self._reader.is_new_file:
      self._clear()
    for record in new:
      for column in self._columns:
        name = str(record.get('level_name', column))
        self.curves[name].add(number(record, 'frames'), number(record, column))
      self.last = record
    self.version += bool(new or self._reader.is_new_file)
    return new


class Evaluations:
  """Follows `evaluations/*/results.json` of a run.

  Attributes:
    found: Name of a folder -> results, the latest first.
    version: Changes whenever something was read.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self._folder = folder
    self._written: dict[pathlib.Path, int] = {}
    self.found: Mapping[str, Results] = {}
    self.version = 0

  def read(self) -> None:
    """Read all results again if a file has changed."""
    written = {}
    for path in self._folder.glob('[!.]*/results.json'):
      with contextlib.suppress(OSError):
        written[path] = path.stat().st_mtime_ns
    if written != self._written:
      self._written = written
      found = [(path.parent.name, read_results(path)) for path in written]
      # By the time in the file: a copy may have any modification time.
      found.sort(
        key=lambda each: (str((each[1] or {}).get('evaluated')), each[0]),
        reverse=True,
      )
      self.found = {name: results for name, results in found if results}
      self.version += 1

  def of_training(self) -> list[Results]:
    """Return the evaluations made during training, by frames."""
    found = [each for name, each in self.found.items() if name.isdecimal()]
    return sorted(found, key=lambda each: each['trained_frames'])


def read_results(path: pathlib.Path) -> Results | None:
  """Read results without single episodes; None if missing or damaged."""
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
    content['trained_frames'] = int(content['trained_frames'])
    content['levels'] = [
      {k: value for k, value in level.items() if k not in _PER_EPISODE}
      for level in content['levels']
    ]
    scores = [content['summary'], *content['levels']]
    is_good = all(
      math.isfinite(score['mean_return']) and score['episodes']
      for score in scores
    ) and all(level['level_name'] for level in content['levels'])
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None
  return content if is_good else None
