"""The monitor over a real Reverb server and real processes."""

import contextlib
import logging
import os
import pathlib
import subprocess
import sys
import threading
import types

import launchpad as lp
import numpy as np
import processes
import psutil
import pytest
import reverb

from programs.monitoring import monitor, recording, watchdog

ROOT = pathlib.Path(__file__).absolute().parents[2]


class Rig:
  """A monitor in a thread, with the Reverb server that it records."""

  def __init__(self, directory, action='warn', seconds=60.0):
    self.directory, self.stop, self.errors = directory, threading.Event(), []
    self.server = reverb.Server([reverb.Table.queue('queue', 2)], None)
    self.client = reverb.Client(f'localhost:{self.server.port}')
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(lp, 'stop_event', lambda: self.stop)
      self.monitor = monitor.MonitorNode(str(directory), action, seconds)
    self.thread = threading.Thread(target=self.run, daemon=True)
    self.thread.start()
    self.queue = contextlib.ExitStack()
    self.queue.enter_context(
      monitor.reporting(
        self.monitor,
        'queue/0',
        lambda: monitor.read_tables(self.client),
      )
    )
    self.reader = recording.Reader(directory / 'metrics/graph.jsonl')
    self.records = []

  def run(self):
    try:
      self.monitor.run()
    except watchdog.StuckError as error:
      self.errors.append(error)

  def wait_until(self, holds):
    """Wait for a record for which `holds` is true; returns it."""

    def is_there():
      self.records += self.reader.read()
      return any(map(holds, self.records))

    processes.wait_until(is_there, 20)
    return next(filter(holds, self.records))

  def close(self):
    self.queue.close()
    self.stop.set()
    self.thread.join(10)
    assert not self.thread.is_alive()
    self.server.stop()


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setattr(monitor, 'PERIOD_SECONDS', 0.05)


@pytest.fixture
def rig(tmp_path, quick):
  made = Rig(tmp_path)
  yield made
  made.close()


STATISTICS = {
  'activity': 'environment',
  'activity_seconds': 0.0,
  'seconds': {'environment': 1.5},
  'calls': {'environment': 3},
  'kinds': {'environment': 'busy'},
  'counts': {'agent_steps': 60},
}


# Of a record before the first push, or after a pause of the machine.
EMPTY = {'waiting_for_samples_seconds': 0.0, 'inserts': 0}


def test_statistics_of_a_table(rig):
  record = rig.wait_until(lambda record: record['tables'])
  assert record['tables']['queue'] == {
    'size': 0,
    'capacity': 2,
    'insert_headroom': 2.0,
    'inserts': 0,
    'samples': 0,
    'waiting_for_samples_seconds': 0.0,
    'waiting_for_inserts_seconds': 0.0,
  }
  insert = threading.Thread(
    target=lambda: [
      rig.client.insert([np.zeros(3)], {'queue': 1.0}) for _ in range(3)
    ]
  )
  insert.start()

  def is_blocked(record):
    table = (record['tables'] or {}).get('queue', EMPTY)
    return table['waiting_for_samples_seconds'] > 0.2

  table = rig.wait_until(is_blocked)['tables']['queue']
  assert (table['size'], table['inserts'], table['samples']) == (2, 2, 0)
  assert table['insert_headroom'] == 0
  next(rig.client.sample('queue', 1))
  insert.join(10)
  table = rig.wait_until(
    lambda record: (record['tables'] or {}).get('queue', EMPTY)['inserts'] == 3
  )['tables']['queue']
  assert (table['size'], table['samples']) == (2, 1)


def test_a_server_that_stops(rig):
  rig.wait_until(lambda record: record['tables'])
  rig.server.stop()
  record = rig.wait_until(lambda record: record['tables'] is None)
  rig.wait_until(lambda other: other['time'] > record['time'])  # It goes on.


def test_nodes_push_while_they_run(rig):
  read = iter(
    [{**STATISTICS, 'calls': {'environment': n}} for n in range(1000)]
  )
  with monitor.reporting(rig.monitor, 'actor/3', lambda: next(read)):
    record = rig.wait_until(
      lambda record: (
        'actor/3' in record['nodes']
        and record['nodes']['actor/3']['calls']['environment'] > 2
      )
    )
  node = record['nodes']['actor/3']
  assert node['counts'] == {'agent_steps': 60} and node['host']
  assert 0 <= node['age_seconds'] < 5
  # Its age grows once it has ended.
  rig.wait_until(
    lambda record: (
      record['nodes'].get('actor/3', {}).get('age_seconds', 0) > 0.3
    )
  )


def test_nodes_survive_the_monitor(quick):
  class Gone:
    calls = 0

    def push(self, name, statistics):
      self.calls += 1
      raise RuntimeError('Deadline Exceeded')

  gone = Gone()
  with monitor.reporting(gone, 'actor/0', lambda: STATISTICS):
    processes.wait_until(lambda: gone.calls > 2, 10)


def test_usage_includes_child_processes(quick):
  """Count environments in child processes towards their node."""
  pushed = []
  keeping = types.SimpleNamespace(
    push=lambda name, each: pushed.append(each['process'])
  )
  spin = 'x = bytearray(90_000_000)\nwhile True: pass'
  alone = psutil.Process().memory_info().rss
  with subprocess.Popen([sys.executable, '-c', spin]) as child:
    try:
      with monitor.reporting(keeping, 'actor/3', dict):
        processes.wait_until(
          lambda: pushed and pushed[-1]['rss_bytes'] > alone + 80e6, 20
        )
    finally:
      child.kill()


def test_the_machine(rig):
  machine = rig.wait_until(lambda record: True)['machine']
  assert machine['cores'] == len(os.sched_getaffinity(0))
  assert 0 < machine['busy_seconds'] < machine['total_seconds']
  assert 0 < machine['memory_used_bytes'] < machine['memory_bytes']


def test_the_monitor_survives_a_bad_push(rig, caplog):
  rig.monitor.push('actor/0', {'activity': 'without the rest'})
  processes.wait_until(lambda: 'cannot be recorded' in caplog.text, 20)
  assert rig.thread.is_alive()
  rig.monitor.push('actor/0', STATISTICS)
  rig.wait_until(lambda record: 'calls' in record['nodes'].get('actor/0', {}))


WAITING = {
  **STATISTICS,
  'activity': 'waiting_for_data',
  'activity_seconds': 10.0,
  'kinds': {'waiting_for_data': 'waiting'},
}


@pytest.mark.parametrize('action', watchdog.ACTIONS)
def test_watchdog_actions(tmp_path, quick, caplog, action):
  rig = Rig(tmp_path, action, seconds=1.0)
  try:
    with caplog.at_level(logging.WARNING):
      rig.monitor.push('learner/0', WAITING)
      record = rig.wait_until(lambda record: record['warnings'])
      rig.thread.join(20 if action == 'stop' else 0.5)
    (warning,) = record['warnings']
    assert 'learner/0' in warning and 'waiting for data' in warning
    assert caplog.text.count(warning) == 1
    if action == 'stop':
      assert [str(error) for error in rig.errors] == [warning]
    else:
      assert rig.thread.is_alive() and not rig.errors
  finally:
    rig.close()
