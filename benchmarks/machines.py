"""What happens on several machines when something breaks? Needs root."""

import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
import rich.table

from benchmarks import commands, trial
from programs.inspection import rows
from programs.launching import ray_node

NAME = 'machines'

_DESCRIPTION = """\
Makes three machines of this one: network namespaces on a bridge, each with its
own address, process ids, /tmp and /dev/shm. The code is on the first alone. The
learner runs there, actors on the two others, and training of Catch on Ray goes
on while processes, hosts, links and machines are killed. Then, on three new
machines, Catch is learned to its end with an actor's machine killed on the way.
Prints a table and, as the last line, one JSON object. Needs root, and the
commands ip, unshare and nsenter.

  sudo ./impala benchmark machines"""

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_NETWORK = '10.77.0'
_PORT = 6379
_NUM = 3
# What a machine's first process does: it is its init, and reaps.
_INIT = """
mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm || exit 1
for folder in "$@"; do mount -t tmpfs tmpfs "$folder" || exit 1; done
hostname "$NAME" && ip link set lo up || exit 1
sleep infinity & wait
"""
_START_SECONDS = 180.0


class Machine:
  """Namespaces that stand for a machine."""

  def __init__(self, number: int, hidden: Sequence[pathlib.Path]) -> None:
    """Boots it.

    Args:
      number: From 1.
      hidden: Folders of this machine that it does not have.
    """
    self.ip = f'{_NETWORK}.{number}'
    self.name = f'impala{number}'
    self.link = f'impala-v{number}'
    _call('ip', 'netns', 'add', self.name)
    _call(
      *('ip', 'link', 'add', self.link, 'type', 'veth', 'peer', 'name'),
      *('eth0', 'netns', self.name),
    )
    _call('ip', 'link', 'set', self.link, 'master', 'impala-bridge', 'up')
    inside = ('ip', 'netns', 'exec', self.name)
    _call(*inside, 'ip', 'addr', 'add', f'{self.ip}/24', 'dev', 'eth0')
    _call(*inside, 'ip', 'link', 'set', 'eth0', 'up')
    self._started: list[subprocess.Popen[bytes]] = []
    self._outer = self._popen(
      *(*inside, 'unshare', '--pid', '--mount', '--uts', '--ipc', '--fork'),
      *('--kill-child', '--mount-proc', 'bash', '-c', _INIT, 'init'),
      *map(str, hidden),
      env={**os.environ, 'NAME': self.name},
    )
    self._init: psutil.Process | None = None
    deadline = time.monotonic() + 20
    while self._init is None and time.monotonic() < deadline:
      time.sleep(0.1)
      for process in psutil.Process(self._outer.pid).children(True):
        if process.name() == 'sleep':
          self._init = process.parent()
    if self._init is None:
      raise trial.TrialError(f'{self.name} did not boot')

  def start(
    self, *command: str, log: pathlib.Path, **variables: str
  ) -> subprocess.Popen[bytes]:
    """Starts a command on it."""
    assert self._init is not None
    with open(log, 'ab') as file:
      return self._popen(
        *('nsenter', '-t', str(self._init.pid), '-n', '-p', '-m', '-u', '-i'),
        *('--', *command),
        env={**os.environ, **variables},
        cwd='/',
        stdout=file,
        stderr=subprocess.STDOUT,
      )

  def processes(self) -> list[psutil.Process]:
    """All that run on it, but for its init and that one's sleep."""
    if self._init is None or not self._init.is_running():
      return []
    space = os.stat(f'/proc/{self._init.pid}/ns/pid').st_ino
    found = []
    for process in psutil.process_iter():
      with contextlib.suppress(psutil.Error, OSError):
        if (
          os.stat(f'/proc/{process.pid}/ns/pid').st_ino == space
          and process.name() not in ('sleep', 'nsenter')
          and process != self._init
          and process.status() != psutil.STATUS_ZOMBIE
        ):
          found.append(process)
    return found

  def unplug(self, is_up: bool = False) -> None:
    """Takes its network cable out, or puts it in again."""
    _call('ip', 'link', 'set', self.link, 'up' if is_up else 'down')

  def kill(self) -> None:
    """Cuts its power: with its init, the kernel kills all that it has."""
    if self._init is not None:
      with contextlib.suppress(psutil.Error):
        self._init.kill()

  def close(self) -> None:
    """Removes it."""
    self.kill()
    for process in self._started:
      with contextlib.suppress(ProcessLookupError):
        process.kill()
      process.wait()
    _call('ip', 'link', 'del', self.link)
    _call('ip', 'netns', 'del', self.name)

  def _popen(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
      command, stdin=subprocess.DEVNULL, start_new_session=True, **options
    )
    self._started.append(process)
    return process


