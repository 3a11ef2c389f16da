"""Machines in name only: network namespaces on a bridge. Needs root."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

from benchmarks import trial

_NETWORK = '10.77.0'
_BRIDGE = 'impala-bridge'
# What a machine's first process does: it is its init, and reaps.
_INIT = """
mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm || exit 1
for folder in "$@"; do mount -t tmpfs tmpfs "$folder" || exit 1; done
hostname "$NAME" && ip link set lo up || exit 1
sleep infinity & wait
"""


def lacking() -> str:
  """What this machine lacks to make others of it; empty where nothing."""
  absent = [c for c in ('ip', 'unshare', 'nsenter') if not shutil.which(c)]
  if not os.geteuid() and not absent:
    return ''
  return (
    'it must be run by root, who has the commands ip, unshare and nsenter; '
    f'got user {os.geteuid()}, without {absent or "none"}'
  )


@contextlib.contextmanager
def machines(
  hidden: Sequence[Sequence[pathlib.Path]],
) -> Iterator[list['Machine']]:
  """Boots machines on one network.

  Args:
    hidden: For each, folders of this machine that it does not have.
  """
  with contextlib.ExitStack() as held:
    call('ip', 'link', 'add', _BRIDGE, 'type', 'bridge')
    held.callback(call, 'ip', 'link', 'del', _BRIDGE)
    call('ip', 'link', 'set', _BRIDGE, 'up')
    made = []
    for number, folders in enumerate(hidden, 1):
      made.append(Machine(number, folders))
      held.callback(made[-1].close)
    yield made


class Machine:
  """Namespaces that stand for a machine."""

  def __init__(self, number: int, hidden: Sequence[pathlib.Path]) -> None:
    """Boots it.

    Args:
      number: From 1.
      hidden: Folders of this machine that it does not have.
    """
    self.ip = f'{_NETWORK}.{number}'
    self.name = f'impala{number}'
    self.link = f'impala-v{number}'
    call('ip', 'netns', 'add', self.name)
    call(
      *('ip', 'link', 'add', self.link, 'type', 'veth', 'peer', 'name'),
      *('eth0', 'netns', self.name),
    )
    call('ip', 'link', 'set', self.link, 'master', _BRIDGE, 'up')
    inside = ('ip', 'netns', 'exec', self.name)
    call(*inside, 'ip', 'addr', 'add', f'{self.ip}/24', 'dev', 'eth0')
    call(*inside, 'ip', 'link', 'set', 'eth0', 'up')
    self._started: list[subprocess.Popen[bytes]] = []
    self._outer = self._popen(
      *(*inside, 'unshare', '--pid', '--mount', '--uts', '--ipc', '--fork'),
      *('--kill-child', '--mount-proc', 'bash', '-c', _INIT, 'init'),
      *map(str, hidden),
      env={**os.environ, 'NAME': self.name},
    )
    self._init: psutil.Process | None = None
    deadline = time.monotonic() + 20
    while self._init is None and time.monotonic() < deadline:
      time.sleep(0.1)
      for process in psutil.Process(self._outer.pid).children(True):
        if process.name() == 'sleep':
          self._init = process.parent()
    if self._init is None:
      raise trial.TrialError(f'{self.name} did not boot')

  def start(
    self, *command: str, log: pathlib.Path, **variables: str
  ) -> subprocess.Popen[bytes]:
    """Starts a command on it."""
    assert self._init is not None
    with open(log, 'ab') as file:
      return self._popen(
        *('nsenter', '-t', str(self._init.pid), '-n', '-p', '-m', '-u', '-i'),
        *('--', *command),
        env={**os.environ, **variables},
        cwd='/',
        stdout=file,
        stderr=subprocess.STDOUT,
      )

  def stop(self, process: subprocess.Popen[bytes]) -> None:
    """Asks a command to end, and waits until it has."""
    for child in psutil.Process(process.pid).children():
      child.terminate()
    process.wait(60)

  def processes(self) -> list[psutil.Process]:
    """All that run on it, but for its init and that one's sleep."""
    if self._init is None or not self._init.is_running():
      return []
    space = os.stat(f'/proc/{self._init.pid}/ns/pid').st_ino
    found = []
    for process in psutil.process_iter():
      with contextlib.suppress(psutil.Error, OSError):
        if (
          os.stat(f'/proc/{process.pid}/ns/pid').st_ino == space
          and process.name() not in ('sleep', 'nsenter')
          and process != self._init
          and process.status() != psutil.STATUS_ZOMBIE
        ):
          found.append(process)
    return found

  def unplug(self, is_up: bool = False) -> None:
    """Takes its network cable out, or puts it in again."""
    call('ip', 'link', 'set', self.link, 'up' if is_up else 'down')

  def kill(self) -> None:
    """Cuts its power: with its init, the kernel kills all that it has."""
    if self._init is not None:
      with contextlib.suppress(psutil.Error):
        self._init.kill()

  def close(self) -> None:
    """Removes it."""
    self.kill()
    for process in self._started:
      with contextlib.suppress(ProcessLookupError):
        process.kill()
      process.wait()
    call('ip', 'link', 'del', self.link)
    call('ip', 'netns', 'del', self.name)

  def _popen(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
      command, stdin=subprocess.DEVNULL, start_new_session=True, **options
    )
    self._started.append(process)
    return process


def wait_until(holds: Callable[[], Any], seconds: float) -> float:
  """Waits; returns for how long.

  Raises:
    trial.TrialError: It took longer.
  """
  begin = time.monotonic()
  while not holds():
    if time.monotonic() - begin > seconds:
      raise trial.TrialError(f'not within {seconds:g} s')
    time.sleep(0.1)
  return time.monotonic() - begin


def call(*command: str) -> None:
  """Runs a command.

  Raises:
    trial.TrialError: It failed.
  """
  done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
  if done.returncode:
    raise trial.TrialError(f'{" ".join(command)}: {done.stderr.strip()}')
