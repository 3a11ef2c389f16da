"""Runs a Launchpad program on this machine, one process a node.

The processes are those of Launchpad's own local_mp; what starts, watches and
ends them is ours: logs that are appended to, honest statuses, nothing left.
"""

import contextlib
import functools
import os
import pathlib
import signal
import time
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from typing import Any

import launchpad as lp

from programs.launching import (
  children,
  outcomes,
  ports,
  supervisor,
  tasks,
  workspace,
)
from programs.launching import program as program_lib
from programs.launching import restarts as restarts_lib

_ON_POLL_SECONDS = 0.25


def launch(
  program: lp.Program,
  resources: Mapping[str, Any] | None,
  directory: pathlib.Path,
  on_poll: Callable[[supervisor.Supervisor], None] | None = None,
  notice_seconds: float = 10.0,
  expendable: Collection[str] = (),
  on_ports: Callable[[Sequence[int]], None] | None = None,
) -> outcomes.Outcome:
  """Runs a program to its end; call it from the main thread.

  SIGINT, SIGTERM and SIGHUP stop the program gracefully, a second SIGINT at
  once. Logs are appended to `<directory>/logs/<group>_<index>.log`.

  Args:
    program: Any Launchpad program; it can be launched once.
    resources: By group, a `PythonProcess` whose environment the nodes of the
      group get.
    directory: The run directory, made if absent. One launch at a time.
    on_poll: Called about four times a second until the last node has ended.
      What it raises stops the program, and is raised when all have ended.
    notice_seconds: Time that nodes have to end once they were asked to.
    expendable: Groups whose nodes may be killed without ending the program.
    on_ports: Called with the ports at which nodes will serve.

  Raises:
    ValueError: Another launch runs in `directory`, or the program has no nodes.
    RuntimeError: A node cannot be pickled, or called outside the main thread.
  """
  resources = resources or {}
  with contextlib.ExitStack() as held:
    held.enter_context(workspace.open_workspace(directory))
    parts = program_lib.make_tasks(program)
    addresses = {}
    for key in (key for task in parts for key in task.address_keys):
      port = held.enter_context(ports.hold_port(0)).getsockname()[1]
      addresses[key] = f'localhost:{port}'
    if on_ports is not None:
      on_ports([ports.of(address) for address in addresses.values()])
    environment = {
      **os.environ,
      'PYTHONUNBUFFERED': '1',
      'TMPDIR': workspace.make_tmpdir(directory, held),
    }
    nodes = []
    for task in parts:
      given = resources[task.group].env if task.group in resources else {}
      command = tasks.make_command(
        task,
        addresses,
        workspace.workspace_path(directory),
        workspace.stop_path(directory),
        _make_environment(environment, given),
      )
      start = functools.partial(children.Child, command)
      nodes.append(supervisor.Startable(task.name, start))
    return run(nodes, directory, on_poll, notice_seconds, expendable)


def run(
  commands: Sequence[supervisor.Startable],
  directory: pathlib.Path,
  on_poll: Callable[[supervisor.Supervisor], None] | None,
  notice_seconds: float = 10.0,
  expendable: Collection[str] = (),
  restarts: restarts_lib.Restarts | None = None,
) -> outcomes.Outcome:
  """Runs the nodes of one launch to their end, wherever they are.

  The run directory has its workspace open; the rest is as `launch` has it.

  Raises:
    RuntimeError: Called outside the main thread.
  """
  with contextlib.ExitStack() as held:
    runner = held.enter_context(
      supervisor.Supervisor(
        commands,
        directory / 'logs',
        workspace.stop_path(directory),
        notice_seconds,
        expendable,
        restarts,
      )
    )
    held.enter_context(_handle_signals(runner.interrupt))
    show = _limit_rate(functools.partial(on_poll, runner) if on_poll else None)
    try:
      runner.start()
      while (outcome := runner.poll()) is None:
        show()
        time.sleep(supervisor.POLL_SECONDS)
      # After SIGHUP there is no terminal left to show anything on.
      return runner.stop(None if outcome.signum == signal.SIGHUP else show)
    except BaseException:
      runner.stop()
      raise


def _make_environment(
  environment: Mapping[str, str], overrides: Mapping[str, Any]
) -> dict[str, str]:
  merged = {**environment, **{k: str(v) for k, v in overrides.items()}}
  own = [str(overrides['PYTHONPATH'])] if 'PYTHONPATH' in overrides else []
  merged['PYTHONPATH'] = os.pathsep.join(own + tasks.import_path())
  return merged


@contextlib.contextmanager
def _handle_signals(interrupt: Callable[[int], None]) -> Iterator[None]:
  # A background job inherits an ignored SIGINT; it must stop all the same. An
  # ignored SIGHUP is nohup's, which must be obeyed.
  signums: Iterable[int] = [signal.SIGINT, signal.SIGTERM]
  if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
    signums = [*signums, signal.SIGHUP]
  before = {
    signum: signal.signal(signum, lambda number, _: interrupt(number))
    for signum in signums
  }
  try:
    yield
  finally:
    for signum, handler in before.items():
      signal.signal(signum, handler)


def _limit_rate(function: Callable[[], None] | None) -> Callable[[], None]:
  due = time.monotonic()

  def call() -> None:
    nonlocal due
    if function is not None and time.monotonic() >= due:
      due = time.monotonic() + _ON_POLL_SECONDS
      function()

  return call
