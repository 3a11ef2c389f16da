"""Executors as Ray actors, and the nodes in them as the launcher sees them."""

import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.util import scheduling_strategies

from programs.launching import children, executor, registry, tasks

_LEASE_SECONDS = 10.0  # Of an executor that nobody calls.


@dataclasses.dataclass(frozen=True)
class Placement:
  """Nodes that share an executor, and where Ray is to place it.

  Attributes:
    tasks: The nodes.
    cpu: Cores that Ray reserves.
    gpu: GPUs that the nodes see; with 0, they see all of the machine.
    machine: Ray's id of the machine; '' for any.
  """

  tasks: Sequence[tasks.Task]
  cpu: float = 0.0
  gpu: float = 0.0
  machine: str = ''

  @property
  def server_keys(self) -> list[str]:
    """Keys of the addresses that other nodes use."""
    servers = [task for task in self.tasks if task.is_server]
    return [key for task in servers for key in task.address_keys]

  def describe(self) -> str:
    """Return names and requirements of the nodes."""
    names = ', '.join(task.name for task in self.tasks)
    where = f' on machine {self.machine[:8]}' if self.machine else ''
    return f'{names} (cpu={self.cpu:g} gpu={self.gpu:g}{where})'


class _RayExecutor(executor.Executor):
  def location(self) -> tuple[str, str, str]:
    return (
      ray.get_runtime_context().get_node_id(),
      ray.util.get_node_ip_address(),
      _pid_namespace(),
    )


class ExecutorHandle:
  """Ray actor that is an executor, from its creation to its end."""

  def __init__(self, placement: Placement, import_path: Sequence[str]) -> None:
    """Let Ray create the actor."""
    self.nodes: dict[str, RemoteNode] = {}  # That it has started.
    self.machine = self.address = ''  # Until it is placed.
    self.reached_at: float | None = None  # Time of its last answer.
    self._offsets: dict[str, int] = {}  # Of each node's output.
    self._has_own_pids = False
    strategy: Any = 'SPREAD'
    if placement.machine:
      strategy = scheduling_strategies.NodeAffinitySchedulingStrategy(
        placement.machine, soft=False
      )
    self.actor = (
      ray.remote(_RayExecutor)
      .options(
        num_cpus=placement.cpu,
        num_gpus=placement.gpu,
        scheduling_strategy=strategy,
        max_restarts=0,
      )
      .remote(_LEASE_SECONDS, import_path)
    )
    # Ray's references: to where it is placed, and to its next answer.
    self.location = self.actor.location.remote()
    self._pending: Any = self.location

  def start(
    self,
    node: 'RemoteNode',
    addresses: Mapping[str, str],
    environment: Mapping[str, str],
  ) -> Any:
    """Start a node; return Ray's reference to the end of that call."""
    node.set_actor(self.actor)
    self.nodes[node.name] = node
    self._pending = None  # That answer has the status of its last process.
    return self.actor.start.remote(node.task, addresses, environment)

  def read_location(self) -> None:
    """Wait until it is placed, and read where."""
    self.machine, self.address, namespace = ray.get(self.location)
    self._has_own_pids = namespace == _pid_namespace()
    self.reached_at = time.monotonic()
    self._pending = None

  def request_status(self) -> Any:
    """Return Ray's reference to its next answer."""
    if self._pending is None:
      self._pending = self.actor.status.remote(dict(self._offsets))
    return self._pending

  def read_answer(self) -> executor.Status | None:
    """Read the answer that has come; return its status, if it is one.

    Raises:
      ray.exceptions.RayError: The executor did not answer.
    """
    pending, self._pending = self._pending, None
    if self.reached_at is None:
      self.read_location()
      return None
    status = ray.get(pending)
    self.reached_at = time.monotonic()
    for name, node_status in status.nodes.items():
      node = self.nodes.get(name)
      if node is not None and node.returncode is None:
        received = self._offsets.get(name, 0) + len(node_status.output)
        self._offsets[name] = received
        node.update(node_status, self._has_own_pids)
    return status


class RemoteNode:
  """A `supervisor.RunningNode` in an executor, or waiting for one."""

  def __init__(
    self,
    task: tasks.Task,
    log_directory: pathlib.Path,
    refresh: Callable[[], None],
  ) -> None:
    """Wait for an executor; `refresh` updates all nodes of the program."""
    self.name = task.name
    self.task = task
    self.log = children.Log(log_directory, task.name)
    self.started_at = time.monotonic()
    self.returncode: int | None = None
    self.pid: int | None = None
    self.assignment: registry.Assignment | None = None  # To a job's worker.
    self.is_terminated = False
    self._actor: Any = None
    self._refresh = refresh

  def poll(self) -> bool:
    """Return whether it has ended, as far as the launcher knows."""
    self._refresh()
    return self.returncode is not None

  def terminate(self) -> None:
    """Send it SIGTERM, once."""
    if self.returncode is None and not self.is_terminated:
      self.is_terminated = True
      if self._actor is None:
        self.returncode = -signal.SIGTERM
      else:
        self._actor.terminate.remote(self.name)

  def kill(self) -> None:
    """Kill it and everything that it started."""
    if self.returncode is None:
      if self._actor is None:
        self.returncode = -signal.SIGKILL
      else:
        self._actor.kill.remote(self.name)

  def close(self) -> None:
    """Close its log."""
    self.log.close()

  def set_actor(self, actor: Any) -> None:
    """Set the executor that is about to start it."""
    self._actor = actor
    self.started_at = time.monotonic()

  def update(self, status: executor.NodeStatus, has_own_pids: bool) -> None:
    """Append its output to the log and take over its status.

    `has_own_pids` says whether the process id is valid on this machine.
    """
    if status.output:
      self.log.file.write(status.output)
      written_at = time.time() - status.silent_seconds
      os.utime(self.log.file.fileno(), (written_at, written_at))
    self.pid = status.pid if has_own_pids else None
    # Its remaining output comes before its end.
    if len(status.output) < executor.MAX_OUTPUT_BYTES:
      self.returncode = status.returncode

  def lose(self, reason: str) -> None:
    """Record the loss of its executor; a job's node waits for another job."""
    if self.returncode is None:
      self.log.add_line(reason)
      if self.assignment is None or self.is_terminated:
        self.returncode = -signal.SIGKILL
      self._actor = self.assignment = self.pid = None


def _pid_namespace() -> str:
  """Return an id shared by processes that see the same process ids."""
  namespace = os.stat('/proc/self/ns/pid').st_ino
  boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  return f'{boot}/{namespace}'
