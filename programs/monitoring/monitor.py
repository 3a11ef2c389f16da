"""The monitor: who does what in a program, recorded every second.

Nodes push their figures to it, and it asks nobody: nodes can die, restart and
move without anyone waiting for them.
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

PERIOD_SECONDS = 1.0
# Of a push, whose sums the next one holds as well.
CALL_TIMEOUT_SECONDS = 2.0

# What is older says nothing of now: pushes come every second.
_FRESH_SECONDS = 5.0

_CHILDREN_TICKS = 10  # All processes of the machine are looked through then.
_ERROR_SECONDS = 60  # Between lines that say the same.
_UNLIMITED = 1e300  # Rate limiters that never wait have such a bound.


@contextlib.contextmanager
def reporting(
  monitor: Any, name: str, read: Callable[[], Mapping[str, Any]]
) -> Iterator[None]:
  """Pushes a node's figures every second, as long as the context is open.

  What its process uses goes along with them. Another thread calls `read`: see
  `recording`, and `read_tables`. Without a monitor, None, nothing is pushed.
  """
  if monitor is None:
    yield
    return
  over = threading.Event()
  usage = _Usage()
  process = {'host': socket.gethostname(), 'pid': os.getpid()}

  def repeat() -> None:
    while not over.wait(PERIOD_SECONDS):
      # The monitor may be gone, which is no reason for its node to go.
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
  """'tables' of a record, by a Reverb client; None where there is no answer."""
  try:
    tables = queue.server_info(timeout=1)
  except Exception as error:  # Reverb's and gRPC's own, of many types.
    logging.info('Reverb did not answer: %s', error)
    return {'tables': None}
  return {'tables': {name: _table(info) for name, info in tables.items()}}


class MonitorNode:
  """Records what nodes push; public methods are served by Courier."""

  def __init__(
    self,
    directory: str,
    watchdog_action: str,
    watchdog_seconds: float,
    name: str = 'monitor/0',
  ) -> None:
    """Records to `metrics/graph.jsonl` in `directory`, the run's."""
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

  def push(self, name: str, figures: Mapping[str, Any]) -> None:
    """Takes a node's figures.

    See `recording`; 'tables' of the queue; and 'host', 'pid' and 'process', as
    of 'processes' there.
    """
    with self._lock:
      self._pushed[name] = time.monotonic(), figures

  def run(self) -> None:
    """Records every second until the program stops.

    Raises:
      watchdog.StuckError: The program is stuck, and that is to end it.
    """
    with reporting(self, self._name, dict):
      while not self._stop.wait(PERIOD_SECONDS):
        try:
          record = self._look()
          new = self._watchdog.look(record)
        except Exception:  # What watches must not end what it watches.
          logging.exception('Nothing seen')
          continue
        try:
          self._recorder.write({**record, 'warnings': self._watchdog.warnings})
        except OSError as error:
          logging.log_every_n_seconds(
            logging.ERROR, 'Nothing recorded: %s', _ERROR_SECONDS, error
          )
        for warning in new:
          logging.warning('%s', warning)
        if new and self._is_fatal:
          raise watchdog.StuckError('\n'.join(new))

  def _look(self) -> dict[str, Any]:
    now = time.monotonic()
    with self._lock:
      pushed = dict(sorted(self._pushed.items()))
    fresh = {
      name: figures
      for name, (at, figures) in pushed.items()
      if now - at <= _FRESH_SECONDS
    }
    tables = [each['tables'] for each in fresh.values() if each.get('tables')]
    return {
      'time': time.time(),
      'start': self._start,
      'nodes': {
        name: {
          **{k: v for k, v in figures.items() if k not in ('process', 'pid')},
          'age_seconds': round(now - at, 3),
        }
        for name, (at, figures) in pushed.items()
        if 'activity' in figures
      },
      'tables': dict(collections.ChainMap(*tables)) if tables else None,
      'processes': _processes(fresh),
      'machine': _machine(),
    }


def _processes(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Node -> what its process uses, where it has one of its own."""
  own = {
    name: (each['host'], each['pid'])
    for name, each in figures.items()
    if 'process' in each
  }
  count = collections.Counter(own.values())
  return {
    name: figures[name]['process']
    for name, process in own.items()
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
      total += sum(times[:8])  # A guest's time is in the user's already.
      idle += times.idle + times.iowait
  return {
    'cores': len(cores),
    'busy_seconds': round(total - idle, 2),
    'total_seconds': round(total, 2),
    'memory_used_bytes': memory.total - memory.available,
    'memory_bytes': memory.total,
  }


class _Usage:
  """CPU time and memory of this process and of all below it."""

  def __init__(self) -> None:
    self._members: list[psutil.Process] = []
    self._ticks = 0

  def read(self) -> dict[str, float]:
    """As of 'processes' in a record."""
    if self._ticks % _CHILDREN_TICKS == 0:
      this = psutil.Process()
      self._members = [this, *this.children(recursive=True)]
    self._ticks += 1
    cpu = rss = 0.0
    for process in self._members:
      with contextlib.suppress(psutil.Error), process.oneshot():
        times = process.cpu_times()
        cpu += sum(times[:4])  # Of children that have ended as well.
        rss += process.memory_info().rss
    return {'cpu_seconds': round(cpu, 2), 'rss_bytes': int(rss)}
