"""Runs commands side by side until they finish, one fails, or all are stopped.

It knows processes, logs and signals; what runs in the processes it does not,
nor on which machine they run.
"""

import dataclasses
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from programs.launching import children, logs, outcomes
from programs.launching import restarts as restarts_lib

POLL_SECONDS = 0.05
# After SIGKILL a process is gone in milliseconds, unless the kernel holds it
# (a dead network file system): nobody can help that by waiting.
_KILL_SECONDS = 3.0
_TAIL_LINES = 30
# A node that stopped the program is often about to return. A SIGTERM while
# Python and TensorFlow take themselves down would cut that short and hide its
# status.
_HEAD_START_SECONDS = 3.0


class Running(Protocol):
  """A node that was started; see `children.Child`, which runs here.

  Attributes:
    name: `<group>/<index>`.
    returncode: None while it runs; negative for a signal.
    started_at: When, as `time.monotonic` counts.
    log: Its output.
  """

  name: str
  returncode: int | None
  started_at: float
  log: logs.Log

  @property
  def pid(self) -> int | None:
    """Of the process; None where that is on another machine."""

  def poll(self) -> bool:
    """Looks whether it has ended, without waiting."""

  def terminate(self) -> None:
    """Asks it to end; once."""

  def kill(self) -> None:
    """Kills it and all that it has started."""

  def close(self) -> None:
    """Lets go of one that has ended."""


@dataclasses.dataclass(frozen=True)
class Startable:
  """What starts one node.

  Attributes:
    name: `<group>/<index>`.
    start: Does so, given the folder for its log.
    refusal: Says why it cannot be started again; empty where it can.
  """

  name: str
  start: Callable[[pathlib.Path], Running]
  refusal: Callable[[], str] = str

  @property
  def group(self) -> str:
    """The group's label."""
    return self.name.rpartition('/')[0]


class Supervisor:
  """Starts nodes, tells how they fare, stops them, and leaves none behind.

  A context manager: whatever still runs when it is left is killed. Call it
  from the main thread: the nodes die with the thread that started them.
  """

  def __init__(
    self,
    commands: Sequence[Startable],
    log_directory: pathlib.Path,
    stop_path: pathlib.Path,
    notice_seconds: float = 10.0,
    expendable: Collection[str] = (),
    restarts: restarts_lib.Restarts | None = None,
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
        being a failure of the program, even if they are not started again.
      restarts: Of nodes that fail; by default, none: the first failure ends
        the program.
    """
    self._commands = tuple(commands)
    self._log_directory = log_directory
    self._stop_path = stop_path
    self._notice_seconds = notice_seconds
    self._expendable = {
      command.name for command in commands if command.group in expendable
    }
    self._restarts = restarts or restarts_lib.Restarts(0)
    self._due: dict[str, float] = {}  # Who is started again, and when.
    self._children: list[Running] = []
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
        self._children.append(command.start(self._log_directory))
        self._guard()
    except BaseException:
      self.close()
      raise

  @property
  def outcome(self) -> outcomes.Outcome | None:
    """Why the nodes are being stopped; None while all goes on."""
    return self._outcome

  def processes(self) -> dict[str, int]:
    """The process id of each node that runs on this machine, by name."""
    return {
      child.name: child.pid
      for child in self._running()
      if child.pid is not None
    }

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
    if ended:
      self._guard()
    if self._outcome is None:
      self._outcome = self._judge(ended)
    if self._outcome is None and self._due:
      self._start_again()
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

  def _running(self) -> list[Running]:
    return [child for child in self._children if child.returncode is None]

  def _guard(self) -> None:
    if self._guardian is not None:
      self._guardian.watch(self.processes().values())

  def _start_again(self) -> None:
    for place, (command, child) in enumerate(
      zip(self._commands, self._children, strict=True)
    ):
      due = self._due.get(command.name)
      if due is not None and time.monotonic() >= due:
        del self._due[command.name]
        child.close()
        self._children[place] = command.start(self._log_directory)
        self._guard()

  def _give_notice(self, elapsed_seconds: float) -> None:
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

  def _judge(self, ended: list[Running]) -> outcomes.Outcome | None:
    if self._signum is not None:
      return outcomes.Outcome('interrupted', signum=self._signum)
    asked_at = self._stop_time()
    # A look sees what happened since the last one: a node's last words tell
    # which of several came first, and whether it failed before the stop.
    ended.sort(key=lambda child: child.log.last_write_time())
    for child in ended:
      is_late = asked_at is not None and child.log.last_write_time() >= asked_at
      if not child.returncode or is_late:
        continue
      refusal = self._schedule(child)
      is_expendable = child.name in self._expendable and child.returncode < 0
      if refusal is not None and not is_expendable:
        return outcomes.Outcome('failed', failure=_make_failure(child, refusal))
    if asked_at is not None:
      name = self._stop_path.read_text()
      return outcomes.Outcome('finished', stopped_by=name)
    is_over = not self._running() and not self._due
    return outcomes.Outcome('finished') if is_over else None

  def _schedule(self, child: Running) -> str | None:
    """Has a node started again; returns why not, where it is not."""
    assert child.returncode is not None
    commands = {command.name: command for command in self._commands}
    if refusal := commands[child.name].refusal():
      return f', and {refusal}'
    most = self._restarts.max_per_hour
    lived = time.monotonic() - child.started_at
    pause = self._restarts.grant(child.name, lived)
    if pause is None:
      return f', after {most} restarts within an hour' if most else ''
    child.log.say(
      f'{outcomes.describe_status(child.returncode)}; started again in '
      f'{pause:g} s, restart {self._restarts.count} of {most} within the hour'
    )
    self._due[child.name] = time.monotonic() + pause
    return None

  def _stop_time(self) -> float | None:
    try:
      return self._stop_path.stat().st_mtime
    except FileNotFoundError:
      return None

  def _conclude(self, killed: tuple[str, ...]) -> outcomes.Outcome:
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
        if child.returncode is not None and child.name not in self._due
      },
    )
    return self._outcome


def _make_failure(child: Running, why_last: str = '') -> outcomes.Failure:
  assert child.returncode is not None
  return outcomes.Failure(
    name=child.name,
    status=outcomes.describe_status(child.returncode) + why_last,
    log=child.log.path,
    tail=child.log.tail(_TAIL_LINES),
  )
