"""Runs one role of a run: `train --job_name=actor --task=3`.

The learner's job runs all nodes but actors and keeps the run directory. Actors'
jobs get the configuration from it, on whatever machine they are.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import rich.console

import environments
from programs import nodes
from programs.commands import cluster_spec
from programs.launching import jobs, ports
from programs.runs import flags, preparation, run_config, run_directory

LEARNER, ACTOR, EVALUATOR = cluster_spec.JOBS
# Flags that say which role is run here, and where the others are.
FLAGS = ('cluster', 'job_name', 'task')
ALL = '-1'  # The task that stands for all roles.
_TIMEOUT_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Role:
  """Part of a run that this command runs: some nodes of a job."""

  job: str
  tasks: Sequence[int]
  spec: cluster_spec.ClusterSpec

  @property
  def head(self) -> str:
    """'host:port' of the cluster's head.

    Raises:
      run_directory.RunError: The name of its host is unknown.
    """
    return f'{cluster_spec.resolve(self.spec.learner)}:{self.spec.port}'

  @property
  def address(self) -> str:
    """Address of this machine: the one in the spec, if this machine has it.

    Raises:
      run_directory.RunError: The name of a host is unknown.
    """
    named = self.spec.evaluator
    if self.job == ACTOR:
      named = dict(enumerate(self.spec.actors or ())).get(self.tasks[0])
    if named is not None:
      address = cluster_spec.resolve(named)
      if ports.own_address(f'{address}:{self.spec.port}') == address:
        return address
    return ports.own_address(self.head)

  @property
  def job_groups(self) -> list[str]:
    """Groups of nodes that other jobs than the learner's run."""
    evaluators = [nodes.EVALUATOR] if self.spec.evaluator else []
    return [nodes.ACTOR, *evaluators]


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Add the flags; they are absent from the result if not given."""
  group = parser.add_argument_group(
    'one role per command (with ssh or Slurm; see docs/cluster.md)'
  )
  group.add_argument(
    '--job_name',
    choices=(LEARNER, ACTOR, EVALUATOR),
    default=argparse.SUPPRESS,
    help='with --task: role that this command runs. The learner also runs '
    'queue and monitor and writes the run directory; the other jobs get the '
    f'configuration from it [default {LEARNER}]',
  )
  group.add_argument(
    '--task',
    type=_task,
    default=argparse.SUPPRESS,
    metavar='INT',
    help='index of the node, from 0; 0-7 for eight actors; -1 for all roles on '
    'this machine [default -1]',
  )
  group.add_argument(
    '--cluster',
    default=argparse.SUPPRESS,
    metavar='FILE',
    help='JSON file with the addresses of the jobs: {"learner": '
    '["10.0.0.1:8000"], "actor": ["10.0.0.2", ...]} [default: learner at '
    'localhost:8000]',
  )


def _task(text: str) -> str:
  if text != ALL and not _indices(text):
    raise argparse.ArgumentTypeError(
      f"must be a number from 0, a range such as '0-7', or -1, got {text!r}"
    )
  return text


def _indices(task: str) -> range:
  match = re.fullmatch(r'(\d+)(?:-(\d+))?', task)
  if match is None:
    return range(0)
  return range(int(match[1]), int(match[2] or match[1]) + 1)


def find_role(given: Mapping[str, Any]) -> Role | None:
  """Return the role that flags ask for; None for all on this machine.

  Raises:
    run_directory.RunError: A flag, or the file of --cluster, breaks a rule.
  """
  path = given.get('cluster', '')
  job, tasks = given.get('job_name', LEARNER), _indices(given.get('task', ALL))
  if path and not tasks:
    raise run_directory.RunError(
      f'task must be 0 or more with cluster={path!r}, got -1'
    )
  spec = cluster_spec.read(path) if path else cluster_spec.ClusterSpec()
  if not tasks:
    if 'job_name' in given and 'task' not in given:
      raise run_directory.RunError(
        f'task must be given with job_name={job!r}, got none'
      )
    return None
  if job != ACTOR and list(tasks) != [0]:
    raise run_directory.RunError(
      f'task must be 0 with job_name={job}, got {given["task"]}'
    )
  if job == EVALUATOR and spec.evaluator is None:
    raise run_directory.RunError(
      'job_name must not be evaluator unless the file of --cluster has an '
      "'evaluator' (otherwise the learner's job evaluates), got 'evaluator'"
    )
  return Role(job, tasks, spec)


def with_num_actors(given: Mapping[str, Any], role: Role) -> dict[str, Any]:
  """Return the flags with the number of actors of the cluster.

  Raises:
    run_directory.RunError: They have another number.
  """
  if role.spec.actors is None:
    return dict(given)
  count = len(role.spec.actors)
  if given.get('num_actors', count) != count:
    raise run_directory.RunError(
      f'num_actors must be {count}, the number of actors in the file of '
      f'--cluster, got {given["num_actors"]}'
    )
  return {**given, 'num_actors': count}


def run_job(
  role: Role, given: Mapping[str, Any], console: rich.console.Console
) -> int:
  """Run a job other than the learner's to its end; return the exit status.

  Raises:
    run_directory.RunError: A flag differs from the learner's.
    environments.MissingError: A simulator is not installed.
  """
  names = [f'{role.job}/{task}' for task in role.tasks]
  label = names[0] if len(names) == 1 else f'{names[0]}-{role.tasks[-1]}'
  own = {name: given[name] for name in flags.OF_MACHINE if name in given}

  def show(text: str) -> None:
    console.print(f'{label}: {text}', markup=False, soft_wrap=True)

  def join(job_config: Mapping[str, Any]) -> dict[str, str]:
    configuration = _make_configuration(job_config, given, own)
    if role.job == EVALUATOR:
      _check_shared(configuration)
    preparation.check_playable(configuration)
    show(f'joins the run in {configuration.run.logdir} at {role.head}')
    return {run_config.OF_MACHINE: json.dumps(own)}

  before = signal.signal(
    signal.SIGTERM, lambda signum, _: sys.exit(128 + signum)
  )
  try:
    environments.Settings(**own)
    outcome = jobs.run(
      role.head,
      role.address,
      names,
      join,
      lambda reason: show(
        f"waits for the learner's job at {role.head} ({reason})"
      ),
      _TIMEOUT_SECONDS,
    )
  except (jobs.JobError, PermissionError) as error:
    show(str(error))
    return 1
  except ValueError as error:
    raise run_directory.RunError(str(error)) from error
  except KeyboardInterrupt:
    show('interrupted')
    return 128 + signal.SIGINT
  finally:
    signal.signal(signal.SIGTERM, before)
  show(f'the run has ended: {outcome["reason"]}')
  return 0 if outcome['kind'] == 'finished' else 1


def _make_configuration(
  job_config: Mapping[str, Any],
  given: Mapping[str, Any],
  own: Mapping[str, Any],
) -> run_config.Configuration:
  """Return the learner's configuration with this machine's own flags."""
  groups = job_config['configuration']
  try:
    configuration = run_config.Configuration.from_dict(
      {**groups, 'environment': {**groups['environment'], **own}}
    )
  except ValueError as error:
    raise run_directory.RunError(
      f"this checkout must be the revision of the learner's ({error})"
    ) from error
  for name, value in given.items():
    if name in own:
      continue
    if name == 'logdir' and value:
      value = str(pathlib.Path(value).expanduser().absolute())
    for group in groups.values():
      if name in group and group[name] != value:
        raise run_directory.RunError(
          f"{name} must be {group[name]!r} as in the learner's job, or be left "
          f'out, got {value!r}'
        )
  return configuration


def _check_shared(configuration: run_config.Configuration) -> None:
  directory = configuration.directory
  stored = directory.read_config()['run'] if directory.is_run() else None
  if stored != configuration.to_dict()['run']:
    raise run_directory.RunError(
      "logdir must be a folder shared with the learner's machine, got "
      f'{directory.path}'
    )
