"""The folder of a run's temporary files: locked, and gone with the run."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

# Nobody else's name: what is found in it when a run starts is deleted.
_NAME = '.launch'
# A path of a Unix socket has at most 107 characters, and multiprocessing puts
# its own below the temporary folder.
_MAX_TMPDIR_LENGTH = 107 - len('/pymp-/listener-') - 2 * 8


def workspace_path(directory: pathlib.Path) -> pathlib.Path:
  """The workspace of the run directory, absolute."""
  return directory.absolute() / _NAME


def stop_path(directory: pathlib.Path) -> pathlib.Path:
  """The file whose appearance stops the program that runs in `directory`."""
  return workspace_path(directory) / 'stop'


def write_stop(path: pathlib.Path, name: str) -> None:
  """Stops a program; `path` as of `stop_path`, `name` that of who stops it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  written = path.with_name(f'{path.name}.{os.getpid()}')
  written.write_text(name)
  written.replace(path)


@contextlib.contextmanager
def open_workspace(directory: pathlib.Path) -> Iterator[None]:
  """Makes the workspace, empty, and removes it at the end.

  Raises:
    ValueError: Somebody else has it open.
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
    _empty(path)  # A launcher that was killed could not.
    try:
      yield
    finally:
      shutil.rmtree(path, ignore_errors=True)
  finally:
    os.close(lock)


def make_tmpdir(directory: pathlib.Path, held: contextlib.ExitStack) -> str:
  """The nodes' temporary folder: the workspace, if sockets fit there.

  Closing `held` removes a folder elsewhere.
  """
  path = workspace_path(directory)
  if len(os.fsencode(path)) <= _MAX_TMPDIR_LENGTH:
    return str(path)
  return held.enter_context(
    tempfile.TemporaryDirectory(prefix='launch-', ignore_cleanup_errors=True)
  )


def _empty(folder: pathlib.Path) -> None:
  for entry in folder.iterdir():
    if entry.is_dir() and not entry.is_symlink():
      shutil.rmtree(entry, ignore_errors=True)
    else:
      entry.unlink(missing_ok=True)
