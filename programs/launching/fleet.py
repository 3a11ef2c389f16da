"""The hosts of a program on a Ray cluster, as its launcher sees them.

Ray places hosts, ships the code and carries calls. What runs in a host is its
own processes; what flows between those, flows without Ray.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.util import scheduling_strategies

from programs.launching import host as host_lib
from programs.launching import logs, roster, tasks, workspace

# The launcher looks so often: a look at a host takes 2 ms of a core. One that
# was not reached for so long is lost; it has ended itself by then, so that
# nothing runs twice.
_LOOK_SECONDS = 1.0
_LEASE_SECONDS = 10.0
_LOST_SECONDS = 17.0

_PLACING_SECONDS = 60.0
_STARTING_SECONDS = 300.0  # Of its processes, on machines that are busy.
_CLOSING_SECONDS = 3.0


class PlacingError(Exception):
  """There is no machine for a task; the message says what was asked for."""


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


class _Reached:
  """One host while it lives; its successor is another object."""

  def __init__(self, placement: Placement, import_path: Sequence[str]) -> None:
    self.children: dict[str, RemoteChild] = {}  # That it has been given.
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
    self.node, self.address, space = ray.get(self.where)
    self.is_here = space == _process_space()
    self.reached_at = time.monotonic()

  def answer(self) -> host_lib.Look | None:
    asked, self.asked = self.asked, None
    if self.reached_at is None:
      self.settle()
      return None
    look = ray.get(asked)
    self.reached_at = time.monotonic()
    return look

  def ask(self) -> Any:
    if self.asked is None:
      self.asked = self.actor.look.remote(dict(self.offsets))
    return self.asked


class RemoteChild:
  """One task in a host, or waiting for one; see `supervisor.Running`."""

  def __init__(
    self, task: tasks.Task, log: logs.Log, refresh: Callable[[], None]
  ) -> None:
    """It waits.

    Args:
      task: What is run.
      log: Takes what it writes.
      refresh: Has the methods below called with what is new.
    """
    self.name = task.name
    self.task = task
    self.log = log
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
    """Takes in what its host reports.

    Args:
      report: The newest.
      is_here: Whether process ids there are process ids here.
    """
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
      self.log.say(reason)
      if self.offer is None or self.is_asked:
        self.returncode = -signal.SIGKILL
      self._actor = self.offer = self.pid = None


@dataclasses.dataclass(frozen=True)
class RemoteCommand:
  """Starts one task wherever its host is; see `supervisor.Startable`."""

  task: tasks.Task
  fleet: 'Fleet'

  @property
  def name(self) -> str:
    """`<group>/<index>`."""
    return self.task.name

  @property
  def group(self) -> str:
    """The group's label."""
    return self.task.group

  def start(self, log_directory: pathlib.Path) -> RemoteChild:
    """Has the host start it, on a machine that Ray finds."""
    name = logs.file_name(self.task.group, self.task.index)
    log = logs.Log(log_directory / name, self.name)
    return self.fleet.start(self.task, log)

  def refusal(self) -> str:
    """Why it cannot be started again; empty where it can."""
    return self.fleet.refusal(self.task)


