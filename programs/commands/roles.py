"""One role of a run here: `train --job_name=actor --task=3`, as of old.

The learner's job runs all that is not an actor's, and keeps the run directory.
Actors' jobs learn from it what the run is, wherever they are.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import rich.console

import environments
from programs import nodes
from programs.launching import jobs, ports, ray_node
from programs.runs import flags, preparation, run_config, run_directory

LEARNER, ACTOR, EVALUATOR = 'learner', 'actor', 'evaluator'
# Flags that say which role is run here, and where the others are.
FLAGS = ('cluster', 'job_name', 'task')
ALL = '-1'  # The task of all roles on this machine.
_TASKS = r'(\d+)(?:-(\d+))?'
_PATIENCE_SECONDS = 600.0
_ANYWHERE = '192.0.2.1:9'  # Of no machine; to be routed there, not to send.


@dataclasses.dataclass(frozen=True)
class Hosts:
  """Which machines a cluster's file names.

  Attributes:
    learner: Where all others find the learner's job.
    port: There; by default, the published code's.
    actors: Of each actor; None where the file does not say.
    evaluator: Of an evaluator that is a job of its own, if any is.
  """

  learner: str = 'localhost'
  port: int = 8000
  actors: Sequence[str] | None = None
  evaluator: str | None = None


@dataclasses.dataclass(frozen=True)
class Role:
  """What is run here.

  Attributes:
    job: LEARNER, ACTOR or EVALUATOR.
    tasks: Which of its nodes.
    hosts: Which machines the run has.
  """

  job: str
  tasks: Sequence[int]
  hosts: Hosts

  @property
  def address(self) -> str:
    """'host:port' of the cluster's head, where the learner's job is.

    Raises:
      run_directory.RunError: Nobody knows the host's name.
    """
    return f'{_resolve(self.hosts.learner)}:{self.hosts.port}'

  @property
  def machine(self) -> str:
    """This one's address: the one that the file gives it, if it has that.

    Raises:
      run_directory.RunError: Nobody knows a host's name.
    """
    named = self.hosts.evaluator
    if self.job == ACTOR:
      named = dict(enumerate(self.hosts.actors or ())).get(self.tasks[0])
    if named is not None:
      address = _resolve(named)
      if ports.own_address(f'{address}:{self.hosts.port}') == address:
        return address
    return ports.own_address(self.address)

  @property
  def elsewhere(self) -> list[str]:
    """Groups of nodes that other jobs than the learner's run."""
    return [
      nodes.ACTOR,
      *([nodes.EVALUATOR] if self.hosts.evaluator else []),
    ]


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags; they are absent from the result if not given."""
  group = parser.add_argument_group(
    'one role a command (docs/cluster.md has it for ssh and Slurm)'
  )
  group.add_argument(
    '--job_name',
    choices=(LEARNER, ACTOR, EVALUATOR),
    default=argparse.SUPPRESS,
    help='with --task: which role runs here. The learner has queue, monitor '
    'and run directory, and the others learn from it what is run [default '
    f'{LEARNER}]',
  )
  group.add_argument(
    '--task',
    type=_task,
    default=argparse.SUPPRESS,
    metavar='INT',
    help='which of that role, from 0 on; 0-7: these eight actors; -1: all '
    'roles on this machine [default -1]',
  )
  group.add_argument(
    '--cluster',
    default=argparse.SUPPRESS,
    metavar='FILE',
    help='where the learner is: {"learner": ["10.0.0.1:8000"], "actor": '
    '["10.0.0.2", ...]} [default: localhost:8000]',
  )


def _task(text: str) -> str:
  match = re.fullmatch(_TASKS, text)
  if text != ALL and (match is None or not _tasks(text)):
    raise argparse.ArgumentTypeError(
      f"must be a number from 0 on, two as in '0-7', or -1, got {text!r}"
    )
  return text


def _tasks(text: str) -> range:
  if text == ALL:
    return range(0)
  match = re.fullmatch(_TASKS, text)
  assert match is not None
  return range(int(match[1]), int(match[2] or match[1]) + 1)


def find(given: Mapping[str, Any]) -> Role | None:
  """The role that is asked for; None where all run on this machine.

  Raises:
    RunError: They break their rules, or those of the cluster's file.
  """
  text = given.get('cluster', '')
  job, tasks = given.get('job_name', LEARNER), _tasks(given.get('task', ALL))
  if text and not tasks:
    raise run_directory.RunError(
      f'task must be 0 or more with cluster={text!r}, of which it says what '
      'runs here, got -1'
    )
  hosts = _read(text) if text else Hosts()
  if not tasks:
    if 'job_name' in given and 'task' not in given:
      raise run_directory.RunError(
        f'task must be given with job_name={job!r}: which of them runs here'
      )
    return None
  if job != ACTOR and list(tasks) != [0]:
    raise run_directory.RunError(
      f'task must be 0 with job_name={job}, of which there is one, got '
      f'{given["task"]}'
    )
  if job == EVALUATOR and hosts.evaluator is None:
    raise run_directory.RunError(
      'job_name must be another without an "evaluator" in the file of '
      "--cluster (the learner's job then evaluates), got 'evaluator'"
    )
  return Role(job, tasks, hosts)


def with_actors(given: Mapping[str, Any], role: Role) -> dict[str, Any]:
  """The flags, with as many actors as the cluster has.

  Raises:
    run_directory.RunError: They say another number.
  """
  if role.hosts.actors is None:
    return dict(given)
  count = len(role.hosts.actors)
  if given.get('num_actors', count) != count:
    raise run_directory.RunError(
      f'num_actors must be {count}, as many as the cluster has, got '
      f'{given["num_actors"]}'
    )
  return {**given, 'num_actors': count}


def run_job(
  role: Role, given: Mapping[str, Any], console: rich.console.Console
) -> int:
  """Runs another job than the learner's to its end; returns the exit status.

  Raises:
    run_directory.RunError: A flag says something else than the learner's.
    environments.MissingError: A simulator is not there.
  """
  names = [f'{role.job}/{task}' for task in role.tasks]
  label = names[0] if len(names) == 1 else f'{names[0]}-{role.tasks[-1]}'
  own = {name: given[name] for name in flags.OF_MACHINE if name in given}

  def say(text: str) -> None:
    console.print(f'{label}: {text}', markup=False, soft_wrap=True)

  def join(said: Mapping[str, Any]) -> dict[str, str]:
    configuration = _configuration(said, given, own)
    if role.job == EVALUATOR:
      _check_shared(configuration)
    preparation.check_playable(configuration)
    say(f'joins the run in {configuration.run.logdir} at {role.address}')
    return {run_config.OF_MACHINE: json.dumps(own)}

  before = signal.signal(
    signal.SIGTERM, lambda signum, _: sys.exit(128 + signum)
  )
  try:
    environments.Settings(**own)
    over = jobs.run(
      role.address,
      role.machine,
      names,
      join,
      lambda why: say(f"waits for the learner's job at {role.address} ({why})"),
      _PATIENCE_SECONDS,
    )
  except (jobs.JobError, PermissionError) as error:
    say(str(error))
    return 1
  except ValueError as error:
    raise run_directory.RunError(str(error)) from error
  except KeyboardInterrupt:
    say('interrupted')
    return 128 + signal.SIGINT
  finally:
    signal.signal(signal.SIGTERM, before)
  say(f'the run has ended: {over["reason"]}')
  return 0 if over['kind'] == 'finished' else 1


def _configuration(
  said: Mapping[str, Any], given: Mapping[str, Any], own: Mapping[str, Any]
) -> run_config.Configuration:
  """The learner's, which flags must repeat but for those of this machine."""
  groups = said['configuration']
  try:
    configuration = run_config.Configuration.from_dict(
      {**groups, 'environment': {**groups['environment'], **own}}
    )
  except ValueError as error:
    raise run_directory.RunError(
      f"the learner's job runs other code than this ({error})"
    ) from error
  for name, value in given.items():
    if name in own:
      continue
    if name == 'logdir' and value:
      value = str(pathlib.Path(value).expanduser().absolute())
    for group in groups.values():
      if name in group and group[name] != value:
        raise run_directory.RunError(
          f"{name} must be {group[name]!r}, which it is in the learner's job, "
          f'or be left out, got {value!r}'
        )
  return configuration


