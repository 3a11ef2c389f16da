"""One role of a run here: `train --job_name=actor --task=3`, as of old.

The learner's job runs all that is not an actor's, and keeps the run directory.
Actors' jobs learn from it what the run is, wherever they are.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import launchpad as lp
import rich.console
from absl import flags as absl_flags

import environments
from programs import flags, impala, nodes, preparation, provenance, runs
from programs.launching import control, jobs, outcomes, supervisor

LEARNER, ACTOR, EVALUATOR = 'learner', 'actor', 'evaluator'
SLURM = 'slurm'
# Flags that say which role is run here, and where the others are.
FLAGS = ('cluster', 'job_name', 'task')
ALL = '-1'  # The task of all roles on this machine.
_TASKS = r'(\d+)(?:-(\d+))?'
# The published code's, where there is no other.
_DEFAULT_ADDRESS = ('localhost', 8000)
_PATIENCE_SECONDS = 600.0
_WAIT_NOTE_SECONDS = 10.0
# Jobs of one Slurm machine must not share ports: each gets its own few.
_SLURM_FIRST_PORT, _SLURM_JOBS, _SLURM_PORTS = 20_000, 1_500, 8


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Who runs where.

  Attributes:
    learner: Host and port where all others find the learner's job.
    num_actors: How many actors there are to be; None where it does not say.
    has_evaluator: Whether the evaluator is a job of its own.
  """

  learner: tuple[str, int] = _DEFAULT_ADDRESS
  num_actors: int | None = None
  has_evaluator: bool = False


@dataclasses.dataclass(frozen=True)
class Role:
  """What is run here.

  Attributes:
    job: LEARNER, ACTOR or EVALUATOR.
    tasks: Which of its nodes.
    cluster: Where the others are.
  """

  job: str
  tasks: Sequence[int]
  cluster: Cluster


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
    '["10.0.0.2", ...]}; slurm: as srun says, with the role of this process '
    '[default: localhost:8000]',
  )


def _task(text: str) -> str:
  """Looks at `--task` when the command line is parsed."""
  match = re.fullmatch(_TASKS, text)
  if text != ALL and (match is None or not _tasks(text)):
    raise argparse.ArgumentTypeError(
      f"must be a number from 0 on, two as in '0-7', or -1, got {text!r}"
    )
  return text


def _tasks(text: str) -> range:
  """'3' or '0-7' as a range; none for ALL."""
  if text == ALL:
    return range(0)
  match = re.fullmatch(_TASKS, text)
  assert match is not None
  return range(int(match[1]), int(match[2] or match[1]) + 1)


def find(given: Mapping[str, Any]) -> Role | None:
  """The role that is asked for; None where all run on this machine.

  Args:
    given: Flags of the command line.

  Raises:
    runs.RunError: They break their rules, or those of the cluster's file.
  """
  text = given.get('cluster', '')
  job, tasks = given.get('job_name', LEARNER), _tasks(given.get('task', ALL))
  cluster = Cluster()
  if text == SLURM:
    for name in ('job_name', 'task'):
      if name in given:
        raise runs.RunError(
          f'{name} must be left out with cluster={text!r}, where srun says it, '
          f'got {given[name]!r}'
        )
    cluster, place = _slurm(os.environ)
    job, tasks = ACTOR, range(place - 1, place)
    if not place:
      job, tasks = LEARNER, range(1)
  elif text and not tasks:
    raise runs.RunError(
      f'task must be 0 or more with cluster={text!r}, of which it says what '
      'runs here, got -1'
    )
  elif text:
    cluster = _read(text)
  if not tasks:
    if 'job_name' in given and 'task' not in given:
      raise runs.RunError(
        f'task must be given with job_name={job!r}: which of them runs here'
      )
    return None
  if job != ACTOR and list(tasks) != [0]:
    raise runs.RunError(
      f'task must be 0 with job_name={job}, of which there is one, got '
      f'{given["task"]}'
    )
  if job == EVALUATOR and not cluster.has_evaluator:
    raise runs.RunError(
      'job_name must be another without an "evaluator" in the file of '
      "--cluster (the learner's job then evaluates), got 'evaluator'"
    )
  return Role(job, tasks, cluster)


def with_actors(given: Mapping[str, Any], role: Role) -> dict[str, Any]:
  """The flags, with as many actors as the cluster has.

  Raises:
    runs.RunError: They say another number.
  """
  count = role.cluster.num_actors
  if count is None:
    return dict(given)
  if given.get('num_actors', count) != count:
    raise runs.RunError(
      f'num_actors must be {count}, as many as the cluster has, got '
      f'{given["num_actors"]}'
    )
  return {**given, 'num_actors': count}


