"""Add this machine to a cluster: `./impala cluster`.

`./impala train --launch=ray --ray_address=HOST:PORT` runs on clusters.
"""

import argparse
import ipaddress
import sys
from collections.abc import Sequence

from programs.launching import ray_node
from programs.runs import flags, run_directory

_DESCRIPTION = """\
Adds this machine to a Ray cluster until Ctrl-C or SIGTERM. One machine is the
head, and the others join it. All need this checkout, in any folder.

  ./impala cluster --head --ip=10.0.0.1
  ./impala cluster --join=10.0.0.1:6379 --ip=10.0.0.2
  ./impala train --launch=ray --ray_address=10.0.0.1:6379 --logdir=runs/pong

The ports of a cluster have no passwords, and whoever reaches them can run code
on its machines: restrict access to its network (docs/cluster.md)."""

_HEAD_PORT = 6379


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command; return its exit status."""
  given = _make_parser().parse_args(argv)
  try:
    _check(given)
  except run_directory.RunError as error:
    print(f'./impala cluster: {error}', file=sys.stderr)
    return 2
  print(
    f'{given.ip}: whoever reaches its ports can run code here; restrict access '
    'to its network (see docs/cluster.md)',
    file=sys.stderr,
    flush=True,
  )
  ray_node.main(
    [
      *(
        ray_node.head_arguments(given.ip, given.port)
        if given.head
        else ray_node.join_arguments(given.ip, given.join)
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
      'ip must not be 127.0.0.1, which Ray replaces by an external address '
      f'(for tests on one machine use {ray_node.LOOPBACK} and so on)'
    )
  for name in ('num_cpus', 'num_gpus'):
    value = getattr(given, name)
    if value is not None and value < 0:
      raise run_directory.RunError(f'{name} must be at least 0, got {value}')


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('cluster', _DESCRIPTION)
  role = parser.add_mutually_exclusive_group(required=True)
  role.add_argument(
    '--head',
    action='store_true',
    help='start a cluster, of which this is the head',
  )
  role.add_argument(
    '--join', metavar='HOST:PORT', help='join the cluster of this head'
  )
  parser.add_argument(
    '--ip',
    required=True,
    metavar='ADDRESS',
    help="this machine's address in the network of the cluster",
  )
  parser.add_argument(
    '--port',
    type=int,
    default=_HEAD_PORT,
    metavar='INT',
    help=f'with --head: port at which others join [default {_HEAD_PORT}]',
  )
  for name, what in (('cpus', 'cores'), ('gpus', 'GPUs')):
    parser.add_argument(
      f'--num_{name}',
      type=int,
      metavar='INT',
      help=f'{what} that Ray may use here [default: all]',
    )
  return parser


if __name__ == '__main__':
  sys.exit(main())
