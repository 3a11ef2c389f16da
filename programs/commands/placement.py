"""Chooses the machines of a run's nodes: flags of `train --launch`."""

import argparse
import contextlib
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import launchpad as lp

from programs import nodes
from programs.commands import roles
from programs.launching import isolation, local, outcomes, supervisor, tasks
from programs.runs import flags, run_config, run_directory

if TYPE_CHECKING:
  from programs.launching import cluster

_MAX_RESTARTS = 20
_GROUPS = (
  *(nodes.MONITOR, nodes.QUEUE, nodes.LEARNER),
  *(nodes.INFERENCE, nodes.ACTOR, nodes.EVALUATOR),
)


@dataclasses.dataclass(frozen=True)
class Plan:
  """Launch plan of a run.

  Attributes:
    given: Checked flags of the command line.
    role: The role that this command runs; None for all.
    exposure: Why other machines can reach its ports; '' if they cannot.
  """

  given: Mapping[str, Any]
  role: roles.Role | None
  exposure: str

  @property
  def has_threads(self) -> bool:
    """True if nodes are threads of one process."""
    return self.given.get('lp_launch_type') == 'local_mt'

  def num_local_actors(self, configuration: run_config.Configuration) -> int:
    """Return how many actors run on the learner's machine for certain."""
    may_move = self.given.get('ray_address') or self.given.get('cluster')
    return 0 if may_move else configuration.run.num_actors


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Add the flags; they are absent from the result if not given."""
  group = parser.add_argument_group('launching')
  group.add_argument(
    '--launch',
    choices=('local', 'ray'),
    default='local',
    help='local: on this machine; ray: where Ray places the nodes, with '
    'restarts of nodes that fail [default local]',
  )
  group.add_argument(
    '--lp_launch_type',
    choices=('local_mp', 'local_mt'),
    default=argparse.SUPPRESS,
    help='with --launch=local: one process per node, or all nodes as threads '
    'of one process [default local_mp]',
  )
  group.add_argument(
    '--max_restarts_per_hour',
    type=int,
    default=argparse.SUPPRESS,
    metavar='INT',
    help='with --launch=ray or --task: limit for restarts of nodes that fail; '
    f'one more ends the run with status 1 [default {_MAX_RESTARTS}; without '
    'these flags nodes do not restart]',
  )
  flags.add_isolation(group)
  roles.add_flags(parser)
  ray = parser.add_argument_group('with --launch=ray (see docs/cluster.md)')
  ray.add_argument(
    '--ray_address',
    default=argparse.SUPPRESS,
    metavar='HOST:PORT',
    help="address of the cluster's head; auto: the cluster that this machine "
    "is in; empty: start Ray on this machine, for this run [default '']",
  )
  ray.add_argument(
    '--resources',
    default=argparse.SUPPRESS,
    metavar='TEXT',
    help="resources per node, such as 'learner: gpu=1 cpu=4; actor: cpu=1'; "
    'machine=any allows machines other than that of the run directory, which '
    "actors may use anyway [default '']",
  )


def make_plan(given: Mapping[str, Any]) -> Plan:
  """Check the flags, and isolate a run on one machine from the network.

  Where the kernel allows that, this process is executed again: see `isolation`.

  Raises:
    run_directory.RunError: A flag breaks a rule, or the run is not isolated
      although it must be.
  """
  role = roles.find_role(given)
  is_ray = given['launch'] == 'ray'
  if is_ray:
    _refuse(given, roles.FLAGS if role else (), 'with --launch=ray')
  else:
    _refuse(given, ('ray_address', 'resources'), 'without --launch=ray')
  if is_ray or role:
    where = f'with {"--launch=ray" if is_ray else "--task"}'
    _refuse(given, ['lp_launch_type'], where)
  else:
    where = 'without --launch=ray or --task'
    _refuse(given, ['max_restarts_per_hour'], where)
  if role and role.job != roles.LEARNER:
    where = f"with job_name={role.job}: it is a flag of the learner's job"
    _refuse(given, ['max_restarts_per_hour'], where)
  restarts = given.get('max_restarts_per_hour', 0)
  if restarts < 0:
    raise run_directory.RunError(
      f'max_restarts_per_hour must be at least 0, got {restarts}'
    )
  parse_resources(given.get('resources', ''), None)
  is_required = given.get('require_isolation', False)
  if given.get('ray_address') or role:
    if is_required:
      where = 'with --task or --ray_address, whose machines must connect'
      _refuse(given, ['require_isolation'], where)
    return Plan(
      given, role, 'restrict access to its network (see docs/cluster.md)'
    )
  try:
    return Plan(given, None, isolation.require(is_required))
  except ValueError as error:
    raise run_directory.RunError(str(error)) from error


def _refuse(given: Mapping[str, Any], names: Iterable[str], where: str) -> None:
  for name in names:
    if name in given:
      value = given[name]
      shown = value if isinstance(value, (str, int)) else [*value]
      raise run_directory.RunError(
        f'{name} must be left out {where}, got {shown!r}'
      )


def warn(plan: Plan, ports: Sequence[int], say: Callable[[str], None]) -> None:
  """Print which ports of a run other machines can reach, if any."""
  if plan.exposure:
    say(isolation.warning(ports, plan.exposure))


def launch(
  program: lp.Program,
  resources: Mapping[str, Any],
  configuration: run_config.Configuration,
  plan: Plan,
  on_poll: Callable[[supervisor.Supervisor, Mapping[str, str]], None],
  say: Callable[[str], None],
) -> outcomes.Outcome:
  """Run a program as processes to its end; `say` prints a line.

  `on_poll` is called a few times a second, also with name -> address of each
  node's machine (empty if all run on this machine).

  Raises:
    run_directory.RunError: Ray is not there or has no place for a node, or
      this machine cannot have the learner's address.
  """
  directory = configuration.directory.path
  if plan.given['launch'] == 'local' and plan.role is None:
    return local.launch(
      program,
      resources,
      directory,
      lambda runner: on_poll(runner, {}),
      noncritical=(nodes.MONITOR,),
      on_ports=lambda ports: warn(plan, ports, say),
    )
  # Installed on demand, and 100 MB in memory.
  from programs.launching import cluster, executor_pool, ray_node

  try:
    return cluster.launch(
      program,
      resources,
      directory,
      _make_options(configuration, plan, program.groups),
      on_poll,
      noncritical=(nodes.MONITOR,),
      on_ports=lambda ports: warn(plan, ports, say),
      on_wait=lambda waiting: say(f'waiting for a machine for {waiting}'),
    )
  except ray_node.AddressError as error:
    raise _address_error(error) from error
  except (executor_pool.PlacementError, ConnectionError) as error:
    address = plan.given.get('ray_address', '')
    raise run_directory.RunError(f'ray_address={address!r}: {error}') from error


def announce_finished(
  configuration: run_config.Configuration, plan: Plan
) -> None:
  """Tell other jobs that the run has finished before.

  Raises:
    run_directory.RunError: This machine cannot have the learner's address.
  """
  from programs.launching import cluster, ray_node

  try:
    with contextlib.suppress(KeyboardInterrupt):
      cluster.announce_finished(
        _make_options(configuration, plan, ()),
        configuration.directory.path,
        'it had finished before',
      )
  except ray_node.AddressError as error:
    raise _address_error(error) from error


def _address_error(error: Exception) -> run_directory.RunError:
  return run_directory.RunError(
    'cluster must give the learner an address of this machine, and a port that '
    f'is free or that of a Ray head without a run, got {error}'
  )


def _make_options(
  configuration: run_config.Configuration,
  plan: Plan,
  groups: Collection[str],
) -> 'cluster.Options':
  from programs.launching import cluster

  given, role = plan.given, plan.role
  colocated: list[set[str]] = []
  job_groups = role.job_groups if role else []
  if role or not given.get('ray_address', ''):
    colocated = [{*groups} - {nodes.ACTOR, *job_groups}, {nodes.ACTOR}]
  return cluster.Options(
    address=role.head if role else given.get('ray_address', ''),
    requirements=parse_resources(given.get('resources', ''), groups),
    colocated=colocated,
    max_restarts_per_hour=given.get('max_restarts_per_hour', _MAX_RESTARTS),
    job_groups=job_groups,
    job_config={'configuration': configuration.to_dict()} if role else None,
  )


def parse_resources(
  text: str, groups: Collection[str] | None
) -> dict[str, tasks.Requirements]:
  """Return group -> requirements of its nodes.

  Args:
    text: Value of --resources.
    groups: Groups of the program; None before there is one.

  Raises:
    run_directory.RunError: The text is wrong.
  """
  known = groups or _GROUPS
  found = {group: tasks.Requirements() for group in known}
  if nodes.ACTOR in found:
    found[nodes.ACTOR] = tasks.Requirements(cpu=1.0, is_local=False)
  for part in filter(None, map(str.strip, text.split(';'))):
    group, colon, rest = (piece.strip() for piece in part.partition(':'))
    if not colon or group not in known:
      raise run_directory.RunError(
        "resources must be 'GROUP: NAME=VALUE ...; ...' with the groups "
        f'{", ".join(known)}, got {part!r}'
      )
    for item in rest.split():
      found[group] = _with_item(found[group], item)
  return found


def _with_item(required: tasks.Requirements, item: str) -> tasks.Requirements:
  name, _, value = item.partition('=')
  if name in ('cpu', 'gpu') and re.fullmatch(r'\d+(\.\d+)?', value):
    numbers: dict[str, Any] = {name: float(value)}
    return dataclasses.replace(required, **numbers)
  if name == 'machine' and value in ('here', 'any'):
    return dataclasses.replace(required, is_local=value == 'here')
  raise run_directory.RunError(
    'resources must give cpu or gpu a number, and machine here or any, got '
    f'{item!r}'
  )