class Cluster:
  """Three machines, Ray on each, and training on them."""

  def __init__(self, folder: pathlib.Path, train_flags: Sequence[str]) -> None:
    """Boots the machines and starts to train.

    Args:
      folder: On the first machine's disk: logs, and the run directory.
      train_flags: Of `train`.
    """
    self.folder = folder
    self.run = folder / 'run'
    self.machines: list[Machine] = []
    self._train_flags = train_flags
    self._learned = rows.Rows(self.run / 'metrics/learner.csv')
    self._frames: list[tuple[float, float]] = []

  def __enter__(self) -> 'Cluster':
    _call('ip', 'link', 'add', 'impala-bridge', 'type', 'bridge')
    try:
      _call('ip', 'link', 'set', 'impala-bridge', 'up')
      code = [_ROOT / name for name in ('agents', 'environments', 'programs')]
      for number in range(1, _NUM + 1):
        hidden = [] if number == 1 else [*code, self.folder]
        self.machines.append(Machine(number, hidden))
      self._start()
    except BaseException:
      self.close()
      raise
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  def close(self) -> None:
    """Removes all machines."""
    for machine in self.machines:
      machine.close()
    _call('ip', 'link', 'del', 'impala-bridge')

  def _start(self) -> None:
    head, *others = self.machines
    log = self.folder / 'ray.log'
    here = {'PYTHONPATH': str(_ROOT), 'PYTHONUNBUFFERED': '1'}
    python = (sys.executable, '-m')
    head.start(
      *(*python, 'programs.cluster', '--head', f'--ip={head.ip}'),
      *('--num_cpus=0', '--num_gpus=0'),
      log=log,
      **here,
    )
    _wait_until(lambda: ray_node.STARTED in log.read_text(), _START_SECONDS)
    for machine in others:  # As on machines without this project.
      machine.start(
        *(*python, 'ray.scripts.scripts', 'start', '--block'),
        *(f'--address={head.ip}:{_PORT}', f'--node-ip-address={machine.ip}'),
        *('--num-cpus=2', '--num-gpus=0', '--object-store-memory=80000000'),
        '--disable-usage-stats',
        log=log,
        RAY_kill_child_processes_on_worker_exit='false',
      )
    _wait_until(
      lambda: log.read_text().count(ray_node.STARTED) == _NUM, _START_SECONDS
    )
    self.driver = head.start(
      *(*python, 'programs.train', '--launch=ray', f'--logdir={self.run}'),
      *(f'--ray_address={head.ip}:{_PORT}', '--num_actors=2'),
      *self._train_flags,
      log=self.folder / 'train.log',
      **here,
    )
    self.wait_until(lambda: len(self.frames()) > 3, _START_SECONDS)

  def wait_until(self, holds: Callable[[], Any], seconds: float) -> float:
    """Waits; returns for how long.

    Raises:
      trial.TrialError: It took longer, or training ended.
    """

    def look() -> bool:
      if self.driver.poll() is not None:
        raise trial.TrialError((self.folder / 'train.log').read_text())
      return holds()

    return _wait_until(look, seconds)

  def frames(self) -> list[tuple[float, float]]:
    """(seconds since the epoch, frames) of all rows of metrics."""
    self._frames += [
      (float(row['time']), float(row['frames'])) for row in self._learned.read()
    ]
    return self._frames

  def place(self, node: str) -> Machine:
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


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = commands.make_parser(NAME, _DESCRIPTION, takes_train_flags=False)
  given = parser.parse_args(arguments)
  if pathlib.Path('/tmp') in _ROOT.parents:
    parser.error(
      'the checkout must not be below /tmp, of which each has its own'
    )
  lacking = [c for c in ('ip', 'unshare', 'nsenter') if not shutil.which(c)]
  if os.geteuid() or lacking:
    parser.error(
      'it must be run by root, who has the commands ip, unshare and nsenter; '
      f'got user {os.geteuid()}, without {lacking or "none"}'
    )
  with commands.failing(NAME):
    result = {
      'benchmark': NAME,
      **commands.machine(),
      'figures': {**_break(), **_learn()},
    }
  commands.finish(result, [_table(result)], given.output)
  return 0


@contextlib.contextmanager
def _training(*train_flags: str) -> Iterator[Cluster]:
  # Below /tmp, machines have folders of their own.
  with (
    tempfile.TemporaryDirectory(dir='/var/tmp', prefix='machines') as folder,
    Cluster(pathlib.Path(folder), train_flags) as cluster,
  ):
    yield cluster


