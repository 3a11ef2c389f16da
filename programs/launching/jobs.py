"""Runs a part of a program here, while other launchers run the rest elsewhere.

Every launcher builds the same program. One leads: it runs all but what others
run, and serves at ports that follow the one where those join; see `control`.
"""

import contextlib
import dataclasses
import ipaddress
import pathlib
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import launchpad as lp

from programs.launching import (
  children,
  control,
  local,
  logs,
  outcomes,
  ports,
  supervisor,
  tasks,
  workspace,
)
from programs.launching import program as program_lib
from programs.launching import restarts as restarts_lib

# Of what all members are told, the part that is not the caller's own.
_ADDRESSES, _LOGS, _CALLER = 'addresses', 'logs', 'caller'
_FAILURE_LINES = 30
_DECLINE_SECONDS = 30.0


class AddressError(Exception):
  """A port is taken, or an address is not this machine's."""


def lead(
  program: lp.Program,
  resources: Mapping[str, Any] | None,
  directory: pathlib.Path,
  elsewhere: Collection[str],
  address: tuple[str, int],
  welcome: Mapping[str, Any],
  max_restarts_per_hour: int,
  on_poll: Callable[[supervisor.Supervisor, Mapping[str, str]], None],
  notice_seconds: float = 10.0,
  expendable: Collection[str] = (),
  on_ports: Callable[[Sequence[int]], None] | None = None,
) -> outcomes.Outcome:
  """Runs a program but for some groups, whose nodes others may run.

  Args:
    program: It can be launched once.
    resources: As for `local.launch`.
    directory: The run directory, where members' logs come to as well.
    elsewhere: Groups that members run, of nodes that nobody has a handle to.
    address: This machine, as others reach it, and the port where they join.
      Servers get the ports after it.
    welcome: What members are told besides; goes into JSON.
    max_restarts_per_hour: Of nodes that fail here.
    on_poll: Called about four times a second with what runs here, and with
      the machines of what runs elsewhere.
    notice_seconds: Time that nodes have to end once they were asked to.
    expendable: Groups whose nodes may be killed without ending the program.
    on_ports: Called with the ports at which this launcher and nodes serve.

  Raises:
    ValueError: As `local.launch`, or a group of `elsewhere` has servers.
    AddressError: A port is taken, or the address is not of this machine.
    RuntimeError: As `local.launch`.
  """
  local.check_resources(program, resources)
  with contextlib.ExitStack() as held:
    held.enter_context(workspace.open_workspace(directory))
    parts = program_lib.make_tasks(program)
    there = [task for task in parts if task.group in elsewhere]
    servers = [task.name for task in there if task.is_server]
    if servers:
      raise ValueError(f'elsewhere must have no servers, got {servers}')
    host, port = address
    # First of all: who has this port has those after it.
    listening = _listen(host, port)
    held.callback(listening.close)
    numbers = {}
    for number, key in enumerate(_served(parts), port + 1):
      held.enter_context(_held(number))
      numbers[key] = number
    leader = control.Leader(
      listening,
      [task.name for task in there],
      {
        _ADDRESSES: {key: f'{host}:{n}' for key, n in numbers.items()},
        _LOGS: str(directory / 'logs'),
        _CALLER: dict(welcome),
      },
      directory / 'logs',
    )
    held.callback(leader.close)
    here = [task for task in parts if task not in there]
    addresses = local.complete_addresses(
      here, {key: f'localhost:{n}' for key, n in numbers.items()}, held
    )
    if on_ports is not None:
      found = [ports.of(address) for address in addresses.values()]
      on_ports([port, *found])
    commands = local.make_commands(here, addresses, resources, directory, held)
    stop_path = workspace.stop_path(directory)

    def look(runner: supervisor.Supervisor) -> None:
      if runner.outcome is not None:
        leader.tell_stop(runner.outcome.kind, _reason(runner.outcome))
      elif leader.failed():
        raise _MemberFailedError
      stopped_by = leader.stopped_by()
      if stopped_by is not None and not stop_path.exists():
        workspace.write_stop(stop_path, stopped_by)
      on_poll(runner, leader.machines())

    try:
      outcome = local.run(
        commands,
        directory,
        look,
        notice_seconds,
        expendable,
        restarts_lib.Restarts(max_restarts_per_hour),
      )
    except _MemberFailedError:
      outcome = outcomes.Outcome('failed', failure=_failure(leader))
    except BaseException as error:
      leader.tell_stop('failed', f'{type(error).__name__}: {error}')
      leader.wait()
      raise
    leader.tell_stop(outcome.kind, _reason(outcome))
    with contextlib.suppress(KeyboardInterrupt):
      leader.wait()
    return outcome


def decline(address: tuple[str, int], kind: str, reason: str) -> None:
  """Tells those who join in the next half minute that there is nothing to do.

  Args:
    address: As of `lead`.
    kind: As of an `outcomes.Outcome`.
    reason: In words.

  Raises:
    AddressError: As `lead`.
  """
  leader = control.Leader(_listen(*address), [], {}, pathlib.Path())
  try:
    leader.tell_stop(kind, reason)
    time.sleep(_DECLINE_SECONDS)
  finally:
    leader.close()


