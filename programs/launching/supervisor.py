"""Runs nodes until all return, one fails, or the program is stopped.

It knows neither what the nodes do nor on which machine they run.
"""

import dataclasses
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from programs.launching import children, outcomes, workspace
from programs.launching import restarts as restarts_lib

POLL_SECONDS = 0.05
# After SIGKILL a process is gone in milliseconds, unless the kernel holds it
# (a dead network file system); waiting longer does not help then.
_KILL_SECONDS = 3.0
# A node that stopped the program is often about to return. A SIGTERM while
# Python and TensorFlow shut down would cut that short and hide its status.
_HEAD_START_SECONDS = 3.0


class RunningNode(Protocol):
  """A started node; `children.Child` is one.

  `started_at` is a time of `time.monotonic`; `returncode` is None while the
  node runs, and negative for a signal.
  """

  name: str
  returncode: int | None
  started_at: float
  log: children.Log

  @property
  def pid(self) -> int | None:
    """Process id; None on another machine."""

  def poll(self) -> bool:
    """Return whether it has ended, without waiting."""

  def terminate(self) -> None:
    """Send SIGTERM, once."""

  def kill(self) -> None:
    """Kill it and everything that it started."""

  def close(self) -> None:
    """Release the resources of a node that has ended."""


@dataclasses.dataclass(frozen=True)
class Node:
  """A node that can be started.

  Attributes:
    name: `<group>/<index>`.
    start: Starts it; takes the folder for its log.
    why_not_restartable: Returns a reason, or '' if it can be restarted.
  """

  name: str
  start: Callable[[pathlib.Path], RunningNode]
  why_not_restartable: Callable[[], str] = str


