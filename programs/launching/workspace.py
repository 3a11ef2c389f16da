"""Folder for the temporary files of a run, locked and removed at its end."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

# No user's file may have this name: its content is deleted when a run starts.
_NAME = '.launch'
# A path of a Unix socket has at most 107 characters, and multiprocessing puts
# its own below the temporary folder.
_MAX_TMPDIR_LENGTH = 107 - len('/pymp-/listener-') - 2 * 8


def workspace_path(directory: pathlib.Path) -> pathlib.Path:
  """Return the absolute path of the workspace of a run directory."""
  return directory.absolute() / _NAME


def stop_path(directory: pathlib.Path) -> pathlib.Path:
  """Return the file whose appearance stops the program in `directory`."""
  return workspace_path(directory) / 'stop'


def write_stop(path: pathlib.Path, name: str) -> None:
  """Stop a program on behalf of a node; `path` is that of `stop_path`."""
  path.parent.mkdir(parents=True, exist_ok=True)
  written = path.with_name(f'{path.name}.{os.getpid()}')
  written.write_text(name)
  written.replace(path)


def read_stop(path: pathlib.Path) -> tuple[str | None, float]:
  """Return which node stopped the program, and when.

  The time is in seconds since the epoch. Without a stop it is (None, inf).
  """
  try:
    return path.read_text(), path.stat().st_mtime
  except FileNotFoundError:
    return None, float('inf')


@contextlib.contextmanager
def open_workspace(directory: pathlib.Path) -> Iterator[None]:
  """Create an empty workspace and remove it at the end.

  Raises:
    ValueError: Another launch has it open.
  """
  path = workspace_path(directory)
  path.mkdir(parents=True, exist_ok=True)
  lock = os.open(path, os.O_RDONLY)
  try:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(
        f'directory must have no other launch running in it, got {directory}'
      ) from None
    except OSError:
      pass  # A file system without locks.
    _clear(path)  # A launcher that was killed could not.
    try:
      yield
    finally:
      shutil.rmtree(path, ignore_errors=True)
  finally:
    os.close(lock)


def make_tmpdir(directory: pathlib.Path, stack: contextlib.ExitStack) -> str:
  """Return the temporary folder of nodes: the workspace, if sockets fit there.

  Otherwise it is a new folder, which `stack` removes.
  """
  path = workspace_path(directory)
  if len(os.fsencode(path)) <= _MAX_TMPDIR_LENGTH:
    return str(path)
  return stack.enter_context(
    tempfile.TemporaryDirectory(prefix='launch-', ignore_cleanup_errors=True)
  )


def _clear(folder: pathlib.Path) -> None:
  for entry in folder.iterdir():
    if entry.is_dir() and not entry.is_symlink():
      shutil.rmtree(entry, ignore_errors=True)
    else:
      entry.unlink(missing_ok=True)