def lead(
  role: Role,
  program: lp.Program,
  resources: Mapping[str, Any],
  configuration: runs.Configuration,
  max_restarts_per_hour: int,
  on_poll: Callable[[supervisor.Supervisor, Mapping[str, str]], None],
  on_ports: Callable[[Sequence[int]], None],
) -> outcomes.Outcome:
  """Runs the learner's job to the end of the run.

  Args:
    role: What is run here.
    program: Of the run.
    resources: Of its groups.
    configuration: Of the run.
    max_restarts_per_hour: Of nodes that fail here.
    on_poll: Called a few times a second with what runs here, and with the
      address of each node's machine.
    on_ports: Called with the ports at which this job serves.

  Raises:
    runs.RunError: A port is taken, or the address is another machine's.
  """
  elsewhere = {nodes.ACTOR}
  if role.cluster.has_evaluator:
    elsewhere.add(nodes.EVALUATOR)
  host = role.cluster.learner[0]
  here = {
    f'{group}/{index}': host
    for group, members in program.groups.items()
    if group not in elsewhere
    for index in range(len(members))
  }
  try:
    return jobs.lead(
      program,
      resources,
      configuration.directory.path,
      elsewhere,
      role.cluster.learner,
      {
        'configuration': configuration.to_dict(),
        'revision': provenance.git_revision(),
      },
      max_restarts_per_hour,
      lambda runner, there: on_poll(runner, {**here, **there}),
      expendable=(nodes.MONITOR,),
      on_ports=on_ports,
    )
  except jobs.AddressError as error:
    raise runs.RunError(
      "cluster must give the learner an address of this machine's, and a port "
      f'that is free here, as the few after it are, got {error}'
    ) from error


def follow(
  role: Role,
  given: Mapping[str, Any],
  max_restarts_per_hour: int,
  console: rich.console.Console,
) -> int:
  """Runs another job than the learner's to its end; returns the exit status.

  Args:
    role: What is run here.
    given: Flags of the command line; those of the learner's count.
    max_restarts_per_hour: Of nodes that fail here.
    console: Told how it goes.

  Raises:
    runs.RunError: A flag says something else than the learner's.
    environments.MissingError: A simulator is not there.
  """
  names = [f'{role.job}/{task}' for task in role.tasks]
  label = names[0] if len(names) == 1 else f'{names[0]}-{role.tasks[-1]}'
  where = '{}:{}'.format(*role.cluster.learner)
  noted = 0.0

  def wait(seconds: float, why: str) -> None:
    nonlocal noted
    if seconds >= noted:
      noted = seconds + _WAIT_NOTE_SECONDS
      say(f"waits for the learner's job at {where} ({why})")

  def say(text: str) -> None:
    console.print(f'{label}: {text}', markup=False, soft_wrap=True)

  link = None
  own = _own(given)
  before = signal.signal(signal.SIGTERM, _exit)
  try:
    link, told = jobs.join(role.cluster.learner, names, _PATIENCE_SECONDS, wait)
    configuration = _configuration(told, given, own)
    if role.job == EVALUATOR:
      _check_shared(configuration)
    _check_playable(configuration)
    if told['revision'] != provenance.git_revision():
      say(f'the code here is not that of the learner, {told["revision"]}')
    say(f'joins the run in {configuration.run.logdir} at {where}')
    program = impala.make_program(configuration)
    absl_flags.FLAGS([sys.argv[0]])  # Launchpad reads its defaults there.
    outcome = jobs.follow(
      program,
      impala.make_resources(configuration, len(names)),
      link,
      pathlib.Path(tempfile.mkdtemp(prefix='impala-')),
      max_restarts_per_hour,
    )
  except control.OverError as over:
    say(str(over))
    return 0 if over.kind == 'finished' else 1
  except control.ControlError as error:
    say(str(error))
    return 1
  except KeyboardInterrupt:
    say('interrupted')
    return 128 + signal.SIGINT
  finally:
    signal.signal(signal.SIGTERM, before)
    if link is not None:
      link.leave('it was ended before its nodes were started')
  say(outcome.describe())
  return outcome.exit_status


def _exit(signum: int, _: Any) -> None:
  """Ends this job on a signal; the link is then left as on any other way."""
  sys.exit(128 + signum)


def decline(role: Role, kind: str, reason: str) -> None:
  """Tells the others that the learner's job has nothing for them to do.

  Args:
    role: Of the learner.
    kind: 'finished' or 'failed'.
    reason: In words.
  """
  with contextlib.suppress(jobs.AddressError, KeyboardInterrupt):
    jobs.decline(role.cluster.learner, kind, reason)


def _own(given: Mapping[str, Any]) -> dict[str, Any]:
  """Of the flags, those that are this machine's.

  Raises:
    runs.RunError: One breaks its rule.
  """
  own = {name: given[name] for name in flags.OF_MACHINE if name in given}
  try:
    environments.Settings(**own)
  except ValueError as error:
    raise runs.RunError(str(error)) from error
  return own


