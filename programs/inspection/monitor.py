"""The monitor: who does what in a program, recorded every second.

Nodes push their figures to it, and it asks nobody: nodes can die, restart and
move without anyone waiting for them.
"""

import contextlib
import functools
import json
import math
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

from programs.inspection import recording, watchdog

PERIOD_SECONDS = 1.0
# Of a push, whose sums the next one holds as well.
CALL_TIMEOUT_SECONDS = 2.0

# What is older is not what tables hold: pushes come every second.
_FRESH_SECONDS = 5.0

_CHILDREN_TICKS = 10  # All processes of the machine are looked through then.
_ERROR_SECONDS = 60  # Between lines that say the same.
_UNLIMITED = 1e300  # Rate limiters that never wait have such a bound.


@contextlib.contextmanager
def reporting(
  monitor: Any, name: str, read: Callable[[], Mapping[str, Any]]
) -> Iterator[None]:
  """Pushes a node's figures every second, as long as the context is open.

  Args:
    monitor: Client of the `MonitorNode`; None pushes nothing.
    name: Of the node, `<group>/<index>`.
    read: Its figures, see `recording`; called by another thread.
  """
  with _every_second(monitor and _Pusher(monitor, name, read)):
    yield


@contextlib.contextmanager
def reporting_tables(monitor: Any, queue: Any) -> Iterator[None]:
  """Pushes every second what tables hold, as long as the context is open.

  Args:
    monitor: Client of the `MonitorNode`; None pushes nothing.
    queue: Client of the Reverb server that has the tables.
  """
  with _every_second(
    monitor and functools.partial(_push_tables, monitor, queue)
  ):
    yield


class _Pusher:
  """Pushes a node's figures; with its process's, if the monitor sees it not."""

  def __init__(
    self, monitor: Any, name: str, read: Callable[[], Mapping[str, Any]]
  ) -> None:
    self._monitor, self._name, self._read = monitor, name, read
    self._usage = _Usage()
    self._is_seen = True

  def __call__(self) -> None:
    figures = {
      **self._read(),
      'host': socket.gethostname(),
      'pid': os.getpid(),
    }
    if not self._is_seen:
      self._usage.look({self._name: os.getpid()})
      figures['process'] = self._usage.read().get(self._name)
    self._is_seen = self._monitor.push(self._name, figures)


def _push_tables(monitor: Any, queue: Any) -> None:
  try:
    tables = queue.server_info(timeout=1)
  except Exception as error:  # Reverb's and gRPC's own, of many types.
    logging.info('Reverb did not answer: %s', error)
    return
  monitor.push_tables({name: _table(info) for name, info in tables.items()})


