"""Child processes with logs, which cannot outlive their parent."""

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

# Run in the child, then replaced by the command: the kernel kills it when its
# parent dies, for whatever reason. A `preexec_fn` would do the same, but runs
# Python between fork and exec in a process that has TensorFlow's and gRPC's
# threads. The parent may have died before the request was made.
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

# Each line that it reads replaces the list of process groups. When the pipe
# closes (the launcher closed it, or is dead) it kills the groups of the last
# list, and removes the folder in its first argument.
_KILL_GROUPS_AT_END = """
trap '' HUP INT TERM
while read -r line; do groups=$line; done
[ -z "$groups" ] || kill -s KILL -- $groups
[ -z "$1" ] || rm -rf -- "$1"
"""


_TAIL_BYTES = 65536


class Log:
  """Log of a node: output is appended; the tail is of the latest start."""

  def __init__(self, folder: pathlib.Path, name: str) -> None:
    """Open or create the file `<group>_<index>.log` of a node.

    Raises:
      OSError: It cannot be opened.
    """
    self.path = folder / f'{name.replace("/", "_")}.log'
    self._name = name
    # The open file serves the tail even if someone deletes or moves the log.
    self.file = open(self.path, 'a+b', buffering=0)  # noqa: SIM115
    self.mark_start()

  def add_line(self, text: str) -> None:
    """Append a line of the launcher, with time and node."""
    now = time.strftime('%Y-%m-%dT%H:%M:%S%z')
    self.file.write(f'=== {now} {self._name}: {text}\n'.encode())

  def mark_start(self) -> None:
    """Leave everything written so far out of the tail."""
    self._start = self._size()

  def tail(self, num_lines: int) -> str:
    """Return the last lines since the start, at most 64 KiB of them."""
    size = self._size()
    start = max(self._start, size - _TAIL_BYTES)
    text = os.pread(self.file.fileno(), max(size - start, 0), start)
    lines = text.decode(errors='replace').splitlines()
    return '\n'.join(lines[-num_lines:])

  def read(self, offset: int, num_bytes: int) -> bytes:
    """Return at most `num_bytes` of the file from an offset on."""
    return os.pread(self.file.fileno(), num_bytes, offset)

  def last_write_time(self) -> float:
    """Return the file's modification time, in seconds since the epoch."""
    return os.fstat(self.file.fileno()).st_mtime

  def close(self) -> None:
    """Close the file."""
    self.file.close()

  def _size(self) -> int:
    return os.fstat(self.file.fileno()).st_size


@dataclasses.dataclass(frozen=True)
class NodeCommand:
  """Name, command line and whole environment of a node's process."""

  name: str
  argv: tuple[str, ...]
  env: Mapping[str, str]


class Child:
  """One command in its own session, its output appended to a log.

  Start it from the thread that lives longest, the main one: to the kernel the
  parent is a thread, and the child dies with it.
  """

  def __init__(self, command: NodeCommand, log_directory: pathlib.Path) -> None:
    """Start the command; if it cannot be run, the child exits with status 1.

    Raises:
      OSError: The process or the log file could not be created.
    """
    self.name = command.name
    self.started_at = time.monotonic()
    self.returncode: int | None = None
    self._is_terminated = False
    self.log = Log(log_directory, command.name)
    try:
      self.log.add_line(shlex.join(command.argv))
      self.log.mark_start()
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
    """Process id, also the id of its process group."""
    return self._process.pid

  def poll(self) -> bool:
    """Return whether it has ended; the rest of its group is then killed."""
    if self.returncode is None:
      # The group is killed before the child is reaped: until then its id cannot
      # be given to another process.
      flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
      if os.waitid(os.P_PID, self.pid, flags) is None:
        return False
      self._signal_group(signal.SIGKILL)
      self.returncode = self._process.wait()
    return True

  def terminate(self) -> None:
    """Send SIGTERM to the child alone, once."""
    if self.returncode is None and not self._is_terminated:
      self._is_terminated = True
      # Not `send_signal`, which reaps a child that has ended: see `poll`.
      os.kill(self.pid, signal.SIGTERM)

  def kill(self) -> None:
    """Kill the child and its process group."""
    if self.returncode is None:
      self._signal_group(signal.SIGKILL)

  def close(self) -> None:
    """Close the log of a child that has ended."""
    self.log.close()

  def _signal_group(self, signum: int) -> None:
    # A group of zombies, or of processes that became another user's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self.pid, signum)


class Guardian:
  """Small shell that kills process groups when this process is gone.

  The kernel kills children with their parent, but not grandchildren: the
  guardian does, even after `kill -9` of the launcher.
  """

  def __init__(self, folder: pathlib.Path | None = None) -> None:
    """Start the shell; it removes `folder` at its end."""
    self._process = subprocess.Popen(
      ['/bin/sh', '-c', _KILL_GROUPS_AT_END, 'guardian', str(folder or '')],
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      cwd='/',
      start_new_session=True,
    )

  def watch(self, pids: Iterable[int]) -> None:
    """Replace the ids of the process groups to kill."""
    assert self._process.stdin is not None
    line = ' '.join(f'-{pid}' for pid in pids) + '\n'
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(line.encode())
      self._process.stdin.flush()

  def close(self) -> None:
    """Kill the groups still watched and wait for the shell to end."""
    self._process.communicate()
