"""Rows of a run's CSV files, as far as the run is made of them."""

import pathlib
from collections.abc import Sequence

from programs.inspection import rows

Row = rows.Row


def read(folder: pathlib.Path, name: str) -> list[Row]:
  """Rows of a CSV file that tell of how many frames they are.

  Args:
    folder: Of the file.
    name: `<name>.csv`; see `programs.inspection.rows`.
  """
  found = rows.Rows(folder / f'{name}.csv').read()
  return [row for row in found if isinstance(row.get('frames'), float)]


def ascending(found: Sequence[Row]) -> list[Row]:
  """Rows without those of frames that were learned again after a crash.

  A run goes on at its last checkpoint, so that frames go back: what was written
  of them before is not what the run is made of.
  """
  kept: list[Row] = []
  for row in found:
    while kept and kept[-1]['frames'] > row['frames']:
      kept.pop()
    kept.append(row)
  last = {(row['frames'], row.get('level_name')): row for row in kept}
  return list(last.values())
