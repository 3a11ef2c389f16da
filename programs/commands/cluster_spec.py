"""Machines of a run with one command per role: the file of --cluster."""

import dataclasses
import json
import pathlib
import socket
from collections.abc import Sequence

from programs.launching import ports, ray_node
from programs.runs import run_directory

JOBS = ('learner', 'actor', 'evaluator')
_ANYWHERE = '192.0.2.1:9'  # Reserved for documentation: no machine has it.


@dataclasses.dataclass(frozen=True)
class ClusterSpec:
  """Machines that the file of --cluster names.

  Attributes:
    learner: Host of the learner's job, the cluster's head.
    port: Its port; by default, the published code's.
    actors: Host of each actor; None if the file has none.
    evaluator: Host of an evaluator with its own job; None without one.
  """

  learner: str = 'localhost'
  port: int = 8000
  actors: Sequence[str] | None = None
  evaluator: str | None = None


def read(path: str) -> ClusterSpec:
  """Read a file of --cluster: JSON, job -> hosts.

  Raises:
    run_directory.RunError: It breaks a rule.
  """
  try:
    hosts = json.loads(pathlib.Path(path).read_text())
  except (OSError, ValueError) as error:
    raise run_directory.RunError(
      f'cluster must be a JSON file, got {path!r} ({error})'
    ) from error
  if not isinstance(hosts, dict) or not all(
    job in JOBS
    and isinstance(names, list)
    and all(isinstance(name, str) and name for name in names)
    for job, names in hosts.items()
  ):
    raise run_directory.RunError(
      f'cluster must hold a list of hosts for {", ".join(JOBS)} and no other '
      f'job, got {path!r}'
    )
  for job, least, most in (('learner', 1, 1), ('evaluator', 0, 1)):
    if not least <= len(hosts.get(job, ())) <= most:
      raise run_directory.RunError(
        f'cluster must give {job} one host, got {hosts.get(job, [])} in '
        f'{path!r}'
      )
  learner = hosts['learner'][0]
  host, _, port = learner.rpartition(':')
  if not host or not port.isdecimal() or not 1024 <= int(port) <= 65_500:
    raise run_directory.RunError(
      "cluster must give learner 'HOST:PORT', with a port from 1024 to 65500, "
      f'got {learner!r} in {path!r}'
    )
  (evaluator,) = hosts.get('evaluator', [None])
  return ClusterSpec(host, int(port), hosts.get('actor'), evaluator)


def resolve(host: str) -> str:
  """Return the address by which other machines reach a host.

  Raises:
    run_directory.RunError: The name is unknown.
  """
  name = host.partition(':')[0]
  try:
    address = socket.gethostbyname(name)
  except OSError as error:
    raise run_directory.RunError(
      f'cluster must have hosts that are known here, got {host!r} ({error})'
    ) from error
  if name in ('localhost', '127.0.0.1'):
    return ray_node.LOOPBACK
  if address.startswith('127.') and address != name:
    # This machine's own name.
    return ports.own_address(_ANYWHERE) or address
  return address
