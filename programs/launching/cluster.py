"""Runs a Launchpad program on a Ray cluster, or on a Ray of its own here."""

import contextlib
import dataclasses
import errno
import logging
import math
import os
import pathlib
import signal
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import grpc
import launchpad as lp
import ray
from ray.util import scheduling_strategies

from programs.launching import (
  fleet,
  local,
  outcomes,
  ports,
  ray_node,
  remote,
  roster,
  serialization,
  slots,
  supervisor,
  tasks,
  workspace,
)
from programs.launching import restarts as restarts_lib

# How long jobs may take to learn that a run has ended, or had before.
_PARTING_SECONDS, _PARTING_POLL_SECONDS = 15.0, 0.2
_DECLINE_SECONDS = 30.0
_RAY_ANSWER_SECONDS, _STARTING_SECONDS = 5.0, 120.0
# Of this process's variables, those that nodes elsewhere get as well.
_PASSED = ('TF_', 'XLA_', 'LP_', 'GRPC_')
# The folder that is shipped to machines, but for what its `.gitignore` names.
_CODE = pathlib.Path(__file__).resolve().parents[2]
_NOT_SHIPPED = ('.git', '.venv*', '/runs', '/docs', '*.pyc', '*.log')


@dataclasses.dataclass(frozen=True)
class Options:
  """How a program is run on Ray.

  Attributes:
    address: Of the cluster, 'host:port', or 'auto' for the one that this
      machine is in; empty: a Ray that lives as long as the launch does.
    needs: Group -> what its nodes need; for groups not named, to be here.
    together: Groups that have one host for all their nodes, on this machine;
      others have one for each node, which takes 76 MB. An idle host takes 0.8%
      of a core, of which Ray's share is the most.
    max_restarts_per_hour: Of nodes that fail; one more ends the program.
    elsewhere: Groups whose nodes run where jobs offer that (see `jobs`); nobody
      has a handle to them.
    said: What jobs learn of the run, plain data; None: there are no jobs. With
      jobs the cluster's head is this machine, and is made where there is none
      at the address.
  """

  address: str
  needs: Mapping[str, tasks.Requirements]
  together: Sequence[Collection[str]]
  max_restarts_per_hour: int
  elsewhere: Collection[str] = ()
  said: Mapping[str, Any] | None = None


class AddressError(Exception):
  """A cluster cannot have its head at an address, or has a run there."""


def launch(
  program: lp.Program,
  resources: Mapping[str, Any],
  directory: pathlib.Path,
  options: Options,
  on_poll: Callable[[supervisor.Supervisor, fleet.Fleet], None] | None = None,
  noncritical: Collection[str] = (),
  on_ports: Callable[[Sequence[int]], None] | None = None,
  on_wait: Callable[[str], None] = lambda _: None,
) -> outcomes.Outcome:
  """Runs a program to its end, as `local.launch` does.

  Nodes that fail are started again, on another machine where theirs is lost;
  those that others have a handle to come back at their old address.
  What its arguments are called there, they are here; `on_poll` is told where
  nodes run, too, `on_ports` of the ports at which nodes will serve (Ray has its
  own), and `on_wait`, every five seconds before there are nodes, whose machine
  is waited for.

  Raises:
    ValueError: Jobs are to run what others have a handle to.
    fleet.PlacingError: There is no machine for a node.
    ConnectionError: There is no cluster at the address, or no Ray starts here.
    AddressError: The address is not of this machine, or is taken.
  """
  with contextlib.ExitStack() as held:
    held.enter_context(workspace.open_workspace(directory))
    parts = serialization.make_tasks(program)
    awaited = [task for task in parts if task.group in options.elsewhere]
    if servers := [task.name for task in awaited if task.is_server]:
      raise ValueError(f'jobs must run no servers, got {servers}')
    placed = [task for task in parts if task not in awaited]
    cpus = sum(
      options.needs.get(task.group, tasks.Requirements()).cpu for task in placed
    )
    held.enter_context(_connected(options, directory, math.ceil(cpus)))
    offers = None
    if options.said is not None:
      run = slots.State(
        run=uuid.uuid4().hex,
        nodes=sorted(task.name for task in awaited),
        said=options.said,
      )
      offers = held.enter_context(_announced(run))
    crew = held.enter_context(
      fleet.Fleet(
        _placements(placed, options),
        {group: _environment(resources.get(group)) for group in program.groups},
        _import_path(),
        workspace.stop_path(directory),
        awaited,
        offers,
      )
    )
    try:
      crew.place(on_wait)
    except KeyboardInterrupt:  # Nothing was started yet.
      return outcomes.Outcome('interrupted', signum=signal.SIGINT)
    if on_ports is not None:
      on_ports(crew.ports())
    outcome = local.run(
      crew.commands(),
      directory,
      on_poll and (lambda runner: on_poll(runner, crew)),
      noncritical=noncritical,
      restarts=restarts_lib.RestartPolicy(options.max_restarts_per_hour),
    )
    if offers is not None:
      reason = outcome.describe().splitlines()[0]
      _end(offers, outcome.kind, reason)
    return outcome