@contextlib.contextmanager
def _every_second(push: Callable[[], None] | None) -> Iterator[None]:
  """Calls in a thread as long as the context is open; None is not called."""
  if push is None:
    yield
    return
  over = threading.Event()

  def repeat() -> None:
    while not over.wait(PERIOD_SECONDS):
      # The monitor may be gone, which is no reason for its node to go.
      with contextlib.suppress(Exception):
        push()

  thread = threading.Thread(target=repeat, name='reporting', daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join(CALL_TIMEOUT_SECONDS + PERIOD_SECONDS)


class MonitorNode:
  """Collects what nodes push, tables tell and processes use.

  Public methods are served by Courier.
  """

  def __init__(
    self,
    directory: str,
    watchdog_action: str,
    watchdog_seconds: float,
  ) -> None:
    """Records nothing yet.

    Args:
      directory: Of the run; takes `metrics/graph.jsonl`, and its `meta.json`
        tells the process ids.
      watchdog_action: One of `watchdog.ACTIONS`.
      watchdog_seconds: How long nothing may happen.
    """
    self._stop = lp.stop_event()
    self._start = time.time()
    path = pathlib.Path(directory)
    self._recorder = recording.Recorder(path / 'metrics' / 'graph.jsonl')
    self._own = socket.gethostname(), os.getpid()
    self._meta_file = path / 'meta.json'
    self._noted = 0.0  # When the file that was read was written.
    self._roots: Mapping[str, int] = {}
    self._usage = _Usage()
    self._watchdog = watchdog.Watchdog(watchdog_seconds)
    self._is_fatal = watchdog_action == 'stop'
    self._lock = threading.Lock()
    self._pushed: dict[str, tuple[float, Mapping[str, Any]]] = {}
    self._tables: tuple[float, Mapping[str, Any]] = (-math.inf, {})

  def push(self, name: str, figures: Mapping[str, Any]) -> bool:
    """Takes a node's figures.

    Args:
      name: Of the node, `<group>/<index>`.
      figures: See `recording`; and `process`, as of 'processes' there, of a
        node whose process is not seen here.

    Returns:
      Whether it is: a node on another machine has to look after its own.
    """
    with self._lock:
      self._pushed[name] = time.monotonic(), figures
    # As a thread of this process it has none of its own.
    is_thread = (figures.get('host'), figures.get('pid')) == self._own
    return is_thread or name in self._roots

  def push_tables(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Takes what the tables of the Reverb server hold.

    Args:
      tables: See `recording`.
    """
    with self._lock:
      self._tables = time.monotonic(), tables

  def run(self) -> None:
    """Records every second until the program stops.

    Raises:
      watchdog.StuckError: The program is stuck, and that is to end it.
    """
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
      pushed = dict(self._pushed)
      told_at, tables = self._tables
    self._note()
    processes = {
      name: figures['process']
      for name, (_, figures) in pushed.items()
      if figures.get('process')
    }
    self._usage.look(self._roots)
    return {
      'time': time.time(),
      'start': self._start,
      'nodes': {
        name: {
          **{k: v for k, v in figures.items() if k not in ('process', 'pid')},
          'age_seconds': round(now - at, 3),
        }
        for name, (at, figures) in sorted(pushed.items())
      },
      'tables': tables if now - told_at <= _FRESH_SECONDS else None,
      'processes': {**processes, **self._usage.read()},
      'machine': _machine(),
    }

  def _note(self) -> None:
    """Reads which processes of this machine are the nodes'."""
    with contextlib.suppress(OSError, ValueError):
      written = self._meta_file.stat().st_mtime
      if written != self._noted:
        meta = json.loads(self._meta_file.read_text(encoding='utf-8'))
        self._roots, self._noted = meta.get('processes') or {}, written


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
  """CPU time and memory of processes of this machine."""

  def __init__(self) -> None:
    self._roots: Mapping[str, int] = {}
    self._members: dict[str, list[psutil.Process]] = {}
    self._ticks = 0

  def look(self, roots: Mapping[str, int]) -> None:
    """Looks, every now and then, which processes there are.

    Args:
      roots: Node -> its process id.
    """
    if self._ticks % _CHILDREN_TICKS == 0 or roots != self._roots:
      self._roots, self._ticks = dict(roots), 0
      self._members = _families(roots)
    self._ticks += 1

  def read(self) -> dict[str, dict[str, float]]:
    """Node -> its figures; see `recording`."""
    figures = {}
    for name, members in self._members.items():
      cpu = rss = 0.0
      for process in members:
        with contextlib.suppress(psutil.Error), process.oneshot():
          times = process.cpu_times()
          cpu += sum(times[:4])  # Of children that have ended as well.
          rss += process.memory_info().rss
      if rss:
        figures[name] = {'cpu_seconds': round(cpu, 2), 'rss_bytes': int(rss)}
    return figures


def _families(roots: Mapping[str, int]) -> dict[str, list[psutil.Process]]:
  """Node -> its process and all below that."""
  if not roots:
    return {}
  processes = {process.pid: process for process in psutil.process_iter()}
  below: dict[int, list[int]] = {}
  for pid, process in processes.items():
    with contextlib.suppress(psutil.Error):
      below.setdefault(process.ppid(), []).append(pid)

  def family(pid: int) -> Iterator[psutil.Process]:
    if pid in processes:
      yield processes[pid]
      for child in below.get(pid, ()):
        yield from family(child)

  return {name: list(family(pid)) for name, pid in roots.items()}
