"""A host of a program on a Ray cluster, with its tasks, as launchers see it."""

import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util import scheduling_strategies

from programs.launching import host as host_lib
from programs.launching import logs, roster, tasks

_LEASE_SECONDS = 10.0  # Of a host that nobody looks at.


@dataclasses.dataclass(frozen=True)
class Placement:
  """Tasks of one host, and what that needs.

  Attributes:
    tasks: One or more.
    cpu: Cores that Ray is to set aside.
    gpu: GPUs that the tasks see; without any, they see what the machine has.
    node: Ray's id of the machine that it must be on; empty: any.
  """

  tasks: Sequence[tasks.Task]
  cpu: float = 0.0
  gpu: float = 0.0
  node: str = ''

  @property
  def server_keys(self) -> list[str]:
    """Of the addresses that other tasks know."""
    servers = [task for task in self.tasks if task.is_server]
    return [key for task in servers for key in task.address_keys]

  def describe(self) -> str:
    """Which tasks want what."""
    names = ', '.join(task.name for task in self.tasks)
    where = f' on machine {self.node[:8]}' if self.node else ''
    return f'{names} (cpu={self.cpu:g} gpu={self.gpu:g}{where})'


class _RayHost(host_lib.Host):
  def where(self) -> tuple[str, str, str]:
    """Ray's id of the machine, its address, and who shares its processes."""
    return (
      ray.get_runtime_context().get_node_id(),
      ray.util.get_node_ip_address(),
      _process_space(),
    )


class Host:
  """One host while it lives; its successor is another object."""

  def __init__(self, placement: Placement, import_path: Sequence[str]) -> None:
    self.children: dict[str, Child] = {}  # That it has been given.
    self.offsets: dict[str, int] = {}
    self.node = self.address = ''
    self.is_here = False
    self.reached_at: float | None = None  # None: it is not placed yet.
    strategy: Any = 'SPREAD'
    if placement.node:
      strategy = scheduling_strategies.NodeAffinitySchedulingStrategy(
        placement.node, soft=False
      )
    self.actor = (
      ray.remote(_RayHost)
      .options(
        num_cpus=placement.cpu,
        num_gpus=placement.gpu,
        scheduling_strategy=strategy,
        max_restarts=0,
      )
      .remote(_LEASE_SECONDS, import_path)
    )
    self.where = self.actor.where.remote()
    self.asked: Any = self.where

  def settle(self) -> None:
    """Takes in where it was placed."""
    self.node, self.address, space = ray.get(self.where)
    self.is_here = space == _process_space()
    self.reached_at = time.monotonic()

  def answer(self) -> host_lib.Look | None:
    """Takes the answer that has come, and asks anew."""
    asked, self.asked = self.asked, None
    if self.reached_at is None:
      self.settle()
      return None
    look = ray.get(asked)
    self.reached_at = time.monotonic()
    return look

  def ask(self) -> Any:
    """Ray's reference to the answer that is under way."""
    if self.asked is None:
      self.asked = self.actor.look.remote(dict(self.offsets))
    return self.asked


class Child:
  """One task in a host, or waiting for one; see `supervisor.Running`."""

  def __init__(
    self,
    task: tasks.Task,
    log_directory: pathlib.Path,
    refresh: Callable[[], None],
  ) -> None:
    """It waits; `refresh` has the methods below called with what is new."""
    self.name = task.name
    self.task = task
    self.log = logs.Log(log_directory, task.name)
    self.started_at = time.monotonic()
    self.returncode: int | None = None
    self.pid: int | None = None
    self.offer: roster.Offer | None = None  # That it is run for, if any.
    self.is_asked = False  # To end.
    self._actor: Any = None
    self._refresh = refresh

  def poll(self) -> bool:
    """Whether it has ended, as far as is known here."""
    self._refresh()
    return self.returncode is not None

  def terminate(self) -> None:
    """Asks it to end; once."""
    if self.returncode is None and not self.is_asked:
      self.is_asked = True
      if self._actor is None:
        self.returncode = -signal.SIGTERM
      else:
        self._actor.terminate.remote(self.name)

  def kill(self) -> None:
    """Kills it and all that it has started."""
    if self.returncode is None:
      if self._actor is None:
        self.returncode = -signal.SIGKILL
      else:
        self._actor.kill.remote(self.name)

  def close(self) -> None:
    """Closes its log."""
    self.log.close()

  def give(self, actor: Any) -> None:
    """A host is being called to start it."""
    self._actor = actor
    self.started_at = time.monotonic()

  def take(self, report: host_lib.Report, is_here: bool) -> None:
    """Takes in what its host reports; `is_here`: its process ids hold here."""
    if report.output:
      self.log.file.write(report.output)
      written = time.time() - report.silent_seconds
      os.utime(self.log.file.fileno(), (written, written))
    self.pid = report.pid if is_here else None
    # What it wrote last comes first.
    if len(report.output) < host_lib.MAX_OUTPUT_BYTES:
      self.returncode = report.returncode

  def lose(self, reason: str) -> None:
    """It is gone with its host; where that was offered, it waits again."""
    if self.returncode is None:
      self.log.add_line(reason)
      if self.offer is None or self.is_asked:
        self.returncode = -signal.SIGKILL
      self._actor = self.offer = self.pid = None


def _process_space() -> str:
  """The same for all processes that see one another's process ids."""
  namespace = os.stat('/proc/self/ns/pid').st_ino
  boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  return f'{boot}/{namespace}'
