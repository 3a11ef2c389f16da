"""Runs nodes on one machine for a launcher on another.

Neither Launchpad nor Ray nor anything that a node needs is imported here.
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

from programs.launching import children, ports, tasks, workspace

# Of a node's output in one status; later ones have the rest.
MAX_OUTPUT_BYTES = 1 << 18
_LEASE_POLL_SECONDS = 0.5
# Before the first start the launcher may wait for other machines.
_UNUSED_SECONDS = 360.0
_NOTICE_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class NodeStatus:
  """Status of a node, with its output from the requested offset on."""

  pid: int
  returncode: int | None
  output: bytes
  silent_seconds: float


@dataclasses.dataclass(frozen=True)
class Status:
  """Status of an executor's nodes, and which of them called `lp.stop()`."""

  nodes: Mapping[str, NodeStatus]
  stopped_by: str | None
  stopped_seconds: float


class Executor:
  """Supervisor of the nodes on its machine, for a launcher elsewhere.

  Its methods return at once. Create and call it from one thread, the one that
  lives longest: its processes die with that. When nobody has called it for the
  length of its lease, its launcher is dead or unreachable: it then kills the
  nodes and its own process.
  """

  def __init__(self, lease_seconds: float, import_path: Sequence[str]) -> None:
    """Prepare a folder for nodes; the lease begins with the first start.

    Nodes import from `import_path`, which is relative to the folder of this
    process, to which the code was shipped.
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

  def hold_ports(self, wanted: Mapping[str, int]) -> dict[str, int]:
    """Reserve ports of this machine for servers; return key -> port.

    `wanted` is key of an address -> port, or 0 for any free one.

    Raises:
      OSError: A port is taken.
    """
    self._renew_lease()
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
    """Start a node; its earlier process, if any, is killed first.

    `addresses` is key -> 'host:port' of all servers of the program; the other
    addresses of the node are chosen here. `environment` has variables that are
    added to this process's.
    """
    self._renew_lease()
    unknown = {key: 0 for key in task.address_keys if key not in addresses}
    own_addresses = {
      key: f'localhost:{port}' for key, port in self.hold_ports(unknown).items()
    }
    command = tasks.make_command(
      task,
      {**addresses, **own_addresses},
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
    self._update_guardian()

  def status(self, offsets: Mapping[str, int]) -> Status:
    """Return the status of all nodes.

    `offsets` is name -> number of bytes of its output returned before.
    """
    self._renew_lease()
    ended = [child for child in self._running() if child.poll()]
    if ended:
      self._update_guardian()
    now = time.time()
    nodes = {
      name: NodeStatus(
        child.pid,
        child.returncode,
        child.log.read(offsets.get(name, 0), MAX_OUTPUT_BYTES),
        now - child.log.last_write_time(),
      )
      for name, child in self._children.items()
    }
    stopped_by, stopped_at = workspace.read_stop(self._stop_path)
    return Status(nodes, stopped_by, now - stopped_at)

  def terminate(self, name: str) -> None:
    """Send a node SIGTERM."""
    self._renew_lease()
    self._children[name].terminate()

  def kill(self, name: str) -> None:
    """Kill a node and everything that it started."""
    self._renew_lease()
    self._children[name].kill()

  def close(self) -> None:
    """Kill the nodes that still run and remove the files."""
    self._is_closed.set()
    for child in self._running():
      child.kill()
    self._guardian.close()
    for held in self._held.values():
      held.close()

  def _renew_lease(self) -> None:
    self._called_at = time.monotonic()

  def _running(self) -> list[children.Child]:
    return [c for c in self._children.values() if c.returncode is None]

  def _update_guardian(self) -> None:
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
    os.kill(os.getpid(), signal.SIGKILL)  # The guardian kills the nodes.
