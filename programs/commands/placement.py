"""Which machines a run's nodes run on: the flags of `train --launch`."""

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


@dataclasses.dataclass(frozen=True)
class Plan:
  """How a run is launched.

  Attributes:
    given: Flags of the command line, checked.
    role: What of the run is this command's; None: all.
    exposed: Why other machines can reach its ports; empty where they cannot.
  """

  given: Mapping[str, Any]
  role: roles.Role | None
  exposed: str

  @property
  def has_threads(self) -> bool:
    """Whether nodes are threads of one process."""
    return self.given.get('lp_launch_type') == 'local_mt'

  def actors_here(self, configuration: run_config.Configuration) -> int:
    """How many actors share the learner's machine for sure."""
    elsewhere = self.given.get('ray_address') or self.given.get('cluster')
    return 0 if elsewhere else configuration.run.num_actors


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags; they are absent from the result if not given."""
  group = parser.add_argument_group('launching')
  group.add_argument(
    '--launch',
    choices=('local', 'ray'),
    default='local',
    help='where nodes run: on this machine; or where Ray places them, and they '
    'are started again when they fail [default local]',
  )
  group.add_argument(
    '--lp_launch_type',
    choices=('local_mp', 'local_mt'),
    default=argparse.SUPPRESS,
    help='with --launch=local: a process for each node, or all as threads of '
    'one [default local_mp]',
  )
  group.add_argument(
    '--max_restarts_per_hour',
    type=int,
    default=argparse.SUPPRESS,
    metavar='INT',
    help='with --launch=ray or --task: of nodes that fail; one more ends the '
    f'run with status 1 [default {_MAX_RESTARTS}; else nodes are not started '
    'again]',
  )
  flags.add_isolation(group)
  roles.add_flags(parser)
  ray = parser.add_argument_group(
    'with --launch=ray (docs/cluster.md has it step by step)'
  )

  ray.add_argument(
    '--ray_address',
    default=argparse.SUPPRESS,
    metavar='HOST:PORT',
    help="the cluster's head; auto: of the cluster that this machine is in; "
    "empty: a Ray of its own on this machine [default '']",
  )
  ray.add_argument(
    '--resources',
    default=argparse.SUPPRESS,
    metavar='TEXT',
    help="what a group's nodes need, as in 'learner: gpu=1 cpu=4; actor: "
    "cpu=1'; machine=any lets one run elsewhere than where the run directory "
    "is, as actors do anyway [default '']",
  )


def make_plan(given: Mapping[str, Any]) -> Plan:
  """Checks the flags, and gives a run here a network of its own.

  Where the kernel allows one, this process begins anew; see `isolation`.

  Raises:
    RunError: One breaks its rule (it names flag, rule and value), or other
      machines can reach the run and must not.
  """
  role = roles.find(given)
  is_ray = given['launch'] == 'ray'
  if is_ray:
    _refuse(given, roles.FLAGS if role else (), 'with --launch=ray')
  else:
    _refuse(given, ('ray_address', 'resources'), 'without --launch=ray')
  if is_ray or role:
    way = '--launch=ray' if is_ray else '--task'
    where = f'with {way}, which has a way of its own'
    _refuse(given, ['lp_launch_type'], where)
  else:
    where = 'without --launch=ray or --task'
    _refuse(given, ['max_restarts_per_hour'], where)
  if role and role.job != roles.LEARNER:
    where = f'with job_name={role.job}, where the learner decides'
    _refuse(given, ['max_restarts_per_hour'], where)
  restarts = given.get('max_restarts_per_hour', 0)
  if restarts < 0:
    raise run_directory.RunError(
      f'max_restarts_per_hour must be at least 0, got {restarts}'
    )
  needs(given.get('resources', ''), None)
  is_isolated = given.get('require_isolation', False)
  if given.get('ray_address') or role:
    if is_isolated:
      where = (
        'with --task or --ray_address, where other machines are to reach it'
      )
      _refuse(given, ['require_isolation'], where)
    return Plan(
      given, role, 'keep the network to yourself: see docs/cluster.md'
    )
  try:
    return Plan(given, None, isolation.require(is_isolated))
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
  """Says which ports of a run can be reached, if any can."""
  if plan.exposed:
    say(isolation.warning(ports, plan.exposed))


def launch(
  program: lp.Program,
  resources: Mapping[str, Any],
  configuration: run_config.Configuration,
  plan: Plan,
  on_poll: Callable[[supervisor.Supervisor, Mapping[str, str]], None],
  say: Callable[[str], None],
) -> outcomes.Outcome:
  """Runs a program as processes to its end.

  A few times a second `on_poll` is called with what runs, and with the address
  of each node's machine, empty where all are this one.

  Raises:
    RunError: Ray has no place for a node, or there is no Ray; or servers
      cannot be where a cluster's file says.
  """
  directory = configuration.directory.path
  given = plan.given

  if given['launch'] == 'local' and plan.role is None:
    return local.launch(
      program,
      resources,
      directory,
      lambda runner: on_poll(runner, {}),
      noncritical=(nodes.MONITOR,),
      on_ports=lambda ports: warn(plan, ports, say),
    )
  # Installed on demand, and 100 MB in memory.
  from programs.launching import cluster, fleet

  try:
    return cluster.launch(
      program,
      resources,
      directory,
      _options(configuration, plan, program.groups),
      lambda runner, crew: on_poll(runner, crew.machines()),
      noncritical=(nodes.MONITOR,),
      on_ports=lambda ports: warn(plan, ports, say),
      on_wait=lambda who: say(f'waiting for a machine for {who}'),
    )
  except cluster.AddressError as error:
    raise _wrong_address(error) from error
  except (fleet.PlacingError, ConnectionError) as error:
    address = given.get('ray_address', '')
    raise run_directory.RunError(f'ray_address={address!r}: {error}') from error


def decline(configuration: run_config.Configuration, plan: Plan) -> None:
  """Tells other jobs that the learner's has nothing for them to do.

  Raises:
    RunError: A port is taken, or the address is another machine's.
  """
  from programs.launching import cluster

  try:
    with contextlib.suppress(KeyboardInterrupt):
      cluster.decline(
        _options(configuration, plan, ()),
        configuration.directory.path,
        'it had finished before',
      )
  except cluster.AddressError as error:
    raise _wrong_address(error) from error


def _wrong_address(error: Exception) -> run_directory.RunError:
  return run_directory.RunError(
    "cluster must give the learner an address of this machine's, and a port "
    f'that is free here or of a Ray without a run, got {error}'
  )


def _options(
  configuration: run_config.Configuration,
  plan: Plan,
  groups: Collection[str],
) -> 'cluster.Options':
  from programs.launching import cluster

  address, elsewhere, said = plan.given.get('ray_address', ''), [], None
  if plan.role is not None:
    address, elsewhere = plan.role.address, plan.role.elsewhere
    said = {'configuration': configuration.to_dict()}
  together: list[set[str]] = []
  if said is not None or not address:
    together = [{*groups} - {nodes.ACTOR, *elsewhere}, {nodes.ACTOR}]
  return cluster.Options(
    address=address,
    needs=needs(plan.given.get('resources', ''), groups),
    together=together,
    max_restarts_per_hour=plan.given.get(
      'max_restarts_per_hour', _MAX_RESTARTS
    ),
    elsewhere=elsewhere,
    said=said,
  )


def needs(
  text: str, groups: Collection[str] | None
) -> dict[str, tasks.Requirements]:
  """Group -> what its nodes need.

  Args:
    text: As in `--resources`.
    groups: Those of the program; None, before there is one.

  Raises:
    run_directory.RunError: The text is wrong.
  """
  known = tuple(groups or ()) or (
    *(nodes.MONITOR, nodes.QUEUE, nodes.LEARNER),
    *(nodes.INFERENCE, nodes.ACTOR, nodes.EVALUATOR),
  )
  found = {group: tasks.Requirements() for group in known}
  if nodes.ACTOR in found:
    found[nodes.ACTOR] = tasks.Requirements(cpu=1.0, is_local=False)
  for part in filter(None, map(str.strip, text.split(';'))):
    group, colon, rest = (piece.strip() for piece in part.partition(':'))
    if not colon or group not in known:
      raise run_directory.RunError(
        "resources must be 'GROUP: NAME=VALUE ...; ...' of the groups "
        f'{", ".join(known)}, got {part!r}'
      )
    for item in rest.split():
      found[group] = _with(found[group], item)
  return found


def _with(need: tasks.Requirements, item: str) -> tasks.Requirements:
  name, _, value = item.partition('=')
  if name in ('cpu', 'gpu') and re.fullmatch(r'\d+(\.\d+)?', value):
    found: dict[str, Any] = {name: float(value)}
    return dataclasses.replace(need, **found)
  if name == 'machine' and value in ('here', 'any'):
    return dataclasses.replace(need, is_local=value == 'here')
  raise run_directory.RunError(
    'resources must give cpu or gpu a number, and machine here or any, got '
    f'{item!r}'
  )
