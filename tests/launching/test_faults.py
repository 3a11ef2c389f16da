"""Times to recovery when processes on three loopback addresses are killed.

Prints a table: `./impala check --all -s tests/launching/test_faults.py`.
"""

import contextlib
import json
import os
import re
import signal
import time

import clusters
import psutil
import pytest

from programs.runs import provenance

LEARNER, FIRST, SECOND = clusters.HEAD, '127.0.0.3', '127.0.0.4'
FLAGS = (
  '--num_actors=2',
  '--total_environment_frames=1_000_000_000',
  '--checkpoint_period_seconds=10',
)
MANY_STEPS = 20_000  # More than a new actor has when it is first seen.


class Training:
  """Catch with the learner and two actors on a machine each."""

  def __init__(self, run):
    self.run = run
    self.values = {}

  def steps(self, node):
    """Agent steps of an actor's present process."""
    path = self.run.directory / 'metrics/graph.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    for line in reversed(lines):
      with contextlib.suppress(ValueError):
        found = json.loads(line)['nodes'].get(node, {})
        if found.get('age_seconds', 99) < 2:
          return found.get('counts', {}).get('agent_steps', 0)
        return 0
    return 0

  def frames(self):
    """(time, frames) of all records of the learner's metrics."""
    return [
      (float(each['time']), float(each['frames']))
      for each in self.run.records()
    ]

  def record(self, name, value):
    """Adds a value to the table."""
    self.values[name] = round(value, 1)
    print(f'{name}: {value:.1f}', flush=True)

  def lose_actor(self, node, name, kill):
    """Kills something; records the time until the actor's successor acts."""
    self.run.wait_until(lambda: self.steps(node) > MANY_STEPS)
    process = self.run.process(node)
    kill(process)
    seconds = self.run.wait_until(
      lambda: (
        self.run.meta('processes')[node] != process.pid
        and 0 < self.steps(node) < MANY_STEPS
      )
    )
    self.record(f'{name} killed: seconds until its successor acts', seconds)

  def lose_server(self, node):
    """Kills a server; records the time until learning goes on."""
    time.sleep(12)  # A checkpoint period.
    before = self.frames()
    self.run.process(node).kill()
    seconds = self.run.wait_until(
      lambda: len(self.run.records()) >= len(before) + 3
    )
    role = node.partition('/')[0]
    self.record(f'{role} killed: seconds until it is learned again', seconds)
    if node == 'learner/0':
      resumed = re.findall(r'Resumed at frame (\d+)', self.run.log(node))
      rate = before[-1][1] / (before[-1][0] - before[0][0])
      lost = max(0.0, before[-1][1] - int(resumed[-1])) / rate
      self.record('learner killed: seconds of learning lost', lost)

  def lose_launcher(self):
    """Kills it; records the time until no node is left."""
    nodes = [
      process
      for process in self.run.running()
      if any('process_entry' in part for part in process.cmdline())
    ]
    assert len(nodes) >= 5
    self.run.processes['learner'].kill()
    seconds = self.run.wait_until(
      lambda: not any(map(psutil.Process.is_running, nodes)), 60
    )
    self.record('launcher killed: seconds until no node is left', seconds)


def kill_executor(process):
  """Kills the Ray actor that started a node."""
  process.parent().kill()


def raylet_of(run, machine):
  """Raylet that the jobs of a run have started on a machine."""
  for process in run.running():
    is_there = f'--node_ip_address={machine}' in process.cmdline()
    if is_there and process.name() == 'raylet':
      return process
  raise AssertionError(machine)


def show(kind, training):
  print(
    json.dumps(
      {
        'launch': kind,
        'git_revision': provenance.git_revision(),
        'cores': os.cpu_count(),
        'figures': training.values,
      }
    )
  )


@pytest.mark.thorough
def test_faults_with_ray(tmp_path):
  with clusters.running(m3=2, m4=2) as cluster:
    training = Training(clusters.Run(tmp_path))
    training.run.folders += (str(cluster.folder / 'launch-'),)
    training.run.start_learner(
      '--launch=ray', f'--ray_address={cluster.address}', *FLAGS
    )
    try:
      training.lose_actor('actor/0', "an actor's process", psutil.Process.kill)
      training.lose_actor('actor/1', 'its executor', kill_executor)
      training.lose_server('learner/0')
      training.lose_server('queue/0')
      lost = training.run.meta('machines')['actor/0']
      training.lose_actor(
        'actor/0', "an actor's machine", lambda _: cluster.kill(lost)
      )
      assert training.run.meta('machines')['actor/0'] != lost
      training.lose_launcher()
    finally:
      training.run.close()
  show('ray', training)


@pytest.mark.thorough
def test_faults_with_jobs(tmp_path):
  jobs = clusters.Jobs(tmp_path, actor=[FIRST, SECOND])
  training = Training(jobs)

  def replace_job(_):
    jobs.processes['actor1'].kill()
    jobs.processes['actor1'].wait()
    # One that came within half a second would keep the actor as it is.
    jobs.wait_until(lambda: 'its job on' in jobs.log('actor/1'))
    jobs.start_job(1)

  try:
    first = jobs.start_job(0)
    jobs.start_job(1)
    jobs.start_learner(*FLAGS)
    training.lose_actor('actor/0', "an actor's process", psutil.Process.kill)
    training.lose_actor('actor/1', 'its job', replace_job)
    training.lose_actor('actor/1', 'its executor', kill_executor)
    training.lose_server('learner/0')
    training.lose_server('queue/0')
    training.lose_actor(
      'actor/0',
      "an actor's machine's raylet",
      lambda _: raylet_of(jobs, FIRST).kill(),
    )
    assert training.run.meta('machines')['actor/0'] == FIRST
    training.lose_launcher()
    assert first.poll() is None  # It waits for another.
    first.send_signal(signal.SIGINT)
    assert first.wait(10) == 128 + signal.SIGINT
  finally:
    jobs.close()
  show('jobs', training)


@pytest.mark.thorough
def test_many_jobs_of_a_machine_share_one_raylet(tmp_path):
  """Also when the worker is killed as they start."""
  count = 32
  jobs = clusters.Jobs(tmp_path, actor=[FIRST] * count)
  try:
    for task in range(count):
      jobs.start_job(task)
    jobs.start_learner('--total_environment_frames=1_000_000_000')
    folder = f'launching-{os.getuid()}-{LEARNER}-{jobs.port}-{FIRST}'
    jobs.wait_until(lambda: (tmp_path / folder / 'ray_0.log').exists(), 200)
    workers = [
      process
      for process in jobs.running()
      if 'programs.launching.worker' in process.cmdline()
    ]
    assert len(workers) == 1
    workers[0].kill()
    seconds = jobs.wait_until(
      lambda: len(jobs.meta('machines')) == count + 4, 400
    )
    raylets = [p for p in jobs.running() if p.name() == 'raylet']
    assert len(raylets) == 2  # One of each machine.
    print(f'{count} jobs: all have their actors after {seconds:.0f} s')
    for name, process in jobs.processes.items():
      assert process.poll() is None, jobs.output(name)
    memory = sum(p.memory_full_info().pss for p in jobs.running())
    print(f'memory of all processes, shared pages once: {memory / 1e9:.1f} GB')
  finally:
    jobs.close()
