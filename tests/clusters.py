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

# Has each machine fetch the code, one by one.
_FETCH = """
import sys
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from programs.launching import cluster
address, root = sys.argv[1:]
ray.init(
  address,
  _node_ip_address=address.partition(':')[0],
  log_to_driver=False,
  runtime_env={
    'working_dir': root,
    'excludes': list(cluster._NOT_SHIPPED),
    'config': {'eager_install': False},
  },
)
for node in ray.nodes():
  here = NodeAffinitySchedulingStrategy(node['NodeID'], soft=False)
  task = ray.remote(lambda: None).options(num_cpus=0, scheduling_strategy=here)
  ray.get(task.remote(), timeout=60)
"""
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

  def fetch(self):
    """Has all machines fetch the code.

    Their folder for it is one and the same, which each removes and makes anew
    when it needs the code first: under the feet of the others' processes.
    """
    subprocess.run(
      [sys.executable, '-c', _FETCH, self.address, str(ROOT)],
      cwd=ROOT,
      check=True,
      timeout=120,
    )

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
      cluster.fetch()
      yield cluster
    finally:
      cluster.close()
