"""The evaluations of a run, from `evaluations/*`."""

import contextlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

_PER_EPISODE = ('returns', 'steps')  # Lists that nobody looks at.

Results = Mapping[str, Any]  # What a `results.json` holds.


class Evaluations:
  """Follows the folder, and reads it again when a file has changed.

  Attributes:
    found: Name of a folder -> results, the latest first.
    version: Another one after there was something to read.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self._folder = folder
    self._written: dict[pathlib.Path, int] = {}
    self.found: Mapping[str, Results] = {}
    self.version = 0

  def read(self) -> None:
    """Reads what is new."""
    written = {}
    for path in self._folder.glob('[!.]*/results.json'):
      with contextlib.suppress(OSError):
        written[path] = path.stat().st_mtime_ns
    if written != self._written:
      self._written = written
      found = [(path.parent.name, read_results(path)) for path in written]
      # When is said in the file: a copy is of any time.
      found.sort(
        key=lambda each: (str((each[1] or {}).get('evaluated')), each[0]),
        reverse=True,
      )
      self.found = {name: results for name, results in found if results}
      self.version += 1

  def of_training(self) -> list[Results]:
    """Those made as while training, by frames."""
    found = [each for name, each in self.found.items() if name.isdecimal()]
    return sorted(found, key=lambda each: each['trained_frames'])


def read_results(path: pathlib.Path) -> Results | None:
  """Without the figures of single episodes; None where gone or damaged."""
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
    content['trained_frames'] = int(content['trained_frames'])
    content['levels'] = [
      {k: value for k, value in row.items() if k not in _PER_EPISODE}
      for row in content['levels']
    ]
    told = [content['summary'], *content['levels']]
    is_good = all(
      math.isfinite(row['mean_return']) and row['episodes'] for row in told
    ) and all(row['level_name'] for row in content['levels'])
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None
  return content if is_good else None
