"""The evaluations of a run and their videos, from `evaluations/*`."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

_PER_EPISODE = ('returns', 'steps')  # Lists that nobody looks at.


class Evaluations:
  """Follows the folder; each file is read once, and again when it changes.

  Attributes:
    version: Another one after there was something to read.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    """Reads nothing yet; the folder need not exist."""
    self._folder = folder
    self._found: dict[str, tuple[int, Mapping[str, Any]]] = {}
    self.version = 0

  def read(self) -> None:
    """Reads what is new."""
    found = {}
    for path in self._folder.glob('[!.]*/results.json'):
      name = path.parent.name
      try:
        written = path.stat().st_mtime_ns
        before = self._found.get(name)
      except OSError:
        continue
      if before and before[0] == written:
        found[name] = before
      elif content := read_results(path):
        found[name] = written, content
    if found.keys() != self._found.keys() or any(
      found[name][0] != self._found[name][0] for name in found
    ):
      self._found = found
      self.version += 1

  def names(self) -> Sequence[str]:
    """Folders, that of the latest evaluation first."""

    def when(name: str) -> tuple[str, str]:
      # Said in the file: a copy is of any time.
      return str(self._found[name][1].get('evaluated', '')), name

    return sorted(self._found, key=when, reverse=True)

  def to_dict(self, name: str = '') -> dict[str, Any]:
    """Plain data.

    Args:
      name: Folder of the one that is wanted; of an unknown or empty one, the
        latest.
    """
    names = self.names()
    if name not in self._found:
      name = names[0] if names else ''
    _, content = self._found.get(name, (0, None))
    return {
      'names': names,
      'name': name,
      'content': content,
      'videos': [path.name for path in self._videos(name)],
    }

  def points(self, level: str) -> list[list[float | None]]:
    """A level's frames, mean and its interval, of those made in training."""
    found = []
    for name, (_, content) in self._found.items():
      if name.isdecimal():
        found += [
          [
            content['trained_frames'],
            row['mean_return'],
            row.get('mean_return_low'),
            row.get('mean_return_high'),
          ]
          for row in content['levels']
          if row['level_name'] == level
        ]
    return sorted(found, key=lambda point: point[0] or 0)

  def video(self, name: str, file: str) -> pathlib.Path | None:
    """The video of that name, if there is one."""
    return next((p for p in self._videos(name) if p.name == file), None)

  def _videos(self, name: str) -> list[pathlib.Path]:
    if name not in self._found:
      return []
    return sorted((self._folder / name / 'videos').glob('[!.]*.mp4'))


def read_results(path: pathlib.Path) -> Mapping[str, Any] | None:
  """A `results.json` without the figures of single episodes.

  Returns:
    None where it is gone, damaged or somebody else's.
  """
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