def decline(options: Options, directory: pathlib.Path, reason: str) -> None:
  """Tells jobs of the next half minute that the run has finished before.

  Raises:
    ConnectionError, AddressError: As `launch`.
  """
  over = slots.State(over={'kind': 'finished', 'reason': reason})
  with _connected(options, directory, 0), _announced(over):
    time.sleep(_DECLINE_SECONDS)


@contextlib.contextmanager
def _announced(run: slots.State) -> Iterator[Any]:
  """Has jobs learn of a run; yields its roster, a Ray actor."""
  try:
    offers = (
      ray.remote(roster.Roster)
      .options(
        name=roster.NAME,
        num_cpus=0,
        max_restarts=-1,
        scheduling_strategy=scheduling_strategies.NodeAffinitySchedulingStrategy(
          ray.get_runtime_context().get_node_id(), soft=False
        ),
      )
      .remote(run)
    )
    ray.get(offers.is_alone.remote(), timeout=_STARTING_SECONDS)
  except ValueError as error:
    raise AddressError('another run has its jobs there') from error
  except ray.exceptions.RayError as error:
    raise ConnectionError(f'Ray runs nothing here: {error}') from error
  try:
    yield offers
  except BaseException as error:
    _end(offers, 'failed', f'{type(error).__name__}: {error}')
    raise
  finally:
    ray.kill(offers)


def _end(offers: Any, kind: str, reason: str) -> None:
  with contextlib.suppress(ray.exceptions.RayError, KeyboardInterrupt):
    ray.get(offers.end.remote(kind, reason), timeout=_PARTING_SECONDS)
    deadline = time.monotonic() + _PARTING_SECONDS
    while not ray.get(offers.is_alone.remote(), timeout=_PARTING_SECONDS):
      if time.monotonic() > deadline:
        break
      time.sleep(_PARTING_POLL_SECONDS)


@contextlib.contextmanager
def _connected(
  options: Options, directory: pathlib.Path, num_cpus: int
) -> Iterator[None]:
  with contextlib.ExitStack() as held:
    address = options.address
    if not address or (options.said is not None and not _is_taken(address)):
      if not address:
        with ports.hold_port(0) as free:
          address = f'{ray_node.LOOPBACK}:{free.getsockname()[1]}'
      head = ray_node.head(
        address.rpartition(':')[0], ports.split_address(address)[1]
      )
      num_cpus = max(num_cpus, os.cpu_count() or 1)
      arguments = [*head, f'--num-cpus={num_cpus}']
      held.enter_context(ray_node.running(arguments, directory / 'logs'))
    ray.init(
      address=address,
      _node_ip_address=ports.own_address(address) or None,
      namespace=roster.NAMESPACE,
      # Hosts send us what nodes write.
      log_to_driver=False,
      logging_level=logging.ERROR,
      runtime_env={
        'working_dir': str(_CODE),
        'excludes': list(_NOT_SHIPPED),
        # Who asks for no GPU sees what its group's environment lets it see.
        'env_vars': {'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'},
      },
    )
    held.callback(ray.shutdown)
    yield


def _is_taken(address: str) -> bool:
  """Whether there is a Ray at an address of this machine."""
  host, _, port = address.rpartition(':')
  with socket.socket() as probe:
    try:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      probe.bind((host, int(port)))
      return False
    except OSError as error:
      if error.errno != errno.EADDRINUSE:
        raise AddressError(f'{address}: {error.strerror}') from error
  with grpc.insecure_channel(address) as channel:
    try:
      grpc.channel_ready_future(channel).result(_RAY_ANSWER_SECONDS)
    except grpc.FutureTimeoutError as error:
      raise AddressError(f'{address}: no Ray has this port') from error
  return True


def _placements(
  parts: Sequence[tasks.Task], options: Options
) -> list[remote.Placement]:
  """Packs the tasks; servers first, whose addresses all others are told."""
  here = ray.get_runtime_context().get_node_id()
  packs = [
    [task for task in parts if task.group in groups]
    for groups in options.together
  ]
  shared = {group for groups in options.together for group in groups}
  packs += [[task] for task in parts if task.group not in shared]
  made = []
  for packed in filter(None, packs):
    wanted = [options.needs.get(t.group, tasks.Requirements()) for t in packed]
    is_here = any(need.is_local for need in wanted)
    made.append(
      remote.Placement(
        packed,
        sum(need.cpu for need in wanted),
        sum(need.gpu for need in wanted),
        here if is_here or packed[0].group in shared else '',
      )
    )
  return sorted(made, key=lambda p: not any(t.is_server for t in p.tasks))


def _environment(given: Any) -> dict[str, str]:
  passed = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(_PASSED)
  }
  own = {
    name: str(value) for name, value in (given.env if given else {}).items()
  }
  return {'PYTHONUNBUFFERED': '1', **passed, **own}


def _import_path() -> list[str]:
  found = []
  for entry in map(pathlib.Path, tasks.import_path()):
    with contextlib.suppress(ValueError):
      entry = entry.relative_to(_CODE)
    found.append(str(entry))
  return found
