"""The hosts of a program on a Ray cluster, as its launcher sees them.

Ray places hosts, ships the code and carries calls. What runs in a host is its
own processes; what flows between those, flows without Ray.
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

from programs.launching import remote, roster, supervisor, tasks, workspace

# The launcher looks so often: a look at a host takes 2 ms of a core. One that
# was not reached for so long is lost; it has ended itself by then, so that
# nothing runs twice.
_LOOK_SECONDS = 1.0
_LOST_SECONDS = 17.0
_PLACING_SECONDS, _NOTE_SECONDS = 60.0, 5.0
_STARTING_SECONDS = 300.0  # Of its processes, on machines that are busy.
_CLOSING_SECONDS = 3.0


class PlacingError(Exception):
  """There is no machine for a task; the message says what was asked for."""


class Fleet:
  """Hosts for the tasks of one program; a context, which ends them at last."""

  def __init__(
    self,
    placements: Sequence[remote.Placement],
    environments: Mapping[str, Mapping[str, str]],
    import_path: Sequence[str],
    stop_path: pathlib.Path,
    awaited: Sequence[tasks.Task] = (),
    offers: Any = None,
  ) -> None:
    """Has Ray make the hosts.

    Args:
      placements: Of all tasks but those that are awaited.
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
    self._waiting: dict[str, remote.Child] = {}  # Of those, the newest.
    self._offers = offers
    self._offered: Any = None  # An answer that is under way.
    self._standing: Mapping[str, roster.Offer] = {}  # The last answer.
    self._looked_at = 0.0
    self._servers: dict[str, tuple[str, int]] = {}  # Key -> address, port.
    self._nodes: dict[int, str] = {}  # Where servers are, and must come back.
    self._starts: dict[Any, remote.Child] = {}
    # By its place, or by the machine of an offer, which has one for all.
    self._hosts: dict[int | str, remote.Host] = {
      place: remote.Host(placement, import_path)
      for place, placement in enumerate(placements)
    }

  def __enter__(self) -> 'Fleet':
    return self

  def __exit__(self, *exception: object) -> None:
    closing = [host.actor.close.remote() for host in self._hosts.values()]
    if closing:
      ray.wait(closing, num_returns=len(closing), timeout=_CLOSING_SECONDS)
    for host in self._hosts.values():
      ray.kill(host.actor)
    self._hosts.clear()

  def commands(self) -> list[supervisor.Node]:
    """What starts the tasks."""
    placed = [task for each in self._placements for task in each.tasks]
    return [
      supervisor.Node(
        task.name,
        functools.partial(self._start, task),
        functools.partial(self._refusal, task),
      )
      for task in (*placed, *self._awaited)
    ]

  def place(self, on_wait: Callable[[str], None]) -> None:
    """Waits until all hosts have their place, and gives servers addresses.

    Every five seconds `on_wait` is called with who has none yet.

    Raises:
      PlacingError: There was no room for one for a minute, or it could not be
        made in five.
      ray.exceptions.RayError: Ray could not make one.
    """
    started = time.monotonic()
    for place, placement in enumerate(self._placements):
      host = self._hosts[place]
      while not ray.wait([host.where], timeout=_NOTE_SECONDS)[0]:
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
      if keys := placement.server_keys:
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

  def _start(
    self, task: tasks.Task, log_directory: pathlib.Path
  ) -> remote.Child:
    child = remote.Child(task, log_directory, self._refresh)
    if task.name not in self._places:
      self._waiting[task.name] = child
      self._take_offers(self._standing)
      return child
    place = self._places[task.name]
    if place not in self._hosts:
      self._hosts[place] = self._replace(place)
    self._give(child, self._hosts[place], {})
    return child

  def _refusal(self, task: tasks.Task) -> str:
    node = self._nodes.get(self._places.get(task.name, -1))
    alive = {found['NodeID'] for found in ray.nodes() if found['Alive']}
    if node is None or node in alive:
      return ''
    return 'its machine is lost, at whose address the other nodes look for it'

  def _refresh(self) -> None:
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
          self._standing = ray.get(reference)
          self._take_offers(self._standing)
      elif reference in self._starts:
        self._take_start(reference)
      else:
        self._take_look(asked[reference])
    for place, host in list(self._hosts.items()):
      if host.reached_at and now - host.reached_at > _LOST_SECONDS:
        self._lose(place, f'not reached for {_LOST_SECONDS:g} s')

  def _replace(self, place: int) -> remote.Host:
    """A new host; that of servers must be where they were."""
    placement = self._placements[place]
    keys = placement.server_keys
    if not keys:
      return remote.Host(placement, self._import_path)
    placement = dataclasses.replace(placement, node=self._nodes[place])
    host = remote.Host(placement, self._import_path)
    host.actor.hold.remote({key: self._servers[key][1] for key in keys})
    return host

  def _give(
    self,
    child: remote.Child,
    host: remote.Host,
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
        child.log.add_line(f'is run by a job on {offer.address}')
        child.offer = offer
        if offer.machine not in self._hosts:
          self._hosts[offer.machine] = remote.Host(
            remote.Placement([], node=offer.machine), self._import_path
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
      child.offer = None  # It is no fault of the job's: this counts.
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


def _has_room(placement: remote.Placement) -> bool:
  """Whether so much is free in all, though perhaps nowhere at once."""
  free = ray.available_resources()
  wanted = {'CPU': placement.cpu, 'GPU': placement.gpu}
  return all(free.get(name, 0) >= number for name, number in wanted.items())


def _resources(found: Mapping[str, float]) -> str:
  return f'cpu={found.get("CPU", 0):g} gpu={found.get("GPU", 0):g}'