class Fleet:
  """Hosts for the tasks of one program; a context manager."""

  def __init__(
    self,
    placements: Sequence[Placement],
    environments: Mapping[str, Mapping[str, str]],
    import_path: Sequence[str],
    stop_path: pathlib.Path,
    awaited: Sequence[tasks.Task] = (),
    offers: Any = None,
  ) -> None:
    """Has Ray make the hosts.

    Args:
      placements: Each task in one of them, but for those that are awaited.
      environments: Group -> variables of its processes.
      import_path: Where they import from, below the folder that is shipped.
      stop_path: Appears, here, when a task stops the program.
      awaited: Tasks that run where somebody offers that, and wait till then.
      offers: A `roster.Roster` as a Ray actor, for those.
    """
    self._placements = placements
    self._places = {
      task.name: place
      for place, placement in enumerate(placements)
      for task in placement.tasks
    }
    self._environments = environments
    self._import_path = import_path
    self._stop_path = stop_path
    self._awaited = awaited
    self._waiting: dict[str, RemoteChild] = {}  # Of those, the newest.
    self._offers = offers
    self._offered: Any = None  # An answer that is under way.
    self._looked_at = 0.0
    self._servers: dict[str, tuple[str, int]] = {}  # Key -> address, port.
    self._nodes: dict[int, str] = {}  # Where servers are, and must come back.
    self._starts: dict[Any, RemoteChild] = {}
    # By its place, or by the machine of an offer, which has one for all.
    self._hosts: dict[int | str, _Reached] = {
      place: _Reached(placement, import_path)
      for place, placement in enumerate(placements)
    }

  def __enter__(self) -> 'Fleet':
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  def commands(self) -> list[RemoteCommand]:
    """What starts the tasks."""
    placed = [task for each in self._placements for task in each.tasks]
    return [RemoteCommand(task, self) for task in (*placed, *self._awaited)]

  def place(self, on_wait: Callable[[str], None]) -> None:
    """Waits until all hosts have their place, and gives servers addresses.

    Args:
      on_wait: Called once a second with who has none yet.

    Raises:
      PlacingError: There was no room for one for a minute, or it could not be
        made in five.
      ray.exceptions.RayError: Ray could not make one.
    """
    started = time.monotonic()
    for place, placement in enumerate(self._placements):
      host = self._hosts[place]
      while not ray.wait([host.where], timeout=1.0)[0]:
        on_wait(placement.describe())
        waited = time.monotonic() - started
        if waited > _STARTING_SECONDS or (
          waited > _PLACING_SECONDS and not _has_room(placement)
        ):
          raise PlacingError(
            f'no machine has room for {placement.describe()}; all have '
            f'{_resources(ray.cluster_resources())}, of which '
            f'{_resources(ray.available_resources())} are free'
          )
      host.settle()
      host.asked = None
      keys = _server_keys(placement)
      if keys:
        self._nodes[place] = host.node
        ports = ray.get(host.actor.hold.remote(dict.fromkeys(keys, 0)))
        for key, port in ports.items():
          self._servers[key] = host.address, port

  def machines(self) -> dict[str, str]:
    """Task -> address of the machine that it runs on, where that is known."""
    return {
      name: host.address
      for host in self._hosts.values()
      for name in host.children
      if host.address
    }

  def ports(self) -> list[int]:
    """At which servers are reached, once they have their places."""
    return [port for _, port in self._servers.values()]

  def start(self, task: tasks.Task, log: logs.Log) -> RemoteChild:
    """Has a task started, in a new host where the old one is lost."""
    child = RemoteChild(task, log, self.refresh)
    if task.name not in self._places:
      self._waiting[task.name] = child
      return child
    place = self._places[task.name]
    if place not in self._hosts:
      self._hosts[place] = self._replace(place)
    self._give(child, self._hosts[place], {})
    return child

  def refusal(self, task: tasks.Task) -> str:
    """Why a task cannot be started again; empty where it can."""
    node = self._nodes.get(self._places.get(task.name, -1))
    alive = {found['NodeID'] for found in ray.nodes() if found['Alive']}
    if node is None or node in alive:
      return ''
    return 'its machine is lost, at whose address the other nodes look for it'

  def refresh(self) -> None:
    """Takes in what hosts have answered, a few times a second."""
    now = time.monotonic()
    if now - self._looked_at < _LOOK_SECONDS or not self._hosts:
      return
    self._looked_at = now
    asked = {host.ask(): place for place, host in self._hosts.items()}
    references = [*self._starts, *asked]
    if self._offers is not None:
      self._offered = self._offered or self._offers.offers.remote()
      references.append(self._offered)
    ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
    for reference in ready:
      if reference is self._offered:
        self._offered = None
        # Ray starts the roster again where its process was lost.
        with contextlib.suppress(ray.exceptions.RayError):
          self._take_offers(ray.get(reference))
      elif reference in self._starts:
        self._take_start(reference)
      else:
        self._take_look(asked[reference])
    for place, host in list(self._hosts.items()):
      if host.reached_at and now - host.reached_at > _LOST_SECONDS:
        self._lose(place, f'not reached for {_LOST_SECONDS:g} s')

  def close(self) -> None:
    """Ends all hosts and what still runs in them."""
    closing = [host.actor.close.remote() for host in self._hosts.values()]
    if closing:
      ray.wait(closing, num_returns=len(closing), timeout=_CLOSING_SECONDS)
    for host in self._hosts.values():
      ray.kill(host.actor)
    self._hosts.clear()

  def _replace(self, place: int) -> _Reached:
    """A new host; that of servers must be where they were."""
    placement = self._placements[place]
    keys = _server_keys(placement)
    if not keys:
      return _Reached(placement, self._import_path)
    placement = dataclasses.replace(placement, node=self._nodes[place])
    host = _Reached(placement, self._import_path)
    host.actor.hold.remote({key: self._servers[key][1] for key in keys})
    return host

  def _give(
    self,
    child: RemoteChild,
    host: _Reached,
    environment: Mapping[str, str],
  ) -> None:
    child.give(host.actor)
    host.children[child.name] = child
    host.asked = None  # That answer would be about the task's last process.
    addresses = {
      key: f'{address}:{port}' for key, (address, port) in self._servers.items()
    }
    group = self._environments.get(child.task.group, {})
    reference = host.actor.start.remote(
      child.task, addresses, {**group, **environment}
    )
    self._starts[reference] = child

  def _take_offers(self, offers: Mapping[str, roster.Offer]) -> None:
    """Starts those that wait where they may, and ends those that may not."""
    for name, child in self._waiting.items():
      offer = offers.get(name)
      if child.returncode is not None or child.offer == offer:
        continue
      if child.offer is not None:
        child.kill()
        self._hosts[child.offer.machine].children.pop(name)
        child.lose(f'its job on {child.offer.address} has ended')
      if offer is not None and not child.is_asked:
        child.log.say(f'is run by a job on {offer.address}')
        child.offer = offer
        if offer.machine not in self._hosts:
          self._hosts[offer.machine] = _Reached(
            Placement([], node=offer.machine), self._import_path
          )
        self._give(child, self._hosts[offer.machine], offer.environment)

  def _take_start(self, reference: Any) -> None:
    child = self._starts.pop(reference)
    try:
      ray.get(reference)
    except ray.exceptions.RayActorError:
      for place, host in list(self._hosts.items()):
        if host.children.get(child.name) is child:
          self._lose(place, 'its host could not be reached')
    except ray.exceptions.RayTaskError as error:
      child.lose(f'could not be started: {error.cause}')

  def _take_look(self, place: int | str) -> None:
    host = self._hosts.get(place)
    if host is None:
      return
    try:
      look = host.answer()
    except ray.exceptions.ActorUnavailableError:
      return  # Its connection broke, which it may survive.
    except ray.exceptions.RayError as error:
      reason = str(error).splitlines()[0]
      self._lose(place, f'{type(error).__name__}: {reason}')
      return
    if look is None:
      return
    for name, report in look.reports.items():
      child = host.children.get(name)
      if child is not None and child.returncode is None:
        host.offsets[name] = host.offsets.get(name, 0) + len(report.output)
        child.take(report, host.is_here)
    if look.stopped_by is not None and not self._stop_path.exists():
      workspace.write_stop(self._stop_path, look.stopped_by)
      stopped_at = time.time() - look.stopped_seconds
      os.utime(self._stop_path, (stopped_at, stopped_at))

  def _lose(self, place: int | str, reason: str) -> None:
    host = self._hosts.pop(place, None)
    if host is None:
      return
    with contextlib.suppress(ray.exceptions.RayError):
      ray.kill(host.actor)
    where = f' on {host.address}' if host.address else ''
    for child in host.children.values():
      child.lose(f'lost with its host{where} ({reason})')


def _server_keys(placement: Placement) -> list[str]:
  return [
    key
    for task in placement.tasks
    if task.is_server
    for key in task.address_keys
  ]


def _has_room(placement: Placement) -> bool:
  """Whether so much is free in all, though perhaps nowhere at once."""
  free = ray.available_resources()
  return placement.cpu <= free.get('CPU', 0) and placement.gpu <= free.get(
    'GPU', 0
  )


def _resources(found: Mapping[str, float]) -> str:
  return f'cpu={found.get("CPU", 0):g} gpu={found.get("GPU", 0):g}'


def _process_space() -> str:
  """The same for all processes that see one another's process ids."""
  namespace = os.stat('/proc/self/ns/pid').st_ino
  boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  return f'{boot}/{namespace}'
