"""Clusters of loopback addresses, and training runs on them."""

import contextlib
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import free_ports
import psutil

from programs.launching import ray_node

ROOT = pathlib.Path(__file__).absolute().parent.parent
HEAD = '127.0.0.2'


def wait_until(condition, seconds=120):
  """Waits for a condition; returns the seconds that it took."""
  started = time.monotonic()
  while not condition():
    assert time.monotonic() - started < seconds
    time.sleep(0.1)
  return time.monotonic() - started


def kill_all(process):
  """Kills a process and its descendants, as a power cut does."""
  for each in [process, *process.children(recursive=True)]:
    with contextlib.suppress(psutil.Error):
      each.kill()


class Cluster:
  """One process of `./impala cluster` for each machine."""

  def __init__(self, folder):
    self.folder = folder
    self._machines = {}
    self.address = f'{HEAD}:{free_ports.find(1)}'

  def add(self, ip, num_cpus):
    """Starts a machine."""
    role = f'--join={self.address}'
    if not self._machines:
      port = self.address.rpartition(':')[2]
      role = f'--head --port={port}'
    with open(self.folder / f'{ip}.log', 'wb') as log:
      self._machines[ip] = subprocess.Popen(
        [sys.executable, '-m', 'programs.commands.cluster', *role.split()]
        + [f'--ip={ip}', f'--num_cpus={num_cpus}', '--num_gpus=0'],
        cwd=ROOT,
        env={
          **os.environ,
          'RAY_TMPDIR': str(self.folder / ip),
          'TMPDIR': str(self.folder),
        },
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )

  def wait(self):
    """Waits until all machines have joined."""
    deadline = time.monotonic() + 120
    for ip, machine in self._machines.items():
      path = self.folder / f'{ip}.log'
      while ray_node.STARTED not in path.read_text():
        assert machine.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)

  def kill(self, ip):
    """Kills the processes of a machine, as a power cut does."""
    kill_all(psutil.Process(self._machines[ip].pid))
    self._machines.pop(ip).wait()

  def close(self):
    """Ends every machine, the head last."""
    for process in reversed(self._machines.values()):
      process.send_signal(signal.SIGTERM)
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()


@contextlib.contextmanager
def running(**num_cpus):
  """A cluster of HEAD and others, `m3=2` for 127.0.0.3 with two cores."""
  with tempfile.TemporaryDirectory(
    prefix='c', dir='/tmp', ignore_cleanup_errors=True
  ) as folder:
    cluster = Cluster(pathlib.Path(folder))
    try:
      cluster.add(HEAD, 0)
      cluster.wait()
      for name, count in num_cpus.items():
        cluster.add(f'127.0.0.{name[1:]}', count)
      cluster.wait()
      yield cluster
    finally:
      cluster.close()


class Run:
  """Commands of one training run, and its files."""

  def __init__(self, tmp_path):
    self.folder = tmp_path
    self.directory = tmp_path / 'run'
    self.folders = (str(tmp_path),)  # Temporary folders of its processes.
    self.processes = {}

  def start(self, name, *arguments):
    """Starts `train`."""
    with open(self.folder / f'{name}.out', 'ab') as output:
      self.processes[name] = subprocess.Popen(
        [sys.executable, '-m', 'programs.commands.train', *arguments],
        cwd=ROOT,
        env={**os.environ, 'TMPDIR': str(self.folder)},
        stdout=output,
        stderr=subprocess.STDOUT,
      )
    return self.processes[name]

  def start_learner(self, *arguments):
    """Starts the command that writes the run directory."""
    return self.start(
      'learner',
      f'--logdir={self.directory}',
      '--seed=1',
      '--evaluation_period_frames=0',
      '--test_num_episodes=20',
      *arguments,
    )

  def output(self, name):
    """Output of a command."""
    return (self.folder / f'{name}.out').read_text()

  def log(self, node):
    """Log of a node."""
    path = self.directory / 'logs' / f'{node.replace("/", "_")}.log'
    return path.read_text(errors='replace') if path.exists() else ''

  def meta(self, key):
    """Value in the run directory's meta file."""
    try:
      meta = json.loads((self.directory / 'meta.json').read_text())
    except FileNotFoundError:
      return {}
    return meta.get(key, {})

  def process(self, node):
    """Process of a node."""
    return psutil.Process(self.meta('processes')[node])

  def records(self):
    """Records of the learner's metrics."""
    path = self.directory / 'metrics/learner.csv'
    lines = path.read_text().splitlines() if path.exists() else []
    return list(csv.DictReader(lines))

  def wait_until(self, condition, seconds=120):
    """Waits; returns the seconds that it took."""
    try:
      return wait_until(condition, seconds)
    except AssertionError as error:
      outputs = {name: self.output(name) for name in self.processes}
      raise AssertionError(outputs) from error

  def running(self):
    """Running processes of the commands and their descendants."""
    return [
      process
      for process in psutil.process_iter(['environ', 'status'])
      if (process.info['environ'] or {})
      .get('TMPDIR', '')
      .startswith(self.folders)
      and process.info['status'] != psutil.STATUS_ZOMBIE
    ]

  def mean_return(self):
    """Mean return of the only evaluation."""
    (results,) = self.directory.glob('evaluations/*/results.json')
    return json.loads(results.read_text())['summary']['mean_return']

  def close(self):
    """Kills the commands and waits for all other processes to end."""
    for process in self.processes.values():
      process.kill()
      process.wait()
    self.wait_until(lambda: not self.running(), 30)


class Jobs(Run):
  """Training run with one command per role."""

  def __init__(self, tmp_path, **hosts):
    super().__init__(tmp_path)
    self.port = free_ports.find(1)
    actors = [HEAD, HEAD]
    spec = {'learner': [f'{HEAD}:{self.port}'], 'actor': actors, **hosts}
    self._file = tmp_path / 'cluster.json'
    self._file.write_text(json.dumps(spec))

  def start_learner(self, *arguments):
    """Starts the learner's job."""
    role = ('--job_name=learner', '--task=0', f'--cluster={self._file}')
    return super().start_learner(*role, *arguments)

  def start_job(self, task, *arguments, job='actor'):
    """Starts a job other than the learner's."""
    role = (f'--job_name={job}', f'--task={task}', f'--cluster={self._file}')
    return self.start(f'{job}{task}', *role, *arguments)
