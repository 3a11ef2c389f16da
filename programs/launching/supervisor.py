"""Runs commands side by side until they finish, one fails, or all are stopped.

It knows processes, logs and signals; what runs in the processes it does not.
"""

import dataclasses
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence

from programs.launching import children, outcomes

POLL_SECONDS = 0.05
# After SIGKILL a process is gone in milliseconds, unless the kernel holds it
# (a dead network file system): nobody can help that by waiting.
_KILL_SECONDS = 3.0
_TAIL_LINES = 30
# A node that stopped the program is often about to return. A SIGTERM while
# Python and TensorFlow take themselves down would cut that short and hide its
# status.
_HEAD_START_SECONDS = 3.0


class Supervisor:
  """Starts nodes, tells how they fare, stops them, and leaves none behind.

  A context manager: whatever still runs when it is left is killed. Call it
  from the main thread: the nodes die with the thread that started them.
  """

  def __init__(
    self,
    commands: Sequence[children.NodeCommand],
    log_directory: pathlib.Path,
    stop_path: pathlib.Path,
    notice_seconds: float = 10.0,
    expendable: Collection[str] = (),
  ) -> None:
    """Starts nothing yet.

    Args:
      commands: The nodes, started in this order.
      log_directory: Folder of the logs `<group>_<index>.log`, made if absent,
        appended to.
      stop_path: File whose appearance asks for a stop; it holds the name of the
        node that asked.
      notice_seconds: Time between SIGTERM and SIGKILL, at least 0.
      expendable: Groups whose nodes may be killed by a signal without that
        being a failure of the program.

    Raises:
      ValueError: No command, two of one name, or a negative notice.
    """
    names = [command.name for command in commands]
    if not names or len(set(names)) < len(names):
      raise ValueError(
        f'commands must be one or more of distinct names, got {names}'
      )
    if notice_seconds < 0:
      raise ValueError(f'notice_seconds must be >= 0, got {notice_seconds}')
    self._commands = tuple(commands)
    self._log_directory = log_directory
    self._stop_path = stop_path
    self._notice_seconds = notice_seconds
    self._expendable = {
      command.name for command in commands if command.group in expendable
    }
    self._children: list[children.Child] = []
    self._guardian: children.Guardian | None = None
    self._outcome: outcomes.Outcome | None = None
    self._signum: int | None = None
    self._stopped_at: float | None = None
    self._is_hurried = False

  def __enter__(self) -> 'Supervisor':
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  def start(self) -> None:
    """Starts every node.

    Raises:
      RuntimeError: Called outside the main thread.
      OSError: A process or a log could not be made; those that were started
        are then gone.
    """
    if threading.current_thread() is not threading.main_thread():
      raise RuntimeError('start() must be called from the main thread')
    self._stop_path.unlink(missing_ok=True)
    self._log_directory.mkdir(parents=True, exist_ok=True)
    self._guardian = children.Guardian()
    try:
      for command in self._commands:
        self._children.append(children.Child(command, self._log_directory))
        self._guardian.watch(child.pid for child in self._children)
    except BaseException:
      self.close()
      raise

  def processes(self) -> dict[str, int]:
    """The process id of each node that runs, by name."""
    return {child.name: child.pid for child in self._running()}

  def interrupt(self, signum: int) -> None:
    """Asks for a stop on behalf of a signal; may be called by its handler.

    The first call makes `poll` return an outcome; a later one with SIGINT makes
    `stop` kill without further notice.
    """
    if self._signum is None:
      self._signum = signum
    elif signum == signal.SIGINT:
      self._is_hurried = True

  def poll(self) -> outcomes.Outcome | None:
    """Looks once, without waiting; call it about ten times a second.

    Returns:
      None while all goes on; else why the nodes are to be stopped, the same
      reason at every later call.
    """
    ended = [child for child in self._running() if child.poll()]
    if ended and self._guardian is not None:
      self._guardian.watch(child.pid for child in self._running())
    if self._outcome is None:
      self._outcome = self._judge(ended)
    return self._outcome

  def stop(self, on_wait: Callable[[], None] | None = None) -> outcomes.Outcome:
    """Ends every node: SIGTERM to all, and SIGKILL to those left after notice.

    A node that stopped the program itself gets three seconds to end on its own.

    Args:
      on_wait: Called after every look at the nodes. If it raises, call `stop`
        again: it goes on where it was.

    Returns:
      The outcome that `poll` told, completed with how each node ended. Where it
      had told none, the caller's wish counts as a SIGTERM.
    """
    if self.poll() is None:
      self.interrupt(signal.SIGTERM)
      self.poll()
    if self._stopped_at is None:
      self._stopped_at = time.monotonic()
    deadline = self._stopped_at + self._notice_seconds
    while (
      self._running() and time.monotonic() < deadline and not self._is_hurried
    ):
      self._give_notice(time.monotonic() - self._stopped_at)
      time.sleep(POLL_SECONDS)
      self.poll()
      if on_wait is not None:
        on_wait()
    killed = self._kill()
    return self._conclude(killed)

  def close(self) -> None:
    """Kills what still runs and lets go of everything else."""
    self._kill()
    if self._guardian is not None:
      self._guardian.close()
      self._guardian = None
    for child in self._children:
      child.close()

  def _running(self) -> list[children.Child]:
    return [child for child in self._children if child.returncode is None]

  def _give_notice(self, elapsed_seconds: float) -> None:
    """SIGTERM, once, to every node whose time has come."""
    assert self._outcome is not None
    head_start = min(_HEAD_START_SECONDS, self._notice_seconds / 2)
    for child in self._running():
      is_asker = child.name == self._outcome.stopped_by
      if not is_asker or elapsed_seconds >= head_start:
        child.terminate()

  def _kill(self) -> tuple[str, ...]:
    """Kills every running node; returns their names."""
    running = self._running()
    for child in running:
      child.kill()
    deadline = time.monotonic() + _KILL_SECONDS
    while self._running() and time.monotonic() < deadline:
      self.poll()
      time.sleep(0.01)
    return tuple(child.name for child in running)

  def _judge(self, ended: list[children.Child]) -> outcomes.Outcome | None:
    """Why to stop, given the nodes that ended since the last look."""
    if self._signum is not None:
      return outcomes.Outcome('interrupted', signum=self._signum)
    asked_at = self._stop_time()
    failed = [
      child
      for child in ended
      if child.returncode
      and not (child.name in self._expendable and child.returncode < 0)
    ]
    if failed:
      # A look sees what happened since the last one: a node's last words tell
      # which of several came first, and whether it failed before the stop.
      first = min(failed, key=children.Child.last_write_time)
      if asked_at is None or first.last_write_time() < asked_at:
        return outcomes.Outcome('failed', failure=_make_failure(first))
    if asked_at is not None:
      name = self._stop_path.read_text()
      return outcomes.Outcome('finished', stopped_by=name)
    return None if self._running() else outcomes.Outcome('finished')

  def _stop_time(self) -> float | None:
    """When a node asked for the stop, in seconds since the epoch."""
    try:
      return self._stop_path.stat().st_mtime
    except FileNotFoundError:
      return None

  def _conclude(self, killed: tuple[str, ...]) -> outcomes.Outcome:
    """The outcome with what is known at the end."""
    assert self._outcome is not None
    outcome = self._outcome
    for child in self._children:
      # Who asked for the stop had reached its end, and must end well: its last
      # checkpoint may have failed.
      is_asker = child.name == outcome.stopped_by and child.name not in killed
      if is_asker and child.returncode not in (0, -signal.SIGTERM):
        outcome = outcomes.Outcome('failed', failure=_make_failure(child))
    self._outcome = dataclasses.replace(
      outcome,
      killed=killed,
      statuses={
        child.name: child.returncode
        for child in self._children
        if child.returncode is not None
      },
    )
    return self._outcome


def _make_failure(child: children.Child) -> outcomes.Failure:
  """The failure of a node that has ended."""
  assert child.returncode is not None
  return outcomes.Failure(
    name=child.name,
    status=outcomes.describe_status(child.returncode),
    log=child.log_path,
    tail=child.tail(_TAIL_LINES),
  )
