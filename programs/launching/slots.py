"""Nodes that jobs of one machine are to run: locked files in a folder.

A job locks a file for each of its nodes, and writes into it once it knows the
run; it keeps the lock as long as it lives, whatever it dies of. One process for
all jobs of the machine, the worker, offers what is locked to the cluster and
writes into the folder what it learns there. See `worker`.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

_SLASH = '@'  # In the name of a file.
_WORKER, _STATE, _NODES = 'worker', 'state', 'nodes'


@dataclasses.dataclass(frozen=True)
class State:
  """What a machine's worker knows.

  Attributes:
    trouble: Why it knows no run; empty where it does.
    run: What no other run has; empty where there is none.
    nodes: Those that workers may run.
    said: What the run's coordinator says besides.
    taken: Node that is offered here -> address of the machine that runs it.
    over: 'kind' and 'reason' of the run's end, once it has ended.
  """

  trouble: str = ''
  run: str = ''
  nodes: Sequence[str] = ()
  said: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  taken: Mapping[str, str] = dataclasses.field(default_factory=dict)
  over: Mapping[str, str] | None = None


class Folder:
  """Of one machine in one cluster."""

  def __init__(self, cluster: str, machine: str) -> None:
    """Makes no file yet; arguments as of `jobs.run`."""
    name = f'launching-{os.getuid()}-{cluster}-{machine}'.replace(':', '-')
    self.path = pathlib.Path(tempfile.gettempdir(), name)

  def lock_worker(self) -> int | None:
    """A file that is locked until it is closed; None where the worker has it.

    Raises:
      PermissionError: The folder is somebody else's.
    """
    return self._lock(self.path / _WORKER)

  def lock_node(self, node: str) -> int | None:
    """The same of a node; None where another job here has it."""
    return self._lock(self._file(node))

  def offer(self, node: int, run: str, environment: Mapping[str, str]) -> None:
    """Has the worker offer a node, by its locked file, with variables."""
    text = json.dumps({'run': run, 'environment': dict(environment)}).encode()
    os.truncate(node, 0)
    os.pwrite(node, text, 0)

  def find(self) -> dict[str, Mapping[str, Any]]:
    """Node -> what its job has written, nothing so far or as `offer` does.

    Removes the files of jobs that have ended.
    """
    found = {}
    for path in (self.path / _NODES).glob('*'):
      lock = self._lock(path)
      if lock is not None:
        path.unlink()
        os.close(lock)
        continue
      try:
        found[path.name.replace(_SLASH, '/')] = json.loads(path.read_text())
      except (FileNotFoundError, ValueError):
        found[path.name.replace(_SLASH, '/')] = {}
    return found

  def write(self, state: State) -> None:
    """What the worker learns; of a worker that has ended, the trouble counts.

    The worker alone calls it.
    """
    path = self.path / f'{_STATE}.new'
    path.write_text(json.dumps(dataclasses.asdict(state)))
    path.replace(self.path / _STATE)

  def read(self) -> State:
    """What was written last."""
    try:
      return State(**json.loads((self.path / _STATE).read_text()))
    except FileNotFoundError:
      return State('there is no worker on this machine yet')

  def _file(self, node: str) -> pathlib.Path:
    return self.path / _NODES / node.replace('/', _SLASH)

  def close(self) -> None:
    """Removes all, if no job is there any more.

    Whoever has locked the worker's file calls it.
    """
    self.find()
    try:
      (self.path / _NODES).rmdir()
    except FileNotFoundError:
      pass
    except OSError:
      return  # Somebody has come.
    shutil.rmtree(self.path, ignore_errors=True)

  def _lock(self, path: pathlib.Path) -> int | None:
    while True:
      with contextlib.suppress(FileNotFoundError):  # Removed in between.
        self.path.mkdir(mode=0o700, exist_ok=True)
        if self.path.stat().st_uid != os.getuid():
          raise PermissionError(f"{self.path} must be this user's own")
        path.parent.mkdir(mode=0o700, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
          fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
          if os.path.samestat(os.fstat(file), os.stat(path)):
            return file
        except BlockingIOError:
          os.close(file)
          return None
        os.close(file)
