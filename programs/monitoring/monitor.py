"""The monitor: records the statistics of all nodes every second.

Nodes push to the monitor and it never calls them, so that a node can die,
restart or move while nobody waits for it.
"""

import collections
import contextlib
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import launchpad as lp
import psutil
from absl import logging

from programs.monitoring import recording, watchdog

PERIOD_SECONDS = 1.0  # Between pushes of a node, and between records.
CALL_TIMEOUT_SECONDS = 2.0  # A lost push is harmless: the next has its counts.

_FRESH_SECONDS = 5.0  # Older tables and processes are left out of a record.
_CHILDREN_TICKS = 10  # Pushes between searches for new child processes.
_ERROR_SECONDS = 60  # Between repetitions of a log line.
_UNLIMITED = 1e300  # `max_diff` of a rate limiter that never blocks is larger.


@contextlib.contextmanager
def reporting(
  monitor: Any, name: str, read: Callable[[], Mapping[str, Any]]
) -> Iterator[None]:
  """Push a node's statistics every second while the context is open.

  Adds the CPU time and memory of its process.

  Args:
    monitor: Client of the monitor; None pushes nothing.
    name: Name of the node.
    read: Returns the statistics (see `recording`); called by another thread.
  """
  if monitor is None:
    yield
    return
  over = threading.Event()
  usage = _Usage()
  process = {'host': socket.gethostname(), 'pid': os.getpid()}

  def repeat() -> None:
    while not over.wait(PERIOD_SECONDS):
      # A node must survive the monitor.
      with contextlib.suppress(Exception):
        monitor.push(name, {**read(), **process, 'process': usage.read()})

  thread = threading.Thread(target=repeat, name='reporting', daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join(CALL_TIMEOUT_SECONDS + PERIOD_SECONDS)


def read_tables(queue: Any) -> dict[str, Any]:
  """Return 'tables' of a record; None in it if Reverb does not answer."""
  try:
    tables = queue.server_info(timeout=1)
  except Exception as error:  # Reverb's and gRPC's own, of many types.
    logging.info('Reverb did not answer: %s', error)
    return {'tables': None}
  return {'tables': {name: _table(info) for name, info in tables.items()}}


class MonitorNode:
  """Records what nodes push. Courier serves its public methods."""

  def __init__(
    self,
    directory: str,
    watchdog_action: str,
    watchdog_seconds: float,
    name: str = 'monitor/0',
  ) -> None:
    """Record to `metrics/graph.jsonl` in the run directory `directory`."""
    self._stop = lp.stop_event()
    self._start = time.time()
    self._name = name
    self._recorder = recording.Recorder(
      pathlib.Path(directory, 'metrics', 'graph.jsonl')
    )
    self._watchdog = watchdog.Watchdog(watchdog_seconds)
    self._is_fatal = watchdog_action == 'stop'
    self._lock = threading.Lock()
    self._pushed: dict[str, tuple[float, Mapping[str, Any]]] = {}

  def push(self, name: str, statistics: Mapping[str, Any]) -> None:
    """Take a node's statistics for the next record.

    Args:
      name: Name of the node.
      statistics: Keys of 'nodes' in `recording`; 'tables', from the queue; and
        'host', 'pid' and 'process' (an entry of 'processes').
    """
    with self._lock:
      self._pushed[name] = time.monotonic(), statistics

  def run(self) -> None:
    """Record every second until the program stops.

    Raises:
      watchdog.StuckError: The program is stuck and the action is 'stop'.
    """
    with reporting(self, self._name, dict):
      while not self._stop.wait(PERIOD_SECONDS):
        try:
          record = self._make_record()
          new = self._watchdog.check(record)
        except Exception:  # The monitor must not end the run.
          logging.exception('This second cannot be recorded')
          continue
        try:
          self._recorder.write({**record, 'warnings': self._watchdog.warnings})
        except OSError as error:
          logging.log_every_n_seconds(
            logging.ERROR, 'Cannot write a record: %s', _ERROR_SECONDS, error
          )
        for warning in new:
          logging.warning('%s', warning)
        if new and self._is_fatal:
          raise watchdog.StuckError('\n'.join(new))

  def _make_record(self) -> dict[str, Any]:
    now = time.monotonic()
    with self._lock:
      pushed = dict(sorted(self._pushed.items()))
    fresh = {
      name: statistics
      for name, (at, statistics) in pushed.items()
      if now - at <= _FRESH_SECONDS
    }
    tables = [each['tables'] for each in fresh.values() if each.get('tables')]
    return {
      'time': time.time(),
      'start': self._start,
      'nodes': {
        name: {
          **{k: v for k, v in each.items() if k not in ('process', 'pid')},
          'age_seconds': round(now - at, 3),
        }
        for name, (at, each) in pushed.items()
        if 'activity' in each
      },
      'tables': dict(collections.ChainMap(*tables)) if tables else None,
      'processes': _processes(fresh),
      'machine': _machine(),
    }


def _processes(pushed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Return CPU time and memory by node, of nodes that share no process."""
  processes = {
    name: (each['host'], each['pid'])
    for name, each in pushed.items()
    if 'process' in each
  }
  count = collections.Counter(processes.values())
  return {
    name: pushed[name]['process']
    for name, process in processes.items()
    if count[process] == 1
  }


def _table(info: Any) -> dict[str, Any]:
  limiter, worker = info.rate_limiter_info, info.table_worker_time
  inserts = limiter.insert_stats.completed
  samples = limiter.sample_stats.completed
  headroom = limiter.max_diff - inserts * limiter.samples_per_insert + samples
  return {
    'size': info.current_size,
    'capacity': info.max_size,
    'insert_headroom': headroom if limiter.max_diff < _UNLIMITED else None,
    'inserts': inserts,
    'samples': samples,
    'waiting_for_samples_seconds': worker.waiting_for_sampling_ms / 1000,
    'waiting_for_inserts_seconds': worker.waiting_for_inserts_ms / 1000,
  }


def _machine() -> dict[str, Any]:
  cores, memory = os.sched_getaffinity(0), psutil.virtual_memory()
  total = idle = 0.0
  for index, times in enumerate(psutil.cpu_times(percpu=True)):
    if index in cores:
      total += sum(times[:8])  # User time includes the time of guests.
      idle += times.idle + times.iowait
  return {
    'cores': len(cores),
    'busy_seconds': round(total - idle, 2),
    'total_seconds': round(total, 2),
    'memory_used_bytes': memory.total - memory.available,
    'memory_bytes': memory.total,
  }


class _Usage:
  """CPU time and memory of this process and its descendants."""

  def __init__(self) -> None:
    self._members: list[psutil.Process] = []
    self._ticks = 0

  def read(self) -> dict[str, float]:
    """Return an entry of 'processes' in a record."""
    if self._ticks % _CHILDREN_TICKS == 0:
      this = psutil.Process()
      self._members = [this, *this.children(recursive=True)]
    self._ticks += 1
    cpu = rss = 0.0
    for process in self._members:
      with contextlib.suppress(psutil.Error), process.oneshot():
        times = process.cpu_times()
        cpu += sum(times[:4])  # Includes children that have ended.
        rss += process.memory_info().rss
    return {'cpu_seconds': round(cpu, 2), 'rss_bytes': int(rss)}
