"""What runs tasks on a machine of a cluster, for a launcher elsewhere.

It imports neither Launchpad nor anything that a task imports, and knows nothing
of what carries the launcher's calls to it.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

from programs.launching import children, ports, tasks

# Of a node's output in one report; the rest comes with the next ones.
MAX_OUTPUT_BYTES = 1 << 18
_LEASE_POLL_SECONDS = 0.5
# Before anything was started the launcher may wait for machines with room.
_UNUSED_SECONDS = 360.0
_NOTICE_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Report:
  """How one task fares.

  Attributes:
    pid: Of its process.
    returncode: None while it runs.
    output: What it has written from the offset on that was asked for.
    silent_seconds: Since it wrote last.
  """

  pid: int
  returncode: int | None
  output: bytes
  silent_seconds: float


@dataclasses.dataclass(frozen=True)
class Look:
  """How the tasks of a host fare.

  Attributes:
    reports: By name, of the tasks that were started.
    stopped_by: The task that called `lp.stop()`, where one did.
    stopped_seconds: Since then.
  """

  reports: Mapping[str, Report]
  stopped_by: str | None
  stopped_seconds: float


class Host:
  """Starts, watches and ends tasks on its machine.

  Its methods return at once. It must be made and called from one thread, the
  one that lives longest: its processes die with that. When nobody has called
  for as long as its lease lasts, its launcher is dead or cut off: it then kills
  what it has started and its own process.
  """

  def __init__(self, lease_seconds: float, import_path: Sequence[str]) -> None:
    """Has nothing to run yet; the lease is counted from the first start on.

    Tasks import from `import_path` too, which is relative to the folder of this
    process, where the code was shipped to.
    """
    self._import_path = os.pathsep.join(map(os.path.abspath, import_path))
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix='launch-'))
    self._logs = self._folder / 'logs'
    self._logs.mkdir()
    self._stop_path = self._folder / 'stop'
    self._guardian = children.Guardian(self._folder)
    self._children: dict[str, children.Child] = {}
    self._held: dict[str, socket.socket] = {}
    self._lease_seconds = lease_seconds
    self._called_at = time.monotonic()
    self._is_closed = threading.Event()
    threading.Thread(target=self._watch_lease, daemon=True).start()

  def hold(self, wanted: Mapping[str, int]) -> dict[str, int]:
    """Holds ports of this machine for the servers that tasks will run.

    Args:
      wanted: Key of an address -> the port it must have; 0 leaves the choice.

    Returns:
      Key -> port.

    Raises:
      OSError: A port is taken.
    """
    self._touch()
    for key, port in wanted.items():
      if key not in self._held:
        self._held[key] = ports.hold_port(port)
    return {key: self._held[key].getsockname()[1] for key in wanted}

  def start(
    self,
    task: tasks.Task,
    addresses: Mapping[str, str],
    environment: Mapping[str, str],
  ) -> None:
    """Starts a task, which does not run here.

    Args:
      task: What is run.
      addresses: Key -> 'host:port', of all servers of the program. What the
        task serves at besides is made up here.
      environment: Put on top of this machine's.
    """
    self._touch()
    nobody_knows = {
      key: f'localhost:{port}'
      for key, port in self.hold(
        {key: 0 for key in task.address_keys if key not in addresses}
      ).items()
    }
    command = tasks.make_command(
      task,
      {**addresses, **nobody_knows},
      self._folder,
      self._stop_path,
      {
        **os.environ,
        'PYTHONPATH': self._import_path,
        'TMPDIR': str(self._folder),
        **environment,
      },
    )
    if task.name in self._children:
      before = self._children[task.name]
      before.kill()
      while not before.poll():
        time.sleep(0.01)
      before.close()
    self._children[task.name] = children.Child(command, self._logs)
    self._guard()

  def look(self, offsets: Mapping[str, int]) -> Look:
    """How all fare.

    Args:
      offsets: Name -> how many bytes of its log have been reported.
    """
    self._touch()
    ended = [child for child in self._running() if child.poll()]
    if ended:
      self._guard()
    now = time.time()
    reports = {
      name: Report(
        child.pid,
        child.returncode,
        child.log.read(offsets.get(name, 0), MAX_OUTPUT_BYTES),
        now - child.log.last_write_time(),
      )
      for name, child in self._children.items()
    }
    try:
      stopped_at = self._stop_path.stat().st_mtime
      return Look(reports, self._stop_path.read_text(), now - stopped_at)
    except FileNotFoundError:
      return Look(reports, None, 0.0)

  def terminate(self, name: str) -> None:
    """Asks a task to end."""
    self._touch()
    self._children[name].terminate()

  def kill(self, name: str) -> None:
    """Kills a task and all that it has started."""
    self._touch()
    self._children[name].kill()

  def close(self) -> None:
    """Ends what still runs and removes what it has written."""
    self._is_closed.set()
    for child in self._running():
      child.kill()
    self._guardian.close()
    for held in self._held.values():
      held.close()

  def _touch(self) -> None:
    self._called_at = time.monotonic()

  def _running(self) -> list[children.Child]:
    return [c for c in self._children.values() if c.returncode is None]

  def _guard(self) -> None:
    self._guardian.watch(child.pid for child in self._running())

  def _watch_lease(self) -> None:
    lease_seconds = max(self._lease_seconds, _UNUSED_SECONDS)
    while time.monotonic() - self._called_at < lease_seconds:
      if self._is_closed.wait(_LEASE_POLL_SECONDS):
        return
      if self._children:
        lease_seconds = self._lease_seconds
    for child in self._running():
      with contextlib.suppress(OSError):
        child.terminate()
    time.sleep(_NOTICE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)  # The guardian does the rest.
