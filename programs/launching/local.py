"""Launches a Launchpad program on this machine, one process a node.

The processes are those of Launchpad's own local_mp launcher. This one adds
logs that are appended to, honest exit statuses, and a clean end: no process
survives the launcher.
"""

import contextlib
import functools
import os
import pathlib
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import launchpad as lp

from programs.launching import (
  children,
  outcomes,
  ports,
  serialization,
  supervisor,
  tasks,
  workspace,
)
from programs.launching import restarts as restarts_lib

_ON_POLL_SECONDS = 0.25


def launch(
  program: lp.Program,
  resources: Mapping[str, Any] | None,
  directory: pathlib.Path,
  on_poll: Callable[[supervisor.Supervisor], None] = lambda _: None,
  notice_seconds: float = 10.0,
  noncritical: Collection[str] = (),
  on_ports: Callable[[Sequence[int]], None] = lambda _: None,
) -> outcomes.Outcome:
  """Run a program to its end; call it from the main thread.

  SIGINT, SIGTERM and SIGHUP stop the program gracefully, a second SIGINT at
  once. Logs are appended to `<directory>/logs/<group>_<index>.log`.

  Args:
    program: Any Launchpad program; it can be launched once.
    resources: Group -> `PythonProcess` with the environment of its nodes.
    directory: The run directory, created if absent. One launch at a time.
    on_poll: Called about four times a second until the last node has ended. An
      exception stops the program and is raised when all nodes have ended.
    notice_seconds: Time between SIGTERM and SIGKILL.
    noncritical: Groups whose nodes may be killed without ending the program.
    on_ports: Called with the ports on which nodes will listen.

  Raises:
    ValueError: Another launch runs in `directory`, or the program has no nodes.
    RuntimeError: A node cannot be pickled, or called outside the main thread.
  """
  resources = resources or {}
  with contextlib.ExitStack() as stack:
    stack.enter_context(workspace.open_workspace(directory))
    all_tasks = serialization.make_tasks(program)
    held = {
      key: stack.enter_context(ports.hold_port(0)).getsockname()[1]
      for task in all_tasks
      for key in task.address_keys
    }
    on_ports([*held.values()])
    addresses = {key: f'localhost:{port}' for key, port in held.items()}
    environment = {
      **os.environ,
      'PYTHONUNBUFFERED': '1',
      'TMPDIR': workspace.make_tmpdir(directory, stack),
    }
    nodes = []
    for task in all_tasks:
      own = resources[task.group].env if task.group in resources else {}
      command = tasks.make_command(
        task,
        addresses,
        workspace.workspace_path(directory),
        workspace.stop_path(directory),
        _merge_environment(environment, own),
      )
      start = functools.partial(children.Child, command)
      nodes.append(supervisor.Node(task.name, start))
    return run(nodes, directory, on_poll, notice_seconds, noncritical)


def run(
  nodes: Sequence[supervisor.Node],
  directory: pathlib.Path,
  on_poll: Callable[[supervisor.Supervisor], None],
  notice_seconds: float = 10.0,
  noncritical: Collection[str] = (),
  restarts: restarts_lib.RestartPolicy | None = None,
) -> outcomes.Outcome:
  """Run nodes to their end, on whatever machine, as `launch` does.

  The workspace of the run directory must be open.

  Raises:
    RuntimeError: Called outside the main thread.
  """
  with contextlib.ExitStack() as stack:
    runner = stack.enter_context(
      supervisor.Supervisor(
        nodes,
        directory / 'logs',
        workspace.stop_path(directory),
        notice_seconds,
        noncritical,
        restarts,
      )
    )
    stack.enter_context(_handle_signals(runner.interrupt))
    show = _limit_rate(functools.partial(on_poll, runner))
    try:
      runner.start()
      while (outcome := runner.poll()) is None:
        show()
        time.sleep(supervisor.POLL_SECONDS)
      # After SIGHUP there is no terminal to show anything on.
      return runner.stop(None if outcome.signum == signal.SIGHUP else show)
    except BaseException:
      runner.stop()
      raise


def _merge_environment(
  environment: Mapping[str, str], own: Mapping[str, Any]
) -> dict[str, str]:
  merged = {**environment, **{name: str(value) for name, value in own.items()}}
  path = [str(own['PYTHONPATH'])] if 'PYTHONPATH' in own else []
  merged['PYTHONPATH'] = os.pathsep.join(path + tasks.import_path())
  return merged


@contextlib.contextmanager
def _handle_signals(interrupt: Callable[[int], None]) -> Iterator[None]:
  # Background jobs of a shell inherit an ignored SIGINT, which must stop the
  # program all the same. nohup ignores SIGHUP, which must stay so.
  signums = [signal.SIGINT, signal.SIGTERM]
  if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
    signums.append(signal.SIGHUP)
  before = {
    signum: signal.signal(signum, lambda number, _: interrupt(number))
    for signum in signums
  }
  try:
    yield
  finally:
    for signum, handler in before.items():
      signal.signal(signum, handler)


def _limit_rate(function: Callable[[], None]) -> Callable[[], None]:
  due = time.monotonic()

  def call() -> None:
    nonlocal due
    if time.monotonic() >= due:
      due = time.monotonic() + _ON_POLL_SECONDS
      function()

  return call
