"""The executors of a program on a Ray cluster, as its launcher sees them.

Ray places executors, ships the code and carries calls. Nodes run in processes
of their own and send one another their data without Ray.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from programs.launching import (
  ports,
  ray_executor,
  registry,
  supervisor,
  tasks,
  workspace,
)

# Time between two status requests; one takes 2 ms of a core.
_REFRESH_SECONDS = 1.0
# An executor not reached for so long is lost. Its lease has ended by then, so
# that no node runs twice.
_LOST_SECONDS = 17.0
_PLACING_SECONDS, _ON_WAIT_SECONDS = 60.0, 5.0
_STARTING_SECONDS = 300.0  # Of an executor, on a busy machine.
_CLOSING_SECONDS = 3.0


class PlacementError(Exception):
  """No machine has room for a node; the message says what it needs."""


class ExecutorPool:
  """Executors for the nodes of one program; a context that ends them."""

  def __init__(
    self,
    placements: Sequence[ray_executor.Placement],
    environments: Mapping[str, Mapping[str, str]],
    import_path: Sequence[str],
    stop_path: pathlib.Path,
    job_tasks: Sequence[tasks.Task] = (),
    workers: Any = None,
  ) -> None:
    """Let Ray create the executors.

    Args:
      placements: Of all nodes but those of jobs.
      environments: Group -> variables of its processes.
      import_path: Folders that nodes import from, relative to the shipped code.
      stop_path: File to create here when a node stops the program.
      job_tasks: Nodes that jobs run; they wait until a job does.
      workers: The Ray actor `registry.WorkerRegistry`, if there are jobs.
    """
    self._placements = placements
    self._keys = {
      task.name: key
      for key, placement in enumerate(placements)
      for task in placement.tasks
    }
    self._environments = environments
    self._import_path = import_path
    self._stop_path = stop_path
    self._job_tasks = job_tasks
    self._job_nodes: dict[str, ray_executor.RemoteNode] = {}
    self._workers = workers
    self._pending: Any = None  # Ray's reference to the next assignments.
    self._assignments: Mapping[str, registry.Assignment] = {}
    self._refreshed_at = 0.0
    self._servers: dict[str, str] = {}  # Key -> 'host:port'.
    self._server_machines: dict[int, str] = {}  # Where servers must restart.
    self._starts: dict[Any, ray_executor.RemoteNode] = {}
    # By the number of a placement, or the machine of an assignment.
    self._executors: dict[int | str, ray_executor.ExecutorHandle] = {
      key: ray_executor.ExecutorHandle(placement, import_path)
      for key, placement in enumerate(placements)
    }

  def __enter__(self) -> 'ExecutorPool':
    return self

  def __exit__(self, *exception: object) -> None:
    handles = self._executors.values()
    closing = [handle.actor.close.remote() for handle in handles]
    if closing:
      ray.wait(closing, num_returns=len(closing), timeout=_CLOSING_SECONDS)
    for handle in handles:
      ray.kill(handle.actor)
    self._executors.clear()

  def nodes(self) -> list[supervisor.Node]:
    """Return the nodes, for a supervisor to start."""
    placed = [task for each in self._placements for task in each.tasks]
    return [
      supervisor.Node(
        task.name,
        functools.partial(self._start, task),
        functools.partial(self._why_not_restartable, task),
      )
      for task in (*placed, *self._job_tasks)
    ]

  def place(self, on_wait: Callable[[str], None]) -> None:
    """Wait until all executors are placed, and assign ports to servers.

    Args:
      on_wait: Called every five seconds with nodes that wait for a machine.

    Raises:
      PlacementError: An executor had no room for a minute, or did not start
        within five.
      ray.exceptions.RayError: Ray could not create one.
    """
    started = time.monotonic()
    for key, placement in enumerate(self._placements):
      handle = self._executors[key]
      while not ray.wait([handle.location], timeout=_ON_WAIT_SECONDS)[0]:
        on_wait(placement.describe())
        waited = time.monotonic() - started
        if waited > _STARTING_SECONDS or (
          waited > _PLACING_SECONDS and not _has_room(placement)
        ):
          raise PlacementError(
            f'no machine has room for {placement.describe()}; the cluster has '
            f'{_describe(ray.cluster_resources())}, of which '
            f'{_describe(ray.available_resources())} are free'
          )
      handle.read_location()
      if keys := placement.server_keys:
        self._server_machines[key] = handle.machine
        wanted = dict.fromkeys(keys, 0)
        held = ray.get(handle.actor.hold_ports.remote(wanted))
        for name, port in held.items():
          self._servers[name] = f'{handle.address}:{port}'

  def machines(self) -> dict[str, str]:
    """Return name of a node -> address of its machine, where known."""
    return {
      name: handle.address
      for handle in self._executors.values()
      for name in handle.nodes
      if handle.address
    }

  def ports(self) -> list[int]:
    """Return the ports of all servers."""
    return [ports.split_address(each)[1] for each in self._servers.values()]

  def _start(
    self, task: tasks.Task, log_directory: pathlib.Path
  ) -> ray_executor.RemoteNode:
    node = ray_executor.RemoteNode(task, log_directory, self._refresh)
    key = self._keys.get(task.name)
    if key is None:
      self._job_nodes[task.name] = node
      self._apply_assignments()
      return node
    if key not in self._executors:
      self._executors[key] = self._replace_executor(key)
    self._start_in(self._executors[key], node, {})
    return node

  def _why_not_restartable(self, task: tasks.Task) -> str:
    machine = self._server_machines.get(self._keys.get(task.name, -1))
    alive = {found['NodeID'] for found in ray.nodes() if found['Alive']}
    if machine is None or machine in alive:
      return ''
    return 'its machine, at whose address other nodes look for it, is lost'

  def _refresh(self) -> None:
    """Read all answers that have come, and request new ones."""
    now = time.monotonic()
    if now - self._refreshed_at < _REFRESH_SECONDS or not self._executors:
      return
    self._refreshed_at = now
    keys = {each.request_status(): key for key, each in self._executors.items()}
    references = [*self._starts, *keys]
    if self._workers is not None:
      self._pending = self._pending or self._workers.assignments.remote()
      references.append(self._pending)
    ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
    for reference in ready:
      if reference is self._pending:
        self._pending = None
        # Ray restarts a registry whose process was lost.
        with contextlib.suppress(ray.exceptions.RayError):
          self._assignments = ray.get(reference)
          self._apply_assignments()
      elif reference in self._starts:
        self._read_start(reference)
      else:
        self._read_answer(keys[reference])
    for key, handle in list(self._executors.items()):
      if handle.reached_at and now - handle.reached_at > _LOST_SECONDS:
        self._lose(key, f'not reached for {_LOST_SECONDS:g} s')

  def _replace_executor(self, key: int) -> ray_executor.ExecutorHandle:
    placement = self._placements[key]
    # Servers must come back at their addresses.
    machine = self._server_machines.get(key, placement.machine)
    handle = ray_executor.ExecutorHandle(
      dataclasses.replace(placement, machine=machine), self._import_path
    )
    wanted = {
      name: ports.split_address(self._servers[name])[1]
      for name in placement.server_keys
    }
    handle.actor.hold_ports.remote(wanted)
    return handle

  def _start_in(
    self,
    handle: ray_executor.ExecutorHandle,
    node: ray_executor.RemoteNode,
    environment: Mapping[str, str],
  ) -> None:
    group = self._environments.get(node.task.group, {})
    reference = handle.start(node, self._servers, {**group, **environment})
    self._starts[reference] = node

  def _apply_assignments(self) -> None:
    """Start nodes of jobs that are assigned, and end those no longer so."""
    for name, node in self._job_nodes.items():
      assignment = self._assignments.get(name)
      if node.returncode is not None or node.assignment == assignment:
        continue
      if node.assignment is not None:
        node.kill()
        self._executors[node.assignment.machine].nodes.pop(name)
        node.lose(f'its job on {node.assignment.address} has ended')
      if assignment is not None and not node.is_terminated:
        node.log.add_line(f'run by a job on {assignment.address}')
        node.assignment = assignment
        machine = assignment.machine
        if machine not in self._executors:
          self._executors[machine] = ray_executor.ExecutorHandle(
            ray_executor.Placement([], machine=machine), self._import_path
          )
        self._start_in(self._executors[machine], node, assignment.environment)

  def _read_start(self, reference: Any) -> None:
    node = self._starts.pop(reference)
    try:
      ray.get(reference)
    except ray.exceptions.RayActorError:
      for key, handle in list(self._executors.items()):
        if handle.nodes.get(node.name) is node:
          self._lose(key, 'it could not be reached')
    except ray.exceptions.RayTaskError as error:
      node.assignment = None  # So that it counts as a failure of the node.
      node.lose(f'could not be started: {error.cause}')

  def _read_answer(self, key: int | str) -> None:
    handle = self._executors.get(key)
    if handle is None:
      return
    try:
      status = handle.read_answer()
    except ray.exceptions.ActorUnavailableError:
      return  # Its connection broke, which it may survive.
    except ray.exceptions.RayError as error:
      reason = str(error).splitlines()[0]
      self._lose(key, f'{type(error).__name__}: {reason}')
      return
    if status is None or status.stopped_by is None:
      return
    if not self._stop_path.exists():
      workspace.write_stop(self._stop_path, status.stopped_by)
      stopped_at = time.time() - status.stopped_seconds
      os.utime(self._stop_path, (stopped_at, stopped_at))

  def _lose(self, key: int | str, reason: str) -> None:
    handle = self._executors.pop(key, None)
    if handle is None:
      return
    with contextlib.suppress(ray.exceptions.RayError):
      ray.kill(handle.actor)
    where = f' on {handle.address}' if handle.address else ''
    for node in handle.nodes.values():
      node.lose(f'lost with its executor{where} ({reason})')


def _has_room(placement: ray_executor.Placement) -> bool:
  """Return whether the cluster has room, though perhaps on no one machine."""
  free = ray.available_resources()
  wanted = {'CPU': placement.cpu, 'GPU': placement.gpu}
  return all(free.get(name, 0) >= number for name, number in wanted.items())


def _describe(resources: Mapping[str, float]) -> str:
  return f'cpu={resources.get("CPU", 0):g} gpu={resources.get("GPU", 0):g}'
