"""Ray's processes on one machine: `python -m programs.launching.ray_node ...`.

The arguments are those of `ray start`. It runs until SIGTERM or Ctrl-C, and
then ends what it has started, which is all in its process group.
"""

import os
import sys
from collections.abc import Sequence

# Not 127.0.0.1, which Ray replaces by an address that others can reach.
LOOPBACK = '127.0.0.2'

STARTED = 'Ray runtime started'  # What it says when others can connect.

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


def head(ip: str, port: int, folder: str | None) -> list[str]:
  """The arguments of the first machine.

  Args:
    ip: Its address in the network of the cluster.
    port: Where others join.
    folder: Takes all machines' temporary files; None: Ray's own choice.
  """
  return [
    *_common(ip),
    '--head',
    f'--port={port}',
    '--include-dashboard=false',
    '--no-monitor',
    *([f'--temp-dir={folder}'] if folder else []),
  ]


def member(ip: str, address: str) -> list[str]:
  """The arguments of another one.

  Args:
    ip: Its address in the network of the cluster.
    address: 'host:port' of the first.
  """
  return [*_common(ip), f'--address={address}']


def main(arguments: Sequence[str]) -> None:
  """Runs Ray's processes; does not return.

  Args:
    arguments: Of `ray start`.
  """
  for name, value in _CONFIGURATION.items():
    os.environ.setdefault(f'RAY_{name}', str(value))
  from ray.scripts import scripts

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
  main(sys.argv[1:])
