"""Runs a Launchpad program on a Ray cluster, or on a Ray of its own here."""

import contextlib
import dataclasses
import logging
import math
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import launchpad as lp
import ray

from programs.launching import (
  children,
  fleet,
  local,
  outcomes,
  ports,
  ray_node,
  supervisor,
  tasks,
  workspace,
)
from programs.launching import program as program_lib
from programs.launching import restarts as restarts_lib

_STARTING_SECONDS = 120.0
_TAIL_LINES = 50
# Of this process's variables, those that nodes elsewhere get as well.
_PASSED = ('TF_', 'XLA_', 'LP_', 'GRPC_')
_NOT_SHIPPED = ('.git', '.venv*', 'runs', 'docs', '*.pyc', '*.log')


@dataclasses.dataclass(frozen=True)
class Request:
  """What each node of a group needs.

  Attributes:
    cpu: Cores that Ray is to set aside for it.
    gpu: GPUs, of which it then sees no others.
    is_here: Whether it must run on this machine, where the run directory is.
    pack: Nodes of one host at most: a host takes 76 MB.
  """

  cpu: float = 0.0
  gpu: float = 0.0
  is_here: bool = False
  pack: int = 1


@dataclasses.dataclass(frozen=True)
class Options:
  """How a program is run on Ray.

  Attributes:
    address: Of the cluster, 'host:port', or 'auto' for the one that this
      machine is in; empty: a Ray that lives as long as the launch does.
    requests: Group -> what its nodes need; nothing, for groups not named.
    shared: Groups that have one host for all their nodes, on this machine. An
      idle host takes 0.8% of a core, of which Ray's share is the most.
    max_restarts_per_hour: Of nodes that fail; one more ends the program.
    port_range: First and last port that servers may have; None: any.
    code: Folder that is shipped to the machines, with all below it but what
      its `.gitignore` names.
  """

  address: str
  requests: Mapping[str, Request]
  shared: Collection[str]
  max_restarts_per_hour: int
  port_range: tuple[int, int] | None
  code: pathlib.Path


def launch(
  program: lp.Program,
  resources: Mapping[str, Any] | None,
  directory: pathlib.Path,
  options: Options,
  on_poll: Callable[[supervisor.Supervisor, fleet.Fleet], None] | None = None,
  notice_seconds: float = 10.0,
  expendable: Collection[str] = (),
  on_ports: Callable[[Sequence[int]], None] | None = None,
  on_wait: Callable[[str], None] = lambda _: None,
) -> outcomes.Outcome:
  """Runs a program to its end, as `local.launch` does.

  Nodes that fail are started again, on another machine where theirs is lost;
  those that others have a handle to come back at their old address.

  Args:
    program: Any Launchpad program; it can be launched once.
    resources: By group, a `PythonProcess` whose environment its nodes get.
    directory: The run directory, on this machine.
    options: See there.
    on_poll: Called about four times a second with what runs and where.
    notice_seconds: Time that nodes have to end once they were asked to.
    expendable: Groups whose nodes may be killed without ending the program.
    on_ports: Called with the ports at which nodes will serve; Ray has its own.
    on_wait: Called once a second, before there are nodes, with whose machine is
      waited for.

  Raises:
    ValueError: Resources or requests name a group that the program lacks.
    fleet.PlacingError: There is no machine for a node.
    ConnectionError: There is no cluster at the address, or no Ray starts here.
  """
  resources = resources or {}
  unknown = {*resources, *options.requests} - set(program.groups)
  if unknown:
    raise ValueError(
      f'resources must name groups of the program, {sorted(program.groups)}, '
      f'got {sorted(unknown)}'
    )
  with contextlib.ExitStack() as held:
    held.enter_context(workspace.open_workspace(directory))
    parts = program_lib.make_tasks(program)
    cpus = sum(
      options.requests.get(task.group, Request()).cpu for task in parts
    )
    held.enter_context(_connected(options, directory, math.ceil(cpus)))
    placements = _placements(parts, options)
    crew = held.enter_context(
      fleet.Fleet(
        placements,
        {group: _environment(resources.get(group)) for group in program.groups},
        _import_path(options.code),
        workspace.stop_path(directory),
        options.port_range,
      )
    )
    try:
      crew.place(on_wait)
    except KeyboardInterrupt:  # Nothing was started yet.
      return outcomes.Outcome('interrupted', signum=signal.SIGINT)
    if on_ports is not None:
      on_ports(crew.ports())
    return local.run(
      crew.commands(),
      directory,
      on_poll and (lambda runner: on_poll(runner, crew)),
      notice_seconds,
      expendable,
      restarts_lib.Restarts(options.max_restarts_per_hour),
    )