def _check_shared(configuration: run_config.Configuration) -> None:
  directory = configuration.directory
  stored = directory.read_config()['run'] if directory.is_run() else None
  if stored != configuration.to_dict()['run']:
    raise run_directory.RunError(
      "logdir must be a folder that this machine shares with the learner's, "
      f'to evaluate here, got {directory.path}'
    )


def _read(text: str) -> Hosts:
  try:
    said = json.loads(pathlib.Path(text).read_text())
  except (OSError, ValueError) as error:
    raise run_directory.RunError(
      f'cluster must be a file of JSON, got {text!r} ({error})'
    ) from error
  known = (LEARNER, ACTOR, EVALUATOR)
  if not isinstance(said, dict) or not all(
    job in known
    and isinstance(hosts, list)
    and all(isinstance(host, str) and host for host in hosts)
    for job, hosts in said.items()
  ):
    raise run_directory.RunError(
      f'cluster must hold a list of hosts for {", ".join(known)} and no other '
      f'job, got {text!r}'
    )
  for job, least, most in ((LEARNER, 1, 1), (EVALUATOR, 0, 1)):
    if not least <= len(said.get(job, ())) <= most:
      raise run_directory.RunError(
        f'cluster must give {job} one host, got {said.get(job, [])} in {text!r}'
      )
  host, _, port = said[LEARNER][0].rpartition(':')
  if not host or not port.isdecimal() or not 1024 <= int(port) <= 65_500:
    raise run_directory.RunError(
      "cluster must give learner 'HOST:PORT', with a port from 1024 to 65500, "
      f'got {said[LEARNER][0]!r} in {text!r}'
    )
  (evaluator,) = said.get(EVALUATOR, [None])
  return Hosts(host, int(port), said.get(ACTOR), evaluator)


def _resolve(host: str) -> str:
  """The address of a machine, as other machines reach it."""
  name = host.partition(':')[0]
  try:
    address = socket.gethostbyname(name)
  except OSError as error:
    raise run_directory.RunError(
      f'cluster must name machines that are known here, got {host!r} ({error})'
    ) from error
  if name in ('localhost', '127.0.0.1'):
    return ray_node.LOOPBACK
  if address.startswith('127.') and address != name:
    # A machine's own name, to itself.
    return ports.own_address(_ANYWHERE) or address
  return address
