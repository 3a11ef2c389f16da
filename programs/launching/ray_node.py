"""Ray's processes on one machine: `python -m programs.launching.ray_node ...`.

The arguments are those of `ray start`. All that it starts is in its process
group.
"""

import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from programs.launching import children, tasks

# Not 127.0.0.1, which Ray replaces by an address that others can reach.
LOOPBACK = '127.0.0.2'

STARTED = 'Ray runtime started'  # What it says when others can connect.

_STARTING_SECONDS = 120.0
_TAIL_LINES = 50
_OBJECT_STORE_BYTES = 80_000_000  # Nothing goes through it; by default, 30%.

_CONFIGURATION = {
  # A machine that does not answer for so long is lost: by default, a minute.
  'health_check_initial_delay_ms': 2000,
  'health_check_period_ms': 1000,
  'health_check_timeout_ms': 3000,
  'health_check_failure_threshold': 4,
  'gcs_rpc_server_reconnect_timeout_s': 20,
  # Short of memory it would kill hosts, not the nodes that need so much.
  'memory_monitor_refresh_ms': 0,
  # What nobody here asks for takes a third of its time when idle.
  'task_events_report_interval_ms': 0,
  'enable_metrics_collection': 'false',
  'raylet_report_resources_period_milliseconds': 1000,
  # Nodes have the priority that they have without Ray: by default, nice 15.
  'worker_niceness': 0,
  # Each host has a guardian, which does it with grandchildren as well.
  'kill_child_processes_on_worker_exit': 'false',
}


def head(ip: str, port: int) -> list[str]:
  """The arguments of the first machine, which others join at the port."""
  return [
    *_common(ip),
    '--head',
    f'--port={port}',
    '--include-dashboard=false',
    '--no-monitor',
  ]


def worker(ip: str, address: str) -> list[str]:
  """The arguments of another one; `address` is the first's 'host:port'."""
  return [*_common(ip), f'--address={address}']


@contextlib.contextmanager
def running(
  arguments: Sequence[str], log_directory: pathlib.Path
) -> Iterator[tuple[children.Child, str]]:
  """Runs Ray's processes as long as the context is open.

  Args:
    arguments: Of `ray start`.
    log_directory: Takes the log.

  Yields:
    Their parent, and the folder of Ray's files, which is removed at the end.

  Raises:
    ConnectionError: They did not start.
  """
  # Short enough for sockets.
  folder = tempfile.mkdtemp(prefix='launching-ray-', dir='/tmp')
  with contextlib.ExitStack() as held:
    guardian = children.Guardian(pathlib.Path(folder))
    held.callback(guardian.close)
    command = children.NodeCommand(
      name='ray/0',
      argv=(
        *(sys.executable, '-m', __spec__.name, *arguments),
        # Of the system's choice: Ray's own range would refuse a head in it.
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
    held.callback(child.close)
    held.callback(child.kill)
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
  """Runs Ray's processes; does not return."""
  for name, value in _CONFIGURATION.items():
    os.environ.setdefault(f'RAY_{name}', str(value))
  from ray._common import utils
  from ray._private import node
  from ray.scripts import scripts

  # Else all machines take the head's path for their files, those that are
  # several in name, with one disk, the very folder: where each removes the
  # code that it was sent before.
  make_folders = node.Node._init_temp

  def make_own_folders(self: Any) -> None:
    self._ray_params.update_if_absent(temp_dir=utils.get_ray_temp_dir())
    make_folders(self)

  node.Node._init_temp = make_own_folders
  # Else Ray serves remote drivers at port 10001 of all addresses.
  scripts.check_ray_client_dependencies_installed = lambda: False
  scripts.cli(['start', *arguments], prog_name='ray')


def _common(ip: str) -> list[str]:
  return [
    '--block',
    f'--node-ip-address={ip}',
    f'--object-store-memory={_OBJECT_STORE_BYTES}',
    '--disable-usage-stats',
    '--include-log-monitor=false',
  ]


if __name__ == '__main__':
  # See `running`, which ends it: who sends SIGTERM to all that a launch has
  # started, as Slurm does, must not take Ray from nodes that are still ending.
  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
  main(sys.argv[1:])
