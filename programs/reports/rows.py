"""Rows of a run's CSV files, as far as the run is made of them."""

import contextlib
import csv
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]  # Column -> number, or text where it is none.


def read(folder: pathlib.Path, name: str) -> list[Row]:
  """Rows of a CSV file and of those that were kept beside it, in their order.

  Args:
    folder: Of the files.
    name: `<name>.csv`, and `<name>.before-<time>.csv` of other columns.

  Returns:
    Whole rows alone: a crash leaves half of one, and a run that is going on may
    be about to write one.
  """
  rows: list[Row] = []
  for path in [
    *sorted(folder.glob(f'{name}.before-*.csv')),
    folder / f'{name}.csv',
  ]:
    with contextlib.suppress(FileNotFoundError):
      rows += _read_file(path)
  return rows


def _read_file(path: pathlib.Path) -> Iterator[Row]:
  text = path.read_text(encoding='utf-8', errors='replace')
  lines = csv.reader(text[: text.rfind('\n') + 1].splitlines())
  columns = next(lines, [])
  for cells in lines:
    row = dict(zip(columns, map(_number, cells), strict=False))
    if len(cells) == len(columns) and isinstance(row.get('frames'), float):
      yield row


def _number(cell: str) -> float | str:
  try:
    return float(cell)
  except ValueError:
    return cell


def ascending(rows: Sequence[Row]) -> list[Row]:
  """Rows without those of frames that were learned again after a crash.

  A run goes on at its last checkpoint, so that frames go back: what was written
  of them before is not what the run is made of.
  """
  kept: list[Row] = []
  for row in rows:
    while kept and kept[-1]['frames'] > row['frames']:
      kept.pop()
    kept.append(row)
  last = {(row['frames'], row.get('level_name')): row for row in kept}
  return list(last.values())
