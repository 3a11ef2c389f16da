"""Run directory: its paths, its lock, `config.json` and `meta.json`."""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

_LOCK_TRIES, _LOCK_SECONDS = 5, 0.05


class RunError(Exception):
  """A run that cannot start, for the reason in the message."""


@dataclasses.dataclass(frozen=True)
class RunDirectory:
  """Paths of a run, and its two JSON files."""

  path: pathlib.Path

  @property
  def config_file(self) -> pathlib.Path:
    """Path of the resolved configuration."""
    return self.path / 'config.json'

  @property
  def meta_file(self) -> pathlib.Path:
    """Path of command line, versions, host, and how the run ended."""
    return self.path / 'meta.json'

  @property
  def logs(self) -> pathlib.Path:
    """Folder of each node's `<group>_<index>.log`."""
    return self.path / 'logs'

  @property
  def metrics(self) -> pathlib.Path:
    """Folder of the metrics' CSV files."""
    return self.path / 'metrics'

  def profile(self, role: str) -> pathlib.Path:
    """Return the path of the profile of a role's first node."""
    return self.path / 'profiles' / f'{role}.txt'

  @property
  def tensorboard(self) -> pathlib.Path:
    """Folder of the metrics for TensorBoard."""
    return self.path / 'tensorboard'

  @property
  def checkpoints(self) -> pathlib.Path:
    """Folder of the newest few checkpoints."""
    return self.path / 'checkpoints'

  @property
  def best_checkpoint(self) -> pathlib.Path:
    """Folder of the checkpoint with the best score, and `best.json`."""
    return self.checkpoints / 'best'

  @property
  def evaluations(self) -> pathlib.Path:
    """Folder of each evaluation's `<frames>/results.json` and `.csv`."""
    return self.path / 'evaluations'

  @property
  def report(self) -> pathlib.Path:
    """Folder of the report, `index.html`, and its image."""
    return self.path / 'report'

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Lock the directory against other runs.

    Raises:
      RunError: Another process has locked it, or it cannot be written to.
    """
    with self._open_lock() as file:
      try:
        _lock(file)
      except BlockingIOError:
        file.seek(0)
        raise RunError(
          f'{self.path} is in use by {file.read().strip() or "another run"}; '
          'wait for its end or use another --logdir'
        ) from None
      file.truncate(0)
      file.write(f'process {os.getpid()} on {socket.gethostname()}')
      file.flush()
      yield

  def _open_lock(self) -> TextIO:
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      return open(self.path / '.lock', 'a+', encoding='utf-8')
    except OSError as error:
      raise RunError(
        f'logdir must be a writable directory, got {self.path} '
        f'({error.strerror})'
      ) from error

  def is_run(self) -> bool:
    """Return whether a run was started here."""
    return self.config_file.exists()

  @property
  def finished_frames(self) -> int:
    """Frames at the last evaluation of a finished run; else -1."""
    return self.read_meta().get('finished_frames', -1)

  def is_finished(self) -> bool:
    """Return whether the last frame was learned and evaluated.

    Raises:
      RunError: The configuration is missing or damaged.
    """
    total = self.read_config()['agent']['total_environment_frames']
    return self.finished_frames >= total

  def set_aside(self) -> pathlib.Path:
    """Rename the directory, to make room for a new run; return its path."""
    stamp = datetime.datetime.now().strftime('%Y%m%d-%H%M%S-%f')
    target = self.path.with_name(f'{self.path.name}.before-{stamp}')
    return self.path.rename(target)

  def read_config(self) -> dict[str, dict[str, Any]]:
    """Return the stored configuration.

    Raises:
      RunError: It is missing or damaged.
    """
    try:
      groups = json.loads(self.config_file.read_text(encoding='utf-8'))
    except FileNotFoundError:
      raise RunError(
        f'{self.path} is no run directory: it has no config.json'
      ) from None
    except ValueError as error:
      raise RunError(f'{self.config_file} is damaged: {error}') from None
    if not isinstance(groups, dict) or not all(
      isinstance(group, dict) for group in groups.values()
    ):
      raise RunError(f'{self.config_file} is damaged: not groups of fields')
    return groups

  def write_config(self, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a configuration; see `run_config.Configuration.to_dict`."""
    write_json(self.config_file, groups)

  def read_meta(self) -> dict[str, Any]:
    """Return the content of `meta.json`, empty if there is none."""
    try:
      return json.loads(self.meta_file.read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
      return {}

  def update_meta(self, **facts: Any) -> None:
    """Add facts to `meta.json`."""
    write_json(self.meta_file, {**self.read_meta(), **facts})


def _lock(file: TextIO) -> None:
  """Lock a file, with retries: a check for a lock holds it for a moment."""
  for _ in range(_LOCK_TRIES - 1):
    with contextlib.suppress(BlockingIOError):
      return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    time.sleep(_LOCK_SECONDS)
  fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_json(path: pathlib.Path, content: Any) -> None:
  """Write JSON atomically."""
  write_text(path, json.dumps(content, indent=2) + '\n')


def write_text(path: pathlib.Path, text: str) -> None:
  """Write a file atomically; make its folder if it is missing."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  temporary.write_text(text, encoding='utf-8')
  os.replace(temporary, path)


def now() -> str:
  """Return the time, as ISO 8601 with offset."""
  return datetime.datetime.now().astimezone().isoformat(timespec='seconds')