@contextlib.contextmanager
def _connected(
  options: Options, directory: pathlib.Path, num_cpus: int
) -> Iterator[None]:
  """Has Ray connected, or started, as long as the context is open."""
  with contextlib.ExitStack() as held:
    address = options.address
    if not address:
      address = held.enter_context(_own_ray(directory, num_cpus))
    given = {}
    if own_address := _own_address(address):
      given['_node_ip_address'] = own_address
    ray.init(
      address=address,
      # Hosts send us what nodes write.
      log_to_driver=False,
      logging_level=logging.ERROR,
      runtime_env={
        'working_dir': str(options.code),
        'excludes': list(_NOT_SHIPPED),
        # Who asks for no GPU sees what its group's environment lets it see.
        'env_vars': {'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'},
      },
      **given,
    )
    held.callback(ray.shutdown)
    yield


@contextlib.contextmanager
def _own_ray(directory: pathlib.Path, num_cpus: int) -> Iterator[str]:
  """Runs a Ray of this launch alone; yields its address.

  Args:
    directory: The run directory; takes its log.
    num_cpus: What is asked for, whatever the machine has.

  Raises:
    ConnectionError: It did not start.
  """
  with contextlib.ExitStack() as held:
    folder = tempfile.mkdtemp(prefix='ray')  # Short enough for its sockets.
    guardian = children.Guardian(pathlib.Path(folder))
    held.callback(guardian.close)
    with ports.hold_port(0) as port:
      number = port.getsockname()[1]
    arguments = ray_node.head(ray_node.LOOPBACK, number, folder)
    command = children.NodeCommand(
      name='ray/0',
      group='ray',
      index=0,
      argv=(
        *(sys.executable, '-m', ray_node.__name__, *arguments),
        f'--num-cpus={max(num_cpus, os.cpu_count() or 1)}',
      ),
      env={
        **os.environ,
        'PYTHONPATH': os.pathsep.join(tasks.import_path()),
        'PYTHONUNBUFFERED': '1',
      },
    )
    (directory / 'logs').mkdir(parents=True, exist_ok=True)
    child = command.start(directory / 'logs')
    held.callback(child.close)
    held.callback(child.kill)
    guardian.watch([child.pid])
    deadline = time.monotonic() + _STARTING_SECONDS
    while ray_node.STARTED not in child.log.tail(_TAIL_LINES):
      if child.poll() or time.monotonic() > deadline:
        raise ConnectionError(
          f'Ray did not start on this machine:\n{child.log.tail(10)}'
        )
      time.sleep(0.05)
    yield f'{ray_node.LOOPBACK}:{number}'


def _own_address(head: str) -> str:
  """This machine's in the network of a cluster's head; '' for Ray to find.

  Args:
    head: 'host:port', or 'auto'.
  """
  host, _, port = head.rpartition(':')
  if not host:
    return ''
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    with contextlib.suppress(OSError):
      probe.bind((host, 0))
      return host  # It is the head itself.
    with contextlib.suppress(OSError, ValueError):
      probe.connect((host, int(port)))  # Sends nothing.
      return str(probe.getsockname()[0])
  return ''


def _placements(
  parts: Sequence[tasks.Task], options: Options
) -> list[fleet.Placement]:
  """Packs the tasks; servers first, whose addresses all others are told."""
  here = ray.get_runtime_context().get_node_id()
  packs = [[task for task in parts if task.group in options.shared]]
  for group in dict.fromkeys(task.group for task in parts):
    members = [task for task in parts if task.group == group]
    most = options.requests.get(group, Request()).pack
    if group not in options.shared:
      packs += [
        members[first : first + most] for first in range(0, len(members), most)
      ]
  made = []
  for packed in filter(None, packs):
    wanted = [options.requests.get(t.group, Request()) for t in packed]
    is_here = any(request.is_here for request in wanted)
    made.append(
      fleet.Placement(
        packed,
        sum(request.cpu for request in wanted),
        sum(request.gpu for request in wanted),
        here if is_here or packed[0].group in options.shared else '',
      )
    )
  return sorted(made, key=lambda p: not any(t.is_server for t in p.tasks))


def _environment(given: Any) -> dict[str, str]:
  """Of a node's process, on top of its machine's.

  Args:
    given: Its group's `PythonProcess`, if there is one.
  """
  passed = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(_PASSED)
  }
  own = {
    name: str(value) for name, value in (given.env if given else {}).items()
  }
  return {'PYTHONUNBUFFERED': '1', **passed, **own}


def _import_path(code: pathlib.Path) -> list[str]:
  """Where this process imports from; below the shipped folder, relative."""
  found = []
  for entry in map(pathlib.Path, tasks.import_path()):
    with contextlib.suppress(ValueError):
      entry = entry.relative_to(code)
    found.append(str(entry))
  return found
