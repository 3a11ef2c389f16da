"""Makes this machine one of a cluster: `./impala cluster`.

A cluster is where `./impala train --launch=ray --ray_address=HOST:PORT` runs.
"""

import argparse
import ipaddress
import sys
from collections.abc import Sequence

from programs.launching import ray_node
from programs.runs import flags, run_directory

_DESCRIPTION = """\
Makes this machine one of a cluster, until Ctrl-C or SIGTERM. One machine is the
head; the others join it. All need this checkout, but not the same folder.

  ./impala cluster --head --ip=10.0.0.1
  ./impala cluster --join=10.0.0.1:6379 --ip=10.0.0.2
  ./impala train --launch=ray --ray_address=10.0.0.1:6379 --logdir=runs/pong

Whoever reaches the ports of a cluster can run code on its machines. There are
no passwords: keep the network to yourself (docs/cluster.md)."""

_HEAD_PORT = 6379


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: Its flags; by default, the command line's.
  """
  given = _make_parser().parse_args(argv)
  try:
    _check(given)
  except run_directory.RunError as error:
    print(f'./impala cluster: {error}', file=sys.stderr)
    return 2
  print(
    f'{given.ip}: whoever reaches its ports can run code here; keep the '
    'network to yourself (docs/cluster.md)',
    file=sys.stderr,
    flush=True,
  )
  ray_node.main(
    [
      *(
        ray_node.head(given.ip, given.port)
        if given.head
        else ray_node.worker(given.ip, given.join)
      ),
      *(
        f'--num-{name}={value}'
        for name, value in (('cpus', given.num_cpus), ('gpus', given.num_gpus))
        if value is not None
      ),
    ]
  )
  return 0


def _check(given: argparse.Namespace) -> None:
  try:
    ipaddress.ip_address(given.ip)
  except ValueError as error:
    raise run_directory.RunError(
      "ip must be this machine's address in the network of the cluster, got "
      f'{given.ip!r}'
    ) from error
  if given.ip == '127.0.0.1':
    raise run_directory.RunError(
      'ip must not be 127.0.0.1, which Ray replaces by an address that others '
      f'reach; for machines in name only, take {ray_node.LOOPBACK} and so on'
    )
  for name in ('num_cpus', 'num_gpus'):
    value = getattr(given, name)
    if value is not None and value < 0:
      raise run_directory.RunError(f'{name} must be at least 0, got {value}')


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
  for name, what in (('cpus', 'cores'), ('gpus', 'GPUs')):
    parser.add_argument(
      f'--num_{name}',
      type=int,
      metavar='INT',
      help=f'{what} that it offers [default: all]',
    )
  return parser


if __name__ == '__main__':
  sys.exit(main())
