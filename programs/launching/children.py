"""Child processes that cannot outlive the process that started them."""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping

from programs.launching import logs

# Run in the child, then replaced by the command: the kernel kills it when its
# parent dies, whatever the parent dies of. A `preexec_fn` would do the same,
# but runs Python between fork and exec in a process that has TensorFlow's and
# gRPC's threads. The parent may have died before the request was made.
_BIND_TO_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # See ray_node.
if os.getppid() != int(sys.argv[1]):
  os.kill(os.getpid(), signal.SIGKILL)
try:
  os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
  sys.exit(f'{sys.argv[2]} cannot be run: {error.strerror}')
"""

# Each line that it reads replaces the list of process groups; when the pipe
# closes (the launcher closed it, or is dead) it kills the last list, and
# removes the folder that it was given.
_KILL_GROUPS_AT_END = """
trap '' HUP INT TERM
while read -r line; do groups=$line; done
[ -z "$groups" ] || kill -s KILL -- $groups
[ -z "$1" ] || rm -rf -- "$1"
"""


@dataclasses.dataclass(frozen=True)
class NodeCommand:
  """What starts one node.

  Attributes:
    name: `<group>/<index>`.
    argv: The command, as for `subprocess.Popen`.
    env: The whole environment of the process.
  """

  name: str
  argv: tuple[str, ...]
  env: Mapping[str, str]


class Child:
  """One command in a session of its own, its output appended to a log.

  It must be started from the thread that lives longest, the main one: to the
  kernel the parent is a thread, and the child dies with it.
  """

  def __init__(self, command: NodeCommand, log_directory: pathlib.Path) -> None:
    """Starts the command.

    Args:
      command: Where it cannot be run, the child ends with status 1.
      log_directory: Folder of the log that the output is appended to, after a
        line that tells time, name and command.

    Raises:
      OSError: No process or no log file could be made.
    """
    self.name = command.name
    self.started_at = time.monotonic()
    self.returncode: int | None = None
    self._is_asked = False
    self.log = logs.Log(log_directory, command.name)
    try:
      self.log.say(shlex.join(command.argv))
      self.log.begin()
      self._process = subprocess.Popen(
        [sys.executable, '-I', '-S', '-c', _BIND_TO_PARENT, str(os.getpid())]
        + list(command.argv),
        env=command.env,
        stdin=subprocess.DEVNULL,
        stdout=self.log.file,
        stderr=subprocess.STDOUT,
        # A terminal's Ctrl-C must reach the launcher alone.
        start_new_session=True,
      )
    except BaseException:
      self.log.close()
      raise

  @property
  def pid(self) -> int:
    """Process id, and id of the process group that the child leads."""
    return self._process.pid

  def poll(self) -> bool:
    """Whether it has ended; what it left behind in its group is then killed."""
    if self.returncode is None:
      # Not reaped yet, its id cannot be given to a process of someone else
      # before the group is killed.
      flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
      if os.waitid(os.P_PID, self.pid, flags) is None:
        return False
      self._signal_group(signal.SIGKILL)
      self.returncode = self._process.wait()
    return True

  def terminate(self) -> None:
    """Asks the child, not those that it started, to end; once."""
    if self.returncode is None and not self._is_asked:
      self._is_asked = True
      # Not `send_signal`, which reaps it if it has ended: `poll` must do that.
      os.kill(self.pid, signal.SIGTERM)

  def kill(self) -> None:
    """Kills the child and its group."""
    if self.returncode is None:
      self._signal_group(signal.SIGKILL)

  def close(self) -> None:
    """Closes the log of a child that has ended."""
    self.log.close()

  def _signal_group(self, signum: int) -> None:
    # A group of zombies, or of processes that became another user's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self.pid, signum)


class Guardian:
  """A small shell that kills process groups when this process is gone.

  A child that dies with its parent takes nothing of what it has started along:
  the guardian does, after `kill -9` of the launcher too.
  """

  def __init__(self, folder: pathlib.Path | None = None) -> None:
    """Watches nothing yet; at the end removes the folder, if it has one."""
    self._process = subprocess.Popen(
      ['/bin/sh', '-c', _KILL_GROUPS_AT_END, 'guardian', str(folder or '')],
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      cwd='/',
      start_new_session=True,
    )

  def watch(self, pids: Iterable[int]) -> None:
    """Sets the process groups to kill, by their leaders."""
    assert self._process.stdin is not None
    line = ' '.join(f'-{pid}' for pid in pids) + '\n'
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(line.encode())
      self._process.stdin.flush()

  def close(self) -> None:
    """Kills what is still watched and waits for the guardian's end."""
    self._process.communicate()