def _check_playable(configuration: runs.Configuration) -> None:
  """Looks whether the levels can be played here.

  Raises:
    runs.RunError: They cannot.
    environments.MissingError: A simulator is not there.
  """
  try:
    preparation.check_playable(configuration)
  except ValueError as error:
    raise runs.RunError(str(error)) from error


def _configuration(
  told: Mapping[str, Any], given: Mapping[str, Any], own: Mapping[str, Any]
) -> runs.Configuration:
  """The learner's; what is given here must be the same, or is this machine's.

  Args:
    told: By the learner's job.
    given: Flags of the command line.
    own: Those of them that are this machine's.

  Raises:
    runs.RunError: One is neither.
  """
  groups = told['configuration']
  try:
    configuration = runs.Configuration.from_dict(
      {**groups, 'environment': {**groups['environment'], **own}}
    )
  except (TypeError, ValueError) as error:
    raise runs.RunError(
      f"the learner's job runs other code than this, {told['revision']}: "
      f'{error}'
    ) from error
  for name, value in given.items():
    if name in own:
      continue
    if name == 'logdir' and value:
      value = str(pathlib.Path(value).expanduser().absolute())
    for group in groups.values():
      if name in group and group[name] != value:
        raise runs.RunError(
          f"{name} must be {group[name]!r}, which it is in the learner's job, "
          f'or be left out, got {value!r}'
        )
  return configuration


def _check_shared(configuration: runs.Configuration) -> None:
  """Looks whether the learner's run directory is one here as well.

  Raises:
    runs.RunError: It is not.
  """
  directory = configuration.directory
  stored = directory.read_config()['run'] if directory.is_run() else None
  if stored != configuration.to_dict()['run']:
    raise runs.RunError(
      "logdir must be a folder that this machine shares with the learner's, "
      f'to evaluate here, got {directory.path}'
    )


def _read(text: str) -> Cluster:
  """Reads a cluster's file.

  Raises:
    runs.RunError: It is not there, or not as it must be.
  """
  try:
    said = json.loads(pathlib.Path(text).read_text())
  except (OSError, ValueError) as error:
    raise runs.RunError(
      f'cluster must be a file of JSON, got {text!r} ({error})'
    ) from error
  known = (LEARNER, ACTOR, EVALUATOR)
  if not isinstance(said, dict) or not all(
    job in known
    and isinstance(hosts, list)
    and all(isinstance(host, str) and host for host in hosts)
    for job, hosts in said.items()
  ):
    raise runs.RunError(
      f'cluster must hold a list of hosts for {", ".join(known)} and no other '
      f'job, got {text!r}'
    )
  for job, least, most in ((LEARNER, 1, 1), (EVALUATOR, 0, 1)):
    if not least <= len(said.get(job, ())) <= most:
      raise runs.RunError(
        f'cluster must give {job} one host, got {said.get(job, [])} in {text!r}'
      )
  host, _, port = said[LEARNER][0].rpartition(':')
  if not host or not port.isdecimal() or not 1024 <= int(port) <= 65_500:
    raise runs.RunError(
      "cluster must give learner 'HOST:PORT', with a port from 1024 to 65500, "
      f'got {said[LEARNER][0]!r} in {text!r}'
    )
  return Cluster(
    (host.strip('[]'), int(port)),
    len(said[ACTOR]) if ACTOR in said else None,
    bool(said.get(EVALUATOR)),
  )


def _slurm(environment: Mapping[str, str]) -> tuple[Cluster, int]:
  """The cluster of a Slurm step, and this process's place in it.

  Args:
    environment: As srun sets it for each of its processes.

  Raises:
    runs.RunError: It does not.
  """
  try:
    place = int(environment['SLURM_PROCID'])
    count = int(environment['SLURM_NTASKS'])
    job = int(environment['SLURM_JOB_ID'])
    hosts = environment['SLURM_STEP_NODELIST']
  except (KeyError, ValueError) as error:
    raise runs.RunError(
      'cluster must be a file where srun has not started this, got '
      f"'{SLURM}' without {error}"
    ) from error
  if count < 2:
    raise runs.RunError(
      'cluster must have two tasks at least, a learner and an actor, got '
      f"'{SLURM}' with SLURM_NTASKS={count}"
    )
  port = _SLURM_FIRST_PORT + job % _SLURM_JOBS * _SLURM_PORTS
  return Cluster((_first_host(hosts), port), count - 1), place


def _first_host(hosts: str) -> str:
  """Of Slurm's list: 'n[07-09,12],x' -> 'n07'."""
  match = re.match(r'([^\[,]+)(?:\[(\w+)[^\]]*\]([^,]*))?', hosts)
  assert match is not None
  return ''.join(filter(None, match.groups()))