def _break() -> dict[str, Any]:
  """Breaks one thing after the other; figures by what was broken."""
  figures: dict[str, Any] = {}

  def tell(name: str, value: Any) -> None:
    figures[name] = round(value, 2) if isinstance(value, float) else value
    trial.tell(f'{name}: {figures[name]}')

  with _training(
    '--total_environment_frames=1_000_000_000',
    '--evaluation_period_frames=0',
    '--checkpoint_period_seconds=10',
  ) as cluster:
    trial.tell(f'machines: {cluster.meta("machines")}')
    for node, name in (('actor/0', 'actor'), ('actor/1', 'host of an actor')):
      cluster.wait_for_steps(node, 10_000, math.inf)
      process = cluster.process(node)
      where = cluster.place(node)
      (process if name == 'actor' else process.parent()).kill()
      # Its successor counts from 0.
      seconds = cluster.wait_for_steps(node, 0, 10_000)
      tell(f'{name} killed: seconds until its successor acts', seconds)
      same = cluster.place(node) is where
      tell(f'{name} killed: on the same machine', same)
    for node in ('learner/0', 'queue/0'):
      time.sleep(12)  # A checkpoint period.
      role = node.partition('/')[0]
      cluster.process(node).kill()
      before = cluster.frames()[-1]
      seconds = cluster.wait_until(cluster.is_learning(), 180)
      tell(f'{role} killed: seconds until it is learned again', seconds)
      if role == 'learner':
        resumed = re.findall(r'Resumed at frame (\d+)', cluster.log(node))
        lost = before[1] - int(resumed[-1])
        tell(f'{role} killed: frames lost since the checkpoint', lost)
        rate = before[1] / (before[0] - cluster.frames()[0][0])
        tell(f'{role} killed: that is seconds of learning', lost / rate)
    first = cluster.place('actor/0')
    process = cluster.process('actor/0')
    lost = cluster.log('actor/0').count('lost with')
    first.unplug()
    time.sleep(6)
    first.unplug(is_up=True)
    steps = cluster.steps('actor/0')
    seconds = cluster.wait_until(lambda: cluster.steps('actor/0') > steps, 60)
    tell('link down for 6 s: seconds until it acts again', seconds)
    time.sleep(20)
    is_same = cluster.log('actor/0').count('lost with') == lost
    tell('link down for 6 s: nothing lost', process.is_running() and is_same)
    orphans = [process, process.parent()]
    second = cluster.place('actor/0')
    lost = cluster.log('actor/0').count('lost with')
    second.unplug()
    seconds = cluster.wait_until(
      lambda: cluster.log('actor/0').count('lost with') > lost, 60
    )
    tell('link down for good: seconds until that is decided', seconds)
    gone = seconds + _wait_until(
      lambda: not any(map(psutil.Process.is_running, orphans)), 60
    )
    tell('link down for good: seconds until the orphans are gone', gone)
    seconds = cluster.wait_until(cluster.is_learning(), 180)
    tell('link down for good: it is learned', True)
    cluster.wait_until(lambda: cluster.steps('actor/0') > 0, 120)
    tell('link down for good: its actor has moved', True)
    driver = next(
      process
      for process in cluster.machines[0].processes()
      if 'programs.train' in process.cmdline()
    )
    nodes = [
      process
      for machine in cluster.machines
      for process in machine.processes()
      if any('process_entry' in part for part in process.cmdline())
    ]
    driver.kill()
    seconds = _wait_until(
      lambda: not any(map(psutil.Process.is_running, nodes)), 60
    )
    tell('launcher killed: seconds until no node is left', seconds)
  return figures


def _learn() -> dict[str, Any]:
  """Learns Catch to its end, and loses a machine on the way."""
  with _training() as cluster:
    machine = cluster.place('actor/0')
    cluster.wait_until(lambda: cluster.frames()[-1][1] > 100_000, 300)
    trial.tell(f'killing {machine.ip} at {cluster.frames()[-1][1]:,.0f} frames')
    machine.kill()
    moved = cluster.wait_until(
      lambda: (
        cluster.place('actor/0') is not machine and cluster.steps('actor/0')
      ),
      120,
    )
    trial.tell(f'its actor acts elsewhere after {moved:.1f} s')
    status = cluster.driver.wait(600)
    found = sorted(cluster.run.glob('evaluations/*/results.json'))
    if status or not found:
      raise trial.TrialError((cluster.folder / 'train.log').read_text())
    summary = json.loads(found[-1].read_text())['summary']
  return {
    'machine killed: seconds until its actor acts elsewhere': round(moved, 2),
    'machine killed: mean return of Catch at the end': summary['mean_return'],
  }


def _table(result: Mapping[str, Any]) -> rich.table.Table:
  table = rich.table.Table(
    'what is broken', title='three machines', title_justify='left'
  )
  table.add_column('figure', justify='right')
  for name, value in result['figures'].items():
    table.add_row(name, str(value))
  return table


def _wait_until(holds: Callable[[], Any], seconds: float) -> float:
  """Waits; returns for how long.

  Raises:
    trial.TrialError: It took longer.
  """
  begin = time.monotonic()
  while not holds():
    if time.monotonic() - begin > seconds:
      raise trial.TrialError(f'not within {seconds:g} s')
    time.sleep(0.1)
  return time.monotonic() - begin


def _call(*command: str) -> None:
  """Runs a command.

  Raises:
    trial.TrialError: It failed.
  """
  done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
  if done.returncode:
    raise trial.TrialError(f'{" ".join(command)}: {done.stderr.strip()}')
