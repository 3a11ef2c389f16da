"""Makes this machine one of a cluster: `./impala cluster`.

A cluster is where `./impala train --launch=ray --ray_address=HOST:PORT` runs.
"""

import argparse
import ipaddress
import sys
from collections.abc import Sequence

from programs import flags, machines, runs
from programs.launching import ray_node

_DESCRIPTION = """\
Makes this machine one of a cluster, until Ctrl-C or SIGTERM. One machine is the
head; the others join it. All need this checkout, but not the same folder.

  ./impala cluster --head --ip=10.0.0.1
  ./impala cluster --join=10.0.0.1:6379 --ip=10.0.0.2
  ./impala train --launch=ray --ray_address=10.0.0.1:6379 --logdir=runs/pong

Whoever reaches the ports of a cluster can run code on its machines. There are
no passwords: keep the network to yourself (docs/cluster.md)."""

_HEAD_PORT = 6379
# Of a range, what Ray wants one port each for; the rest is for its workers,
# of which there is one for each supervising process.
_PORTS = (
  'node-manager-port',
  'object-manager-port',
  'runtime-env-agent-port',
  'dashboard-agent-grpc-port',
  'dashboard-agent-listen-port',
  'metrics-export-port',
)
_MIN_WORKER_PORTS = 10


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: Its flags; by default, the command line's.
  """
  given = _make_parser().parse_args(argv)
  try:
    arguments = make_arguments(given)
  except runs.RunError as error:
    print(f'./impala cluster: {error}', file=sys.stderr)
    return 2
  print(
    f'{given.ip}: whoever reaches its ports can run code here; keep the '
    'network to yourself (docs/cluster.md)',
    file=sys.stderr,
    flush=True,
  )
  ray_node.main(arguments)
  return 0


def make_arguments(given: argparse.Namespace) -> list[str]:
  """What `ray start` is given for the flags.

  Raises:
    runs.RunError: A flag breaks its rule.
  """
  try:
    ipaddress.ip_address(given.ip)
  except ValueError as error:
    raise runs.RunError(
      "ip must be this machine's address in the network of the cluster, got "
      f'{given.ip!r}'
    ) from error
  if given.ip == '127.0.0.1':
    raise runs.RunError(
      'ip must not be 127.0.0.1, which Ray replaces by an address that others '
      f'reach; for machines in name only, take {ray_node.LOOPBACK} and so on'
    )
  if given.head:
    arguments = ray_node.head(given.ip, given.port, given.folder)
  else:
    arguments = ray_node.worker(given.ip, given.join)
  for name in ('cpus', 'gpus'):
    value = getattr(given, f'num_{name}')
    if value is not None:
      if value < 0:
        raise runs.RunError(f'num_{name} must be at least 0, got {value}')
      arguments.append(f'--num-{name}={value}')
  return arguments + _port_flags(given.port_range)


def _port_flags(text: str) -> list[str]:
  """Where Ray's processes listen."""
  found = machines.port_range(text)
  if found is None:
    return []
  first, last = found
  workers = first + len(_PORTS)
  if last - workers + 1 < _MIN_WORKER_PORTS:
    least = len(_PORTS) + _MIN_WORKER_PORTS
    raise runs.RunError(
      f'port_range must hold at least {least} ports, got {text!r}'
    )
  return [
    *(f'--{name}={first + place}' for place, name in enumerate(_PORTS)),
    f'--min-worker-port={workers}',
    f'--max-worker-port={last}',
  ]


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('cluster', _DESCRIPTION)
  role = parser.add_mutually_exclusive_group(required=True)
  role.add_argument(
    '--head', action='store_true', help='this machine is the first'
  )
  role.add_argument(
    '--join', metavar='HOST:PORT', help='the head of the cluster to join'
  )
  parser.add_argument(
    '--ip',
    required=True,
    metavar='ADDRESS',
    help="this machine's, in the network of the cluster",
  )
  parser.add_argument(
    '--port',
    type=int,
    default=_HEAD_PORT,
    metavar='INT',
    help=f'with --head: where the others join [default {_HEAD_PORT}]',
  )
  parser.add_argument(
    '--port_range',
    default='',
    metavar='FIRST-LAST',
    help="where else Ray's processes listen, for a firewall; empty: any",
  )
  parser.add_argument(
    '--num_cpus',
    type=int,
    metavar='INT',
    help='cores that it offers [default: all]',
  )
  parser.add_argument(
    '--num_gpus',
    type=int,
    metavar='INT',
    help='GPUs that it offers [default: all]',
  )
  parser.add_argument(
    '--folder',
    metavar='DIR',
    help="with --head: takes all machines' temporary files; at most some 40 "
    'characters [default /tmp/ray]',
  )
  return parser


if __name__ == '__main__':
  sys.exit(main())
