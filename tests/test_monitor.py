"""The monitor over a real Reverb server and real processes."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time

import launchpad as lp
import numpy as np
import processes
import pytest
import reverb

from programs.inspection import monitor, recording, watchdog


class Rig:
  """A monitor that runs in a thread, and what it looks at."""

  def __init__(self, directory, action='warn', seconds=60.0, tables=None):
    self.directory, self.stop, self.errors = directory, threading.Event(), []
    tables = tables or [reverb.Table.queue('queue', max_size=2)]
    self.server = reverb.Server(tables, None)
    self.client = reverb.Client(f'localhost:{self.server.port}')
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(lp, 'stop_event', lambda: self.stop)
      self.monitor = monitor.MonitorNode(str(directory), action, seconds)
    self.thread = threading.Thread(target=self.run, daemon=True)
    self.thread.start()
    self.queue = contextlib.ExitStack()
    self.queue.enter_context(
      monitor.reporting_tables(self.monitor, self.client)
    )
    self.reader = recording.Reader(directory / 'metrics/graph.jsonl')
    self.records = []

  def run(self):
    try:
      self.monitor.run()
    except watchdog.StuckError as error:
      self.errors.append(error)

  def wait_until(self, holds):
    """Waits for a record that `holds`; returns it."""

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


FIGURES = {
  'activity': 'environment',
  'activity_seconds': 0.0,
  'seconds': {'environment': 1.5},
  'calls': {'environment': 3},
  'kinds': {'environment': 'busy'},
  'counts': {'agent_steps': 60},
}


# Of a record that came before the first push, or on a machine that stood still.
EMPTY = {'waiting_for_samples_seconds': 0.0, 'inserts': 0}


def test_what_a_table_says(rig):
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


def test_a_limiter_that_never_waits_has_no_headroom(tmp_path, quick):
  table = reverb.Table(
    'replay',
    reverb.selectors.Uniform(),
    reverb.selectors.Fifo(),
    max_size=5,
    rate_limiter=reverb.rate_limiters.MinSize(1),
  )
  rig = Rig(tmp_path, tables=[table])
  try:
    record = rig.wait_until(lambda record: record['tables'])
    assert record['tables']['replay']['insert_headroom'] is None
  finally:
    rig.close()


def test_a_server_that_is_gone(rig):
  rig.wait_until(lambda record: record['tables'])
  rig.server.stop()
  record = rig.wait_until(lambda record: record['tables'] is None)
  rig.wait_until(lambda other: other['time'] > record['time'])  # It goes on.


def test_a_queue_that_is_gone(rig):
  rig.wait_until(lambda record: record['tables'])
  rig.queue.close()  # As its process, which tells nothing any more.
  rig.wait_until(lambda record: record['tables'] is None)


def test_nodes_push_while_they_run(rig):
  read = iter([{**FIGURES, 'calls': {'environment': n}} for n in range(1000)])
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
  # When it has ended nothing comes any more, and that shows.
  rig.wait_until(
    lambda record: (
      record['nodes'].get('actor/3', {}).get('age_seconds', 0) > 0.3
    )
  )


def test_a_node_on_another_machine_looks_after_its_own_process(rig):
  figures = {**FIGURES, 'host': 'elsewhere', 'pid': 7}
  assert not rig.monitor.push('actor/3', figures)
  used = {'cpu_seconds': 3.0, 'rss_bytes': 1 << 20}
  assert not rig.monitor.push('actor/3', {**figures, 'process': used})
  record = rig.wait_until(lambda record: 'actor/3' in record['processes'])
  assert record['processes']['actor/3'] == used
  assert not {'process', 'pid'} & set(record['nodes']['actor/3'])
  # Of a process that is seen here, the monitor knows more.
  meta = {'processes': {'actor/3': os.getpid()}}
  (rig.directory / 'meta.json').write_text(json.dumps(meta))
  rig.wait_until(lambda _: rig.monitor.push('actor/3', figures))
  rig.wait_until(
    lambda record: record['processes']['actor/3']['rss_bytes'] > 1 << 20
  )


def test_who_reports_from_elsewhere_sends_its_process(rig):
  sent = []

  class Elsewhere:
    def push(self, name, figures):
      sent.append(figures)
      return False

  with monitor.reporting(Elsewhere(), 'actor/3', lambda: FIGURES):
    deadline = time.monotonic() + 20
    while len(sent) < 3 and time.monotonic() < deadline:
      time.sleep(0.05)
  assert 'process' not in sent[0]
  assert sent[1]['process']['rss_bytes'] > 1 << 20
  assert sent[2]['process']['cpu_seconds'] > 0


def test_no_thread_is_left_by_who_reports(rig):
  before = set(threading.enumerate())
  with monitor.reporting(rig.monitor, 'actor/0', lambda: FIGURES):
    assert {t.name for t in set(threading.enumerate()) - before} == {
      'reporting'
    }
  assert not set(threading.enumerate()) - before
  with monitor.reporting(None, 'actor/0', lambda: FIGURES):
    assert set(threading.enumerate()) <= before


def test_a_monitor_that_is_gone_disturbs_nobody(quick):
  class Gone:
    calls = 0

    def push(self, name, figures):
      self.calls += 1
      raise RuntimeError('Deadline Exceeded')

  gone = Gone()
  with monitor.reporting(gone, 'actor/0', lambda: FIGURES):
    processes.wait_until(lambda: gone.calls > 2, 10)


def test_processes_and_their_children(rig):
  """CPU and memory of a node are those of its environments too."""
  code = (
    'import subprocess, sys; x = bytearray(30_000_000); '
    "subprocess.run([sys.executable, '-c', "
    "'x = bytearray(90_000_000)\\nwhile True: pass'])"
  )
  with subprocess.Popen(
    [sys.executable, '-c', code], start_new_session=True
  ) as process:
    try:
      meta = {'processes': {'actor/0': process.pid, 'queue/0': os.getpid()}}
      (rig.directory / 'meta.json').write_text(json.dumps(meta))
      figures = rig.wait_until(
        lambda record: (
          record['processes'].get('actor/0', {}).get('cpu_seconds', 0) > 0.5
        )
      )['processes']
      assert 120e6 < figures['actor/0']['rss_bytes'] < 400e6
      assert figures['queue/0']['rss_bytes'] > 50e6
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
  # Those who are gone are told of no more.
  time.sleep(0.2)
  rig.records.clear()
  rig.wait_until(lambda record: 'actor/0' not in record['processes'])


def test_the_machine(rig):
  machine = rig.wait_until(lambda record: True)['machine']
  assert machine['cores'] == len(os.sched_getaffinity(0))
  assert 0 < machine['busy_seconds'] < machine['total_seconds']
  assert 0 < machine['memory_used_bytes'] < machine['memory_bytes']


def test_its_own_faults_end_nothing(rig, caplog):
  rig.monitor.push('actor/0', {'nothing': 'of what is expected'})
  processes.wait_until(lambda: 'Nothing seen' in caplog.text, 20)
  assert rig.thread.is_alive()
  rig.monitor.push('actor/0', FIGURES)
  rig.wait_until(lambda record: 'calls' in record['nodes'].get('actor/0', {}))


WAITING = {
  **FIGURES,
  'activity': 'waiting_for_data',
  'activity_seconds': 10.0,
  'kinds': {'waiting_for_data': 'waiting'},
}


@pytest.mark.parametrize('action', watchdog.ACTIONS)
def test_what_the_watchdog_says(tmp_path, quick, caplog, action):
  rig = Rig(tmp_path, action, seconds=1.0)
  try:
    with caplog.at_level(logging.WARNING):
      rig.monitor.push('learner/0', WAITING)
      record = rig.wait_until(lambda record: record['warnings'])
      rig.thread.join(20 if action == 'stop' else 0.5)
    (warning,) = record['warnings']
    assert warning.startswith('learner/0 has been waiting for data since')
    assert caplog.text.count(warning) == 1
    if action == 'stop':
      assert [str(error) for error in rig.errors] == [warning]
    else:
      assert rig.thread.is_alive() and not rig.errors
  finally:
    rig.close()
