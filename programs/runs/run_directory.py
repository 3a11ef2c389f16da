"""The run directory: what was asked, where things are, how it ended."""

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
  """A run directory cannot be used as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class RunDirectory:
  """Paths of one run, and its two JSON files."""

  path: pathlib.Path

  @property
  def config_file(self) -> pathlib.Path:
    """The resolved configuration, enough to run again."""
    return self.path / 'config.json'

  @property
  def meta_file(self) -> pathlib.Path:
    """Command line, versions, host, and how the run ended."""
    return self.path / 'meta.json'

  @property
  def logs(self) -> pathlib.Path:
    """`<group>_<index>.log` of each node."""
    return self.path / 'logs'

  @property
  def metrics(self) -> pathlib.Path:
    """CSV files, one for each node that measures."""
    return self.path / 'metrics'

  def profile(self, role: str) -> pathlib.Path:
    """What Python functions a role's first node spends its time in."""
    return self.path / 'profiles' / f'{role}.txt'

  @property
  def tensorboard(self) -> pathlib.Path:
    """The same figures for TensorBoard."""
    return self.path / 'tensorboard'

  @property
  def checkpoints(self) -> pathlib.Path:
    """The newest few checkpoints."""
    return self.path / 'checkpoints'

  @property
  def best_checkpoint(self) -> pathlib.Path:
    """The variables that scored best, and `best.json` saying how well."""
    return self.checkpoints / 'best'

  @property
  def evaluations(self) -> pathlib.Path:
    """`<frames>/results.json`, `.csv` and `.md` of each evaluation."""
    return self.path / 'evaluations'

  @property
  def report(self) -> pathlib.Path:
    """The page that shows it all, `index.html`, and its picture."""
    return self.path / 'report'

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Keeps other processes from running in the same directory meanwhile.

    Raises:
      RunError: Somebody else does, or it cannot be written to.
    """
    with self._open_lock() as file:
      try:
        _take(file)
      except BlockingIOError:
        file.seek(0)
        raise RunError(
          f'{self.path} is in use by {file.read().strip() or "another run"}; '
          'wait for its end or take another --logdir'
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
        f'logdir must be a directory that can be written to, got {self.path} '
        f'({error.strerror})'
      ) from error

  def is_run(self) -> bool:
    """Whether a run was started here."""
    return self.config_file.exists()

  @property
  def finished_frames(self) -> int:
    """Where the last evaluation of a whole run was; -1 before there was one."""
    return self.read_meta().get('finished_frames', -1)

  def is_finished(self) -> bool:
    """Whether the last frame was learned and evaluated.

    Raises:
      RunError: The configuration is not there or damaged.
    """
    total = self.read_config()['agent']['total_environment_frames']
    return self.finished_frames >= total

  def set_aside(self) -> pathlib.Path:
    """Renames the directory, so that a run can start anew in its place."""
    stamp = datetime.datetime.now().strftime('%Y%m%d-%H%M%S-%f')
    target = self.path.with_name(f'{self.path.name}.before-{stamp}')
    return self.path.rename(target)

  def read_config(self) -> dict[str, dict[str, Any]]:
    """The stored configuration.

    Raises:
      RunError: There is none, or it is damaged.
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
    """Stores a configuration; see `run_config.Configuration.to_dict`."""
    write_json(self.config_file, groups)

  def read_meta(self) -> dict[str, Any]:
    """What is known of the run, empty where nothing is."""
    try:
      return json.loads(self.meta_file.read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
      return {}

  def update_meta(self, **facts: Any) -> None:
    """Adds to what is known of the run."""
    write_json(self.meta_file, {**self.read_meta(), **facts})


def _take(file: TextIO) -> None:
  """Locks a file; who only asks whether it is locked has it for a moment."""
  for _ in range(_LOCK_TRIES - 1):
    with contextlib.suppress(BlockingIOError):
      return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    time.sleep(_LOCK_SECONDS)
  fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes JSON as `write_text` does."""
  write_text(path, json.dumps(content, indent=2) + '\n')


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file that is either the old one or the new one, never half.

  Makes its folder if it is not there.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  temporary.write_text(text, encoding='utf-8')
  os.replace(temporary, path)


def now() -> str:
  """The time, ISO 8601 with offset."""
  return datetime.datetime.now().astimezone().isoformat(timespec='seconds')
