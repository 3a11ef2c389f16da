"""Clusters of machines in name only: addresses of the loopback network."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import psutil

from programs.launching import ray_node

ROOT = pathlib.Path(__file__).absolute().parent.parent
HEAD = '127.0.0.2'


class Cluster:
  """One process of `./impala cluster` for each machine."""

  def __init__(self, folder):
    self._folder = folder
    self._machines = {}
    with socket.socket() as probe:
      probe.bind((HEAD, 0))
      self.address = f'{HEAD}:{probe.getsockname()[1]}'

  def add(self, ip, num_cpus):
    """Starts a machine."""
    role = f'--join={self.address}'
    if not self._machines:
      port = self.address.rpartition(':')[2]
      role = f'--head --port={port} --folder={self._folder}'
    with open(self._folder / f'{ip}.log', 'wb') as log:
      self._machines[ip] = subprocess.Popen(
        [sys.executable, '-m', 'programs.cluster', *role.split()]
        + [f'--ip={ip}', f'--num_cpus={num_cpus}', '--num_gpus=0'],
        cwd=ROOT,
        env={**os.environ, 'TMPDIR': str(self._folder)},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )

  def wait(self):
    """Waits until all machines are of the cluster."""
    deadline = time.monotonic() + 120
    for ip, machine in self._machines.items():
      path = self._folder / f'{ip}.log'
      while ray_node.STARTED not in path.read_text():
        assert machine.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)

  def kill(self, ip):
    """What a power cut does to a machine, as far as processes go."""
    machine = psutil.Process(self._machines[ip].pid)
    for process in [machine, *machine.children(recursive=True)]:
      with contextlib.suppress(psutil.Error):
        process.kill()
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
      # One by one: they share a folder, in which two that start together take
      # the same name for a socket.
      for name, count in num_cpus.items():
        cluster.add(f'127.0.0.{name[1:]}', count)
        cluster.wait()
      yield cluster
    finally:
      cluster.close()
