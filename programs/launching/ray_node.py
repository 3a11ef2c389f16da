"""Starts Ray on one machine: `python -m programs.launching.ray_node ...`.

The arguments are those of `ray start`. All processes are in one process group.
"""

import contextlib
import errno
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from programs.launching import children, ports, tasks

# Ray replaces 127.0.0.1 by an address that other machines can reach.
LOOPBACK = '127.0.0.2'

STARTED = 'Ray runtime started'  # Its output when others can connect.

_STARTING_SECONDS, _ANSWER_SECONDS = 120.0, 5.0
_TAIL_LINES = 50
_OBJECT_STORE_BYTES = 80_000_000  # It stays empty; by default, 30% of memory.

_CONFIGURATION = {
  # A machine that does not answer for so long is lost; by default, a minute.
  'health_check_initial_delay_ms': 2000,
  'health_check_period_ms': 1000,
  'health_check_timeout_ms': 3000,
  'health_check_failure_threshold': 4,
  'gcs_rpc_server_reconnect_timeout_s': 20,
  # Short of memory, it would kill executors and not the nodes that use it.
  'memory_monitor_refresh_ms': 0,
  # These unused features take a third of the CPU time of an idle Ray.
  'task_events_report_interval_ms': 0,
  'enable_metrics_collection': 'false',
  'raylet_report_resources_period_milliseconds': 1000,
  # Nodes have the same priority as without Ray; by default, nice 15.
  'worker_niceness': 0,
  # The guardian of each executor does this, for grandchildren as well.
  'kill_child_processes_on_worker_exit': 'false',
}


class AddressError(Exception):
  """No head can be started at an address, or another run uses it."""


def head_arguments(address: str, port: int) -> list[str]:
  """Return the arguments of the head, which other machines join at `port`."""
  return [
    *_common_arguments(address),
    '--head',
    f'--port={port}',
    '--include-dashboard=false',
    '--no-monitor',
  ]


def join_arguments(address: str, head: str) -> list[str]:
  """Return the arguments of a machine that joins a head, 'host:port'."""
  return [*_common_arguments(address), f'--address={head}']


def is_running(address: str) -> bool:
  """Return whether Ray runs at 'host:port', an address of this machine.

  Raises:
    AddressError: The address is another machine's, or is taken.
  """
  with socket.socket() as probe:
    try:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      probe.bind(ports.split_address(address))
      return False
    except OSError as error:
      if error.errno != errno.EADDRINUSE:
        raise AddressError(f'{address}: {error.strerror}') from error
  import grpc  # Jobs do not need it.

  with grpc.insecure_channel(address) as channel:
    try:
      grpc.channel_ready_future(channel).result(_ANSWER_SECONDS)
    except grpc.FutureTimeoutError as error:
      raise AddressError(f'{address}: the port is taken, not by Ray') from error
  return True


@contextlib.contextmanager
def running(
  arguments: Sequence[str], log_directory: pathlib.Path
) -> Iterator[tuple[children.Child, str]]:
  """Run `ray start` with some arguments as long as the context is open.

  Yields:
    Parent of its processes, and the folder of Ray's files, removed at the end.

  Raises:
    ConnectionError: They did not start.
  """
  # Short enough for sockets.
  folder = tempfile.mkdtemp(prefix='launching-ray-', dir='/tmp')
  with contextlib.ExitStack() as stack:
    guardian = children.Guardian(pathlib.Path(folder))
    stack.callback(guardian.close)
    command = children.NodeCommand(
      name='ray/0',
      argv=(
        *(sys.executable, '-m', __spec__.name, *arguments),
        # The system chooses: a head in Ray's own range would be refused.
        '--min-worker-port=0',
        '--max-worker-port=0',
      ),
      env={
        **os.environ,
        'PYTHONPATH': os.pathsep.join(tasks.import_path()),
        'PYTHONUNBUFFERED': '1',
        'RAY_TMPDIR': folder,
      },
    )
    log_directory.mkdir(parents=True, exist_ok=True)
    child = children.Child(command, log_directory)
    stack.callback(child.close)
    stack.callback(child.kill)
    guardian.watch([child.pid])
    deadline = time.monotonic() + _STARTING_SECONDS
    while STARTED not in child.log.tail(_TAIL_LINES):
      if child.poll() or time.monotonic() > deadline:
        raise ConnectionError(
          f'Ray did not start on this machine:\n{child.log.tail(10)}'
        )
      time.sleep(0.05)
    yield child, folder


def main(arguments: Sequence[str]) -> None:
  """Run Ray's processes; does not return."""
  for name, value in _CONFIGURATION.items():
    os.environ.setdefault(f'RAY_{name}', str(value))
  from ray._common import utils
  from ray._private import node
  from ray._private import utils as private
  from ray.scripts import scripts

  # Ray gives all machines the path of the head's files. Where several share a
  # disk, each would remove the code that another was sent.
  make_folders = node.Node._init_temp

  def make_own_folders(self: Any) -> None:
    self._ray_params.update_if_absent(temp_dir=utils.get_ray_temp_dir())
    make_folders(self)

  node.Node._init_temp = make_own_folders
  # Otherwise Ray serves remote drivers at port 10001 of all addresses.
  scripts.check_ray_client_dependencies_installed = lambda: False

  # Otherwise the status is 1. Ray's processes end with this one.
  def end(signum: int, _: Any) -> None:
    sys.exit(128 + signum)

  signal.signal(signal.SIGINT, end)
  private.set_sigterm_handler = lambda _: signal.signal(signal.SIGTERM, end)
  scripts.cli(['start', *arguments], prog_name='ray')


def _common_arguments(address: str) -> list[str]:
  return [
    '--block',
    f'--node-ip-address={address}',
    f'--object-store-memory={_OBJECT_STORE_BYTES}',
    '--disable-usage-stats',
    '--include-log-monitor=false',
  ]


if __name__ == '__main__':
  # `running` ends it with SIGKILL. Slurm sends SIGTERM to all processes of a
  # launch, which must not take Ray from nodes that are still ending.
  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
  main(sys.argv[1:])
