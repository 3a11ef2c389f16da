"""Folder in which the jobs of one machine offer nodes to its worker.

A job locks a file for each of its nodes as long as it lives, and writes into it
for which run it offers the node. The worker, one process for all jobs of the
machine, offers the locked nodes to the cluster and writes into the folder what
it learns about the run.
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

_SLASH = '@'  # Stands for a slash in file names.
_WORKER, _RUN, _NODES = 'worker', 'run', 'nodes'


@dataclasses.dataclass(frozen=True)
class RunInfo:
  """State of a run, as far as the worker of a machine knows it.

  Attributes:
    error: Why it knows no run; '' if it knows one.
    run_id: Unique id; '' without a run.
    nodes: Nodes that jobs may run.
    config: Plain data for jobs, from the launcher.
    taken: Node offered here -> address of another machine that runs it.
    outcome: 'kind' and 'reason' of the end of the run, once it has ended.
  """

  error: str = ''
  run_id: str = ''
  nodes: Sequence[str] = ()
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  taken: Mapping[str, str] = dataclasses.field(default_factory=dict)
  outcome: Mapping[str, str] | None = None


class JobFolder:
  """Folder of one machine in one cluster."""

  def __init__(self, head: str, address: str) -> None:
    """Set the path; the arguments are those of `jobs.run`."""
    name = f'launching-{os.getuid()}-{head}-{address}'.replace(':', '-')
    self.path = pathlib.Path(tempfile.gettempdir(), name)

  def lock_worker(self) -> int | None:
    """Return a file locked until it is closed; None if a worker has it.

    Raises:
      PermissionError: The folder is another user's.
    """
    return self._lock(self.path / _WORKER)

  def lock_node(self, node: str) -> int | None:
    """Return a file locked until it is closed; None if a job here has it."""
    return self._lock(self.path / _NODES / node.replace('/', _SLASH))

  def offer(
    self, lock: int, run_id: str, environment: Mapping[str, str]
  ) -> None:
    """Offer a node, by its locked file, with variables for its process."""
    text = json.dumps({'run_id': run_id, 'environment': dict(environment)})
    os.truncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)

  def read_offers(self) -> dict[str, Mapping[str, Any]]:
    """Return locked node -> 'run_id' and 'environment', or {} before an offer.

    Removes the files of jobs that have ended.
    """
    offers = {}
    for path in (self.path / _NODES).glob('*'):
      lock = self._lock(path)
      if lock is not None:
        path.unlink()
        os.close(lock)
        continue
      node = path.name.replace(_SLASH, '/')
      try:
        offers[node] = json.loads(path.read_text())
      except (FileNotFoundError, ValueError):
        offers[node] = {}
    return offers

  def write_run(self, run: RunInfo) -> None:
    """Write what the worker knows; only the worker calls it."""
    path = self.path / f'{_RUN}.new'
    path.write_text(json.dumps(dataclasses.asdict(run)))
    path.replace(self.path / _RUN)

  def read_run(self) -> RunInfo:
    """Return what the worker has written last."""
    try:
      return RunInfo(**json.loads((self.path / _RUN).read_text()))
    except FileNotFoundError:
      return RunInfo('there is no worker on this machine yet')

  def remove_if_unused(self) -> None:
    """Remove the folder if no job uses it; the caller has the worker's lock."""
    self.read_offers()
    try:
      (self.path / _NODES).rmdir()
    except FileNotFoundError:
      pass
    except OSError:
      return  # A job has locked a node.
    shutil.rmtree(self.path, ignore_errors=True)

  def _lock(self, path: pathlib.Path) -> int | None:
    while True:
      with contextlib.suppress(FileNotFoundError):  # Removed in between.
        self.path.mkdir(mode=0o700, exist_ok=True)
        if self.path.stat().st_uid != os.getuid():
          raise PermissionError(f'{self.path} belongs to another user')
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
