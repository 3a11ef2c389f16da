"""Clusters of machines in name only, on which Catch is trained."""

import abc
import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from benchmarks import networks, trial
from programs.inspection import rows
from programs.launching import ray_node

START_SECONDS = 180.0
ROOT = pathlib.Path(__file__).resolve().parents[1]
_PORT = 6379
_PYTHON = (sys.executable, '-m')
_HERE = {'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}


class Cluster(abc.ABC):
  """Training on machines, the learner on the first."""

  # What starts a node there, and what runs the program, in words.
  host: str
  launcher: str

  def __init__(
    self,
    machines: Sequence[networks.Machine],
    folder: pathlib.Path,
    train_flags: Sequence[str],
  ) -> None:
    """Starts to train.

    Args:
      machines: Three.
      folder: On the first machine's disk: logs, and the run directory.
      train_flags: Of `train`.
    """
    self.machines = machines
    self.folder = folder
    self.run = folder / 'run'
    self._train_flags = (*train_flags, '--num_actors=2', f'--logdir={self.run}')
    self._learned = rows.Rows(self.run / 'metrics/learner.csv')
    self._frames: list[tuple[float, float]] = []
    self.driver = self._start()
    self.wait_until(lambda: len(self.frames()) > 3, START_SECONDS)

  @staticmethod
  @abc.abstractmethod
  def hidden(folder: pathlib.Path) -> list[pathlib.Path]:
    """What of the first machine's disk the others do not have."""

  @abc.abstractmethod
  def _start(self) -> subprocess.Popen[bytes]:
    """Starts all there is; returns what ends with the run."""

  @abc.abstractmethod
  def replace(self, node: str) -> None:
    """Has an actor run again, whose host is gone, as a scheduler would."""

  def _train(
    self, machine: networks.Machine, *flags: str
  ) -> subprocess.Popen[bytes]:
    """Starts the command on a machine."""
    return machine.start(
      *(*_PYTHON, 'programs.train', *flags),
      log=self.folder / 'train.log',
      **_HERE,
    )

  def wait_until(self, holds: Callable[[], Any], seconds: float) -> float:
    """Waits; returns for how long.

    Raises:
      trial.TrialError: It took longer, or training ended.
    """
    return wait_while_it_runs(
      self.driver, holds, seconds, self.folder / 'train.log'
    )

  def frames(self) -> list[tuple[float, float]]:
    """(seconds since the epoch, frames) of all rows of metrics."""
    self._frames += [
      (float(row['time']), float(row['frames'])) for row in self._learned.read()
    ]
    return self._frames

  def place(self, node: str) -> networks.Machine:
    """The machine that a node runs on."""
    ip = self.meta('machines')[node]
    return next(machine for machine in self.machines if machine.ip == ip)

  def meta(self, key: str) -> Mapping[str, Any]:
    """Of the run directory's meta file."""
    return json.loads((self.run / 'meta.json').read_text()).get(key, {})

  def log(self, node: str) -> str:
    """What a node and its launcher have written."""
    path = self.run / 'logs' / f'{node.replace("/", "_")}.log'
    return path.read_text(errors='replace')

  def process(self, node: str) -> psutil.Process:
    """A node's process.

    Raises:
      trial.TrialError: It has none.
    """
    name = f'/{node.replace("/", "_")}.pkl'
    for process in self.place(node).processes():
      with contextlib.suppress(psutil.Error):
        if any(name in part for part in process.cmdline()):
          return process
    raise trial.TrialError(f'{node} has no process')

  def steps(self, node: str) -> float:
    """Agent steps that an actor's present process has told of."""
    path = self.run / 'metrics' / 'graph.jsonl'
    with open(path, 'rb') as file:
      file.seek(max(0, path.stat().st_size - 20_000))
      lines = file.read().splitlines()
    for line in reversed(lines):
      with contextlib.suppress(ValueError):
        told = json.loads(line)['nodes'].get(node, {})
        if told.get('age_seconds', 99) < 2:
          return told.get('counts', {}).get('agent_steps', 0)
        return 0
    return 0

  def wait_for_steps(self, node: str, above: float, below: float) -> float:
    """Waits until an actor's process has told of so many; for how long."""
    return self.wait_until(lambda: above < self.steps(node) < below, 120)

  def is_learning(self) -> Callable[[], bool]:
    """Whether three rows of metrics more have come than there are now."""
    before = len(self.frames())
    return lambda: len(self.frames()) >= before + 3


class RayCluster(Cluster):
  """Ray on each machine; the code is on the first alone."""

  host, launcher = 'host of an actor', 'launcher'

  @staticmethod
  def hidden(folder: pathlib.Path) -> list[pathlib.Path]:
    """See the base class."""
    code = [ROOT / name for name in ('agents', 'environments', 'programs')]
    return [*code, folder]

  def replace(self, node: str) -> None:
    """Nothing: Ray does it."""

  def _start(self) -> subprocess.Popen[bytes]:
    head, *others = self.machines
    log = self.folder / 'ray.log'
    head.start(
      *(*_PYTHON, 'programs.cluster', '--head', f'--ip={head.ip}'),
      *('--num_cpus=0', '--num_gpus=0'),
      log=log,
      **_HERE,
    )
    networks.wait_until(
      lambda: ray_node.STARTED in log.read_text(), START_SECONDS
    )
    for machine in others:  # As on machines without this project.
      machine.start(
        *(*_PYTHON, 'ray.scripts.scripts', 'start', '--block'),
        *(f'--address={head.ip}:{_PORT}', f'--node-ip-address={machine.ip}'),
        *('--num-cpus=2', '--num-gpus=0', '--object-store-memory=80000000'),
        '--disable-usage-stats',
        log=log,
        RAY_kill_child_processes_on_worker_exit='false',
      )
    count = len(self.machines)
    networks.wait_until(
      lambda: log.read_text().count(ray_node.STARTED) == count, START_SECONDS
    )
    address = f'--ray_address={head.ip}:{_PORT}'
    return self._train(head, '--launch=ray', address, *self._train_flags)


class JobCluster(Cluster):
  """A command for each role, started on the machines one by one."""

  host, launcher = "actor's job", "learner's job"

  @staticmethod
  def hidden(folder: pathlib.Path) -> list[pathlib.Path]:
    """See the base class."""
    return [folder / 'run']

  def replace(self, node: str) -> None:
    """Starts its job on another machine."""
    old = self.place(node)
    other = next(m for m in self.machines[1:] if m is not old)
    self._act(other, int(node.rpartition('/')[2]))

  def _start(self) -> subprocess.Popen[bytes]:
    head, *others = self.machines
    self._file = self.folder / 'cluster.json'
    hosts = [machine.ip for machine in others]
    self._file.write_text(
      json.dumps({'learner': [f'{head.ip}:8000'], 'actor': hosts})
    )
    for task, machine in enumerate(others):
      self._act(machine, task)
    return self._train(
      head,
      *(f'--cluster={self._file}', '--job_name=learner', '--task=0'),
      *self._train_flags,
    )

  def _act(self, machine: networks.Machine, task: int) -> None:
    self._train(
      machine, f'--cluster={self._file}', '--job_name=actor', f'--task={task}'
    )


def wait_while_it_runs(
  process: subprocess.Popen[bytes],
  holds: Callable[[], Any],
  seconds: float,
  log: pathlib.Path,
) -> float:
  """Waits; returns for how long.

  Raises:
    trial.TrialError: It took longer, or a process ended, of which the log is.
  """

  def look() -> bool:
    if process.poll() is not None:
      raise trial.TrialError(log.read_text())
    return holds()

  return networks.wait_until(look, seconds)