def join(
  address: tuple[str, int],
  nodes: Sequence[str],
  patience_seconds: float,
  on_wait: Callable[[float, str], None],
) -> tuple[control.Link, Mapping[str, Any]]:
  """Asks the leader of a program to let nodes run here.

  Args:
    address: Where members join.
    nodes: `<group>/<index>` of those that are to run here.
    patience_seconds: How long the leader is waited for.
    on_wait: Called a few times a second with the seconds since, and with why
      it does not answer yet.

  Returns:
    The link to it, for `follow`, and what the leader's caller tells members.

  Raises:
    control.ControlError: There was no leader, or it does not want this member.
  """
  link = control.Link(*address, nodes)
  return link, link.join(patience_seconds, on_wait)[_CALLER]


def follow(
  program: lp.Program,
  resources: Mapping[str, Any] | None,
  link: control.Link,
  directory: pathlib.Path,
  max_restarts_per_hour: int,
) -> outcomes.Outcome:
  """Runs a member's nodes until the leader wants them to stop.

  Args:
    program: The same as the leader's; it can be launched once.
    resources: As for `local.launch`.
    link: Of `join`.
    directory: A temporary folder, removed at the end, whatever that is.
    max_restarts_per_hour: Of nodes that fail here; one more ends the program.

  Returns:
    How it ended; the log of a failure is where the leader is.

  Raises:
    control.ControlError: The leader is gone, or ended badly.
    ValueError, RuntimeError: As `local.launch`.
  """
  local.check_resources(program, resources)
  with contextlib.ExitStack() as held:
    guardian = children.Guardian(directory)
    held.callback(guardian.close)
    held.enter_context(workspace.open_workspace(directory))
    parts = {task.name: task for task in program_lib.make_tasks(program)}
    own = [parts[name] for name in link.nodes]
    addresses = local.complete_addresses(own, link.welcome[_ADDRESSES], held)
    commands = local.make_commands(own, addresses, resources, directory, held)
    stop_path = workspace.stop_path(directory)
    written = {
      task.name: directory / 'logs' / logs.file_name(task.group, task.index)
      for task in own
    }
    is_over = False

    def look(runner: supervisor.Supervisor) -> None:
      nonlocal is_over
      # It is called while the nodes are being stopped, too.
      if is_over or runner.outcome is not None:
        return
      is_over = True
      stop = link.stop()
      if stop is None:
        is_over = False
      elif stop['kind'] == 'finished':
        workspace.write_stop(stop_path, 'the leader')
      else:
        raise control.OverError(**stop)

    link.start(
      lambda sent: {
        name: _read(path, sent.get(name, 0)) for name, path in written.items()
      }
    )
    try:
      outcome = local.run(
        commands,
        directory,
        look,
        control.NOTICE_SECONDS,
        (),
        restarts_lib.Restarts(max_restarts_per_hour),
      )
    except BaseException as error:
      link.leave(f'{type(error).__name__}: {error}')
      raise
    link.leave(
      _reason(outcome),
      outcome.stopped_by if outcome.stopped_by in parts else None,
      outcome.failure.name if outcome.failure else None,
    )
    if outcome.failure:  # The log that is here is not kept.
      kept = pathlib.Path(link.welcome[_LOGS]) / outcome.failure.log.name
      failure = dataclasses.replace(outcome.failure, log=kept)
      outcome = dataclasses.replace(outcome, failure=failure)
    return outcome


def _served(parts: Sequence[tasks.Task]) -> list[str]:
  """Keys of the addresses that other nodes are told."""
  return [key for task in parts if task.is_server for key in task.address_keys]


def _reason(outcome: outcomes.Outcome) -> str:
  """How it ended, in one line."""
  return outcome.describe().splitlines()[0]


class _MemberFailedError(Exception):
  """A node of a member's failed once too often."""


def _failure(leader: control.Leader) -> outcomes.Failure:
  """How a member's node failed, with its last words, which are here."""
  failed = leader.failed()
  assert failed is not None
  name, reason, log = failed
  return outcomes.Failure(name, reason, log.path, log.tail(_FAILURE_LINES))


def _held(port: int) -> socket.socket:
  """Holds a server's port.

  Raises:
    AddressError: It is taken; the message names it.
  """
  try:
    return ports.hold_port(port, is_again=True)
  except OSError as error:
    raise AddressError(f'port {port}: {error.strerror}') from error


def _listen(host: str, port: int) -> socket.socket:
  """Listens at one address, or at all where a name stands for this machine.

  A machine's own name may well be one of the loopback network to itself.

  Raises:
    AddressError: It cannot; the message names host and port.
  """
  try:
    if host == 'localhost':
      return socket.create_server(('127.0.0.1', port))
    try:
      version = ipaddress.ip_address(host).version
    except ValueError:
      is_dual = socket.has_dualstack_ipv6()
      family = socket.AF_INET6 if is_dual else socket.AF_INET
      return socket.create_server(
        ('', port), family=family, dualstack_ipv6=is_dual
      )
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    return socket.create_server((host, port), family=family)
  except OSError as error:
    raise AddressError(f'{host}:{port}: {error.strerror}') from error


def _read(path: pathlib.Path, offset: int) -> bytes:
  """A node's output from an offset on."""
  try:
    with path.open('rb') as log:
      log.seek(offset)
      return log.read(control.MAX_OUTPUT_BYTES)
  except FileNotFoundError:
    return b''
