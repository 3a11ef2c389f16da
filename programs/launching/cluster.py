"""Launches a Launchpad program on a Ray cluster.

Nodes that fail restart, on another machine if theirs is lost; servers restart
at their old address. Here a node is Launchpad's: Ray's nodes are machines.
"""

import contextlib
import dataclasses
import logging
import math
import os
import pathlib
import signal
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import launchpad as lp
import ray
from ray.util import scheduling_strategies

from programs.launching import (
  executor_pool,
  job_folder,
  local,
  outcomes,
  ports,
  ray_executor,
  ray_node,
  registry,
  serialization,
  supervisor,
  tasks,
  workspace,
)
from programs.launching import restarts as restarts_lib

# Time for jobs to learn how the run ended, or that it had ended before.
_END_SECONDS, _END_POLL_SECONDS = 15.0, 0.2
_FINISHED_SECONDS = 30.0
_STARTING_SECONDS = 120.0
# Variables of this process that nodes on other machines get as well.
_PASSED = ('TF_', 'XLA_', 'LP_', 'GRPC_')
# The folder that is shipped to machines, without what `.gitignore` names.
_CODE = pathlib.Path(__file__).resolve().parents[2]
_NOT_SHIPPED = ('.git', '.venv*', '/runs', '/docs', '*.pyc', '*.log')


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of a launch on Ray.

  Attributes:
    address: 'host:port' of the cluster's head; 'auto' for the cluster that this
      machine is in; '' for a Ray on this machine that ends with the launch.
    requirements: Group -> requirements of its nodes; by default, to be here.
    colocated: Groups whose nodes share one executor on this machine. Other
      nodes have one each, which takes 76 MB and, when idle, 0.8% of a core.
    max_restarts_per_hour: Limit for nodes that fail; one more ends the program.
    job_groups: Groups whose nodes jobs run (see `jobs`); no other node may have
      a handle to them.
    job_config: The run's configuration for jobs, plain data; None for a run
      without jobs. With jobs this machine is the cluster's head: Ray is started
      if it does not run at the address.
  """

  address: str
  requirements: Mapping[str, tasks.Requirements]
  colocated: Sequence[Collection[str]]
  max_restarts_per_hour: int
  job_groups: Collection[str] = ()
  job_config: Mapping[str, Any] | None = None


def launch(
  program: lp.Program,
  resources: Mapping[str, Any],
  directory: pathlib.Path,
  options: Options,
  on_poll: Callable[[supervisor.Supervisor, Mapping[str, str]], None],
  noncritical: Collection[str] = (),
  on_ports: Callable[[Sequence[int]], None] = lambda _: None,
  on_wait: Callable[[str], None] = lambda _: None,
) -> outcomes.Outcome:
  """Run a program to its end; the arguments are those of `local.launch`.

  `on_poll` also gets name -> address of each node's machine, and `on_wait` is
  called every five seconds with nodes that wait for a machine.

  Raises:
    ValueError: Jobs would run a node to which another node has a handle.
    executor_pool.PlacementError: No machine has room for a node.
    ConnectionError: There is no cluster at the address, or Ray did not start.
    ray_node.AddressError: The address is not this machine's, or is taken.
  """
  with contextlib.ExitStack() as stack:
    stack.enter_context(workspace.open_workspace(directory))
    all_tasks = serialization.make_tasks(program)
    job_tasks = [task for task in all_tasks if task.group in options.job_groups]
    own_tasks = [task for task in all_tasks if task not in job_tasks]
    if servers := [task.name for task in job_tasks if task.is_server]:
      raise ValueError(f'jobs must not run servers, got {servers}')
    stack.enter_context(_connect(options, directory, own_tasks))
    workers = None
    if options.job_config is not None:
      run = _describe_run(job_tasks, options.job_config)
      workers = stack.enter_context(_make_registry(run))
    pool = executor_pool.ExecutorPool(
      _make_placements(own_tasks, options),
      {group: _environment(resources.get(group)) for group in program.groups},
      _import_path(),
      workspace.stop_path(directory),
      job_tasks,
      workers,
    )
    stack.enter_context(pool)
    try:
      pool.place(on_wait)
    except KeyboardInterrupt:  # No node was started yet.
      return outcomes.Outcome('interrupted', signum=signal.SIGINT)
    on_ports(pool.ports())
    outcome = local.run(
      pool.nodes(),
      directory,
      lambda runner: on_poll(runner, pool.machines()),
      noncritical=noncritical,
      restarts=restarts_lib.RestartPolicy(options.max_restarts_per_hour),
    )
    if workers is not None:
      _end(workers, outcome.kind, outcome.describe().splitlines()[0])
    return outcome


def announce_finished(
  options: Options, directory: pathlib.Path, reason: str
) -> None:
  """Tell jobs that start within half a minute that the run has finished.

  Raises:
    ConnectionError, ray_node.AddressError: See `launch`.
  """
  outcome = {'kind': 'finished', 'reason': reason}
  run = job_folder.RunInfo(outcome=outcome)
  with _connect(options, directory, []), _make_registry(run):
    time.sleep(_FINISHED_SECONDS)


def _describe_run(
  job_tasks: Sequence[tasks.Task], config: Mapping[str, Any]
) -> job_folder.RunInfo:
  names = sorted(task.name for task in job_tasks)
  return job_folder.RunInfo(run_id=uuid.uuid4().hex, nodes=names, config=config)


@contextlib.contextmanager
def _make_registry(run: job_folder.RunInfo) -> Iterator[Any]:
  """Yield a registry of workers, a Ray actor on this machine."""
  try:
    workers = (
      ray.remote(registry.WorkerRegistry)
      .options(
        name=registry.NAME,
        num_cpus=0,
        max_restarts=-1,
        scheduling_strategy=scheduling_strategies.NodeAffinitySchedulingStrategy(
          ray.get_runtime_context().get_node_id(), soft=False
        ),
      )
      .remote(run)
    )
    ray.get(workers.num_workers.remote(), timeout=_STARTING_SECONDS)
  except ValueError as error:
    raise ray_node.AddressError('another run with jobs is there') from error
  except ray.exceptions.RayError as error:
    raise ConnectionError(f'Ray starts no actor here: {error}') from error
  try:
    yield workers
  except BaseException as error:
    _end(workers, 'failed', f'{type(error).__name__}: {error}')
    raise
  finally:
    ray.kill(workers)


def _end(workers: Any, kind: str, reason: str) -> None:
  """Tell all workers how the run ended, and wait until they have left."""
  with contextlib.suppress(ray.exceptions.RayError, KeyboardInterrupt):
    ray.get(workers.end.remote(kind, reason), timeout=_END_SECONDS)
    deadline = time.monotonic() + _END_SECONDS
    while ray.get(workers.num_workers.remote(), timeout=_END_SECONDS):
      if time.monotonic() > deadline:
        break
      time.sleep(_END_POLL_SECONDS)


@contextlib.contextmanager
def _connect(
  options: Options, directory: pathlib.Path, own_tasks: Sequence[tasks.Task]
) -> Iterator[None]:
  """Connect to Ray, and start it before if necessary."""
  with contextlib.ExitStack() as stack:
    address = options.address
    if not address or (
      options.job_config is not None and not ray_node.is_running(address)
    ):
      if not address:
        with ports.hold_port(0) as free:
          address = f'{ray_node.LOOPBACK}:{free.getsockname()[1]}'
      cpus = sum(each.cpu for each in _required(own_tasks, options))
      num_cpus = max(math.ceil(cpus), os.cpu_count() or 1)
      head = ray_node.head_arguments(*ports.split_address(address))
      stack.enter_context(
        ray_node.running([*head, f'--num-cpus={num_cpus}'], directory / 'logs')
      )
    ray.init(
      address=address,
      _node_ip_address=ports.own_address(address) or None,
      namespace=registry.NAMESPACE,
      # Executors return the output of nodes.
      log_to_driver=False,
      logging_level=logging.ERROR,
      runtime_env={
        'working_dir': str(_CODE),
        'excludes': list(_NOT_SHIPPED),
        # Nodes that ask for no GPU see those that their environment says.
        'env_vars': {'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'},
      },
    )
    stack.callback(ray.shutdown)
    yield


def _required(
  some: Sequence[tasks.Task], options: Options
) -> list[tasks.Requirements]:
  default = tasks.Requirements()
  return [options.requirements.get(task.group, default) for task in some]


def _make_placements(
  own_tasks: Sequence[tasks.Task], options: Options
) -> list[ray_executor.Placement]:
  """Return placements, servers first: other nodes need their addresses."""
  here = ray.get_runtime_context().get_node_id()
  packs = [
    [task for task in own_tasks if task.group in groups]
    for groups in options.colocated
  ]
  shared = {group for groups in options.colocated for group in groups}
  packs += [[task] for task in own_tasks if task.group not in shared]
  placements = []
  for pack in filter(None, packs):
    required = _required(pack, options)
    is_local = any(each.is_local for each in required)
    placements.append(
      ray_executor.Placement(
        pack,
        sum(each.cpu for each in required),
        sum(each.gpu for each in required),
        here if is_local or pack[0].group in shared else '',
      )
    )
  return sorted(placements, key=lambda each: not each.server_keys)


def _environment(own: Any) -> dict[str, str]:
  passed = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(_PASSED)
  }
  given = {name: str(value) for name, value in (own.env if own else {}).items()}
  return {'PYTHONUNBUFFERED': '1', **passed, **given}


def _import_path() -> list[str]:
  """Return the import path, relative to the shipped folder where possible."""
  found = []
  for entry in map(pathlib.Path, tasks.import_path()):
    with contextlib.suppress(ValueError):
      entry = entry.relative_to(_CODE)
    found.append(str(entry))
  return found