class Supervisor:
  """Supervisor of nodes: starts, restarts and stops them.

  A context manager: nodes that still run at its end are killed. Call it from
  the main thread: nodes die with the thread that started them.
  """

  def __init__(
    self,
    nodes: Sequence[Node],
    log_directory: pathlib.Path,
    stop_path: pathlib.Path,
    notice_seconds: float = 10.0,
    noncritical: Collection[str] = (),
    restarts: restarts_lib.RestartPolicy | None = None,
  ) -> None:
    """Start no node yet.

    Args:
      nodes: Nodes, started in this order.
      log_directory: Folder of the logs `<group>_<index>.log`.
      stop_path: File whose appearance stops the program; it holds the name of
        the node that asked for that.
      notice_seconds: Time between SIGTERM and SIGKILL, at least 0.
      noncritical: Groups whose nodes may be killed by a signal without failing
        the program, even if they are not restarted.
      restarts: By default, the first failure ends the program.
    """
    self._nodes = {node.name: node for node in nodes}
    self._log_directory = log_directory
    self._stop_path = stop_path
    self._notice_seconds = notice_seconds
    self._noncritical = noncritical
    self._restarts = restarts or restarts_lib.RestartPolicy(0)
    self._restart_at: dict[str, float] = {}
    self._started: dict[str, RunningNode] = {}
    self._guardian: children.Guardian | None = None
    self._outcome: outcomes.Outcome | None = None
    self._signum: int | None = None
    self._stopped_at: float | None = None
    self._is_notice_over = False

  def __enter__(self) -> 'Supervisor':
    return self

  def __exit__(self, *exception: object) -> None:
    self._close()

  def start(self) -> None:
    """Start every node.

    Raises:
      RuntimeError: Called outside the main thread.
      OSError: A process or a log could not be created; the nodes started so
        far are killed.
    """
    if threading.current_thread() is not threading.main_thread():
      raise RuntimeError('start() must be called from the main thread')
    self._stop_path.unlink(missing_ok=True)
    self._log_directory.mkdir(parents=True, exist_ok=True)
    self._guardian = children.Guardian()
    try:
      for node in self._nodes.values():
        self._start_node(node)
    except BaseException:
      self._close()
      raise

  def processes(self) -> dict[str, int]:
    """Return name -> process id of the nodes that run on this machine."""
    return {
      node.name: node.pid for node in self._running() if node.pid is not None
    }

  def interrupt(self, signum: int) -> None:
    """Stop the program on behalf of a signal; signal handlers may call it.

    The first call makes `poll` return an outcome; a later one with SIGINT makes
    `stop` kill at once.
    """
    if self._signum is None:
      self._signum = signum
    elif signum == signal.SIGINT:
      self._is_notice_over = True

  def poll(self) -> outcomes.Outcome | None:
    """Check all nodes without waiting; call it about ten times a second.

    Returns:
      None while the program runs; else why its nodes are to be stopped.
    """
    ended = [node for node in self._running() if node.poll()]
    if ended:
      self._update_guardian()
    if self._outcome is None:
      self._outcome = self._find_outcome(ended)
    if self._outcome is None:
      for name, restart_at in list(self._restart_at.items()):
        if time.monotonic() >= restart_at:
          del self._restart_at[name]
          self._started[name].close()
          self._start_node(self._nodes[name])
    return self._outcome

  def stop(self, on_poll: Callable[[], None] | None = None) -> outcomes.Outcome:
    """End every node: SIGTERM to all, and SIGKILL to those left after notice.

    `on_poll` is called after every check; if it raises, call `stop` again.

    Returns:
      The outcome that `poll` returned, with how each node ended. If it had
      returned none, this call counts as a SIGTERM.
    """
    if self.poll() is None:
      self.interrupt(signal.SIGTERM)
      self.poll()
    if self._stopped_at is None:
      self._stopped_at = time.monotonic()
    deadline = self._stopped_at + self._notice_seconds
    while self._running() and time.monotonic() < deadline:
      if self._is_notice_over:
        break
      self._terminate_running(time.monotonic() - self._stopped_at)
      time.sleep(POLL_SECONDS)
      self.poll()
      if on_poll is not None:
        on_poll()
    return self._complete_outcome(self._kill_running())

  def _close(self) -> None:
    self._kill_running()
    if self._guardian is not None:
      self._guardian.close()
      self._guardian = None
    for node in self._started.values():
      node.close()

  def _running(self) -> list[RunningNode]:
    return [node for node in self._started.values() if node.returncode is None]

  def _update_guardian(self) -> None:
    if self._guardian is not None:
      self._guardian.watch(self.processes().values())

  def _start_node(self, node: Node) -> None:
    self._started[node.name] = node.start(self._log_directory)
    self._update_guardian()

  def _terminate_running(self, elapsed_seconds: float) -> None:
    assert self._outcome is not None
    head_start = min(_HEAD_START_SECONDS, self._notice_seconds / 2)
    for node in self._running():
      if node.name != self._outcome.stopped_by or elapsed_seconds >= head_start:
        node.terminate()

  def _kill_running(self) -> tuple[str, ...]:
    running = self._running()
    for node in running:
      node.kill()
    deadline = time.monotonic() + _KILL_SECONDS
    while self._running() and time.monotonic() < deadline:
      self.poll()
      time.sleep(0.01)
    return tuple(node.name for node in running)

  def _find_outcome(self, ended: list[RunningNode]) -> outcomes.Outcome | None:
    if self._signum is not None:
      return outcomes.Outcome('interrupted', signum=self._signum)
    stopped_by, stopped_at = workspace.read_stop(self._stop_path)
    # Several nodes may have ended since the last check: the time of a node's
    # last output says which was first, and which failed before the stop.
    ended.sort(key=lambda node: node.log.last_write_time())
    for node in ended:
      if not node.returncode or node.log.last_write_time() >= stopped_at:
        continue
      reason = self._schedule_restart(node)
      is_noncritical = node.name.rpartition('/')[0] in self._noncritical
      if reason is not None and not (is_noncritical and node.returncode < 0):
        failure = outcomes.make_failure(
          node.name, node.returncode, node.log, reason
        )
        return outcomes.Outcome('failed', failure=failure)
    if stopped_by is not None:
      return outcomes.Outcome('finished', stopped_by=stopped_by)
    is_over = not self._running() and not self._restart_at
    return outcomes.Outcome('finished') if is_over else None

  def _schedule_restart(self, node: RunningNode) -> str | None:
    """Restart a failed node later; returns a reason if it is not restarted."""
    assert node.returncode is not None
    if reason := self._nodes[node.name].why_not_restartable():
      return f', and {reason}'
    limit = self._restarts.max_per_hour
    uptime = time.monotonic() - node.started_at
    delay = self._restarts.next_delay(node.name, uptime)
    if delay is None:
      return f', after {limit} restarts within an hour' if limit else ''
    node.log.add_line(
      f'{outcomes.describe_status(node.returncode)}; restarts in {delay:g} s '
      f'(restart {self._restarts.count} of at most {limit} an hour)'
    )
    self._restart_at[node.name] = time.monotonic() + delay
    return None

  def _complete_outcome(self, killed: tuple[str, ...]) -> outcomes.Outcome:
    assert self._outcome is not None
    outcome = self._outcome
    # The node that stopped the program must not fail afterwards: its last
    # checkpoint may not have been written.
    stopper = self._started.get(outcome.stopped_by or '')
    if stopper is not None and stopper.name not in killed:
      assert stopper.returncode is not None
      if stopper.returncode not in (0, -signal.SIGTERM):
        failure = outcomes.make_failure(
          stopper.name, stopper.returncode, stopper.log
        )
        outcome = outcomes.Outcome('failed', failure=failure)
    self._outcome = dataclasses.replace(
      outcome,
      killed=killed,
      statuses={
        node.name: node.returncode
        for node in self._started.values()
        if node.returncode is not None and node.name not in self._restart_at
      },
    )
    return self._outcome
