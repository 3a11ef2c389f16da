"""Job: has nodes of a program run on this machine as long as it lives.

The program's launcher, here or elsewhere, starts and restarts the nodes through
the worker that all jobs of this machine share.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from programs.launching import job_folder, ports, tasks

_WORKER = 'programs.launching.worker'  # It imports Ray, which jobs do not need.
_POLL_SECONDS = 0.3
_ON_WAIT_SECONDS = 10.0
_CLOSING_SECONDS = 2.0
_WORKER_PAUSE_SECONDS = 5.0  # Between two starts.


class JobError(Exception):
  """No run began for a job, or it has no such nodes."""


def run(
  head: str,
  address: str,
  nodes: Sequence[str],
  on_run: Callable[[Mapping[str, Any]], Mapping[str, str]],
  on_wait: Callable[[str], None],
  timeout_seconds: float,
) -> Mapping[str, str]:
  """Offer nodes to every run that begins, until one has ended.

  Args:
    head: 'host:port' of the cluster's head.
    address: This machine's address in its network.
    nodes: Names, `<group>/<index>`.
    on_run: Called with the configuration of a run; returns variables
      for the nodes' processes. An exception ends the job.
    on_wait: Called every ten seconds with what the job waits for.
    timeout_seconds: Time to wait for a run.

  Returns:
    'kind' and 'reason' of the end of the run.

  Raises:
    JobError: There was no run in time, or it has no such nodes.
    PermissionError: The folder that jobs share is another user's.
  """
  job = _Job(head, address, nodes)
  seen_at, reported_at = time.monotonic(), -float('inf')
  try:
    while (info := job.poll()).outcome is None:
      now = time.monotonic()
      if info.run_id:
        seen_at = now
        reason = job.offer(info, on_run)
      else:
        reason = info.error
      if now - seen_at > timeout_seconds:
        raise JobError(
          f'no run began at {head} within {timeout_seconds:g} s ({reason})'
        )
      if reason and now - reported_at > _ON_WAIT_SECONDS:
        reported_at = now
        on_wait(reason)
      time.sleep(_POLL_SECONDS)
    return info.outcome
  finally:
    job.close()


class _Job:
  def __init__(self, head: str, address: str, nodes: Sequence[str]) -> None:
    self._head, self._address, self._nodes = head, address, nodes
    self._folder = job_folder.JobFolder(head, address)
    self._locks: dict[str, int] = {}
    self._offered: set[str] = set()
    self._run_id = ''  # Of the run that those are offered to.
    self._environment: Mapping[str, str] = {}
    self._worker_started_at = -float('inf')

  def poll(self) -> job_folder.RunInfo:
    """Lock free nodes, keep a worker running, and return what that knows."""
    for node in self._nodes:
      if node not in self._locks:
        lock = self._folder.lock_node(node)
        if lock is not None:
          self._locks[node] = lock
    lock = self._folder.lock_worker()
    if lock is None:
      return self._folder.read_run()
    try:
      error = ports.connection_error(self._head)
      if error is not None:
        return job_folder.RunInfo(str(error))
      # Of a worker that has ended only the error counts.
      info = self._folder.read_run()
      if time.monotonic() - self._worker_started_at > _WORKER_PAUSE_SECONDS:
        self._worker_started_at = time.monotonic()
        self._start_worker(lock)
      return job_folder.RunInfo(info.error)
    finally:
      os.close(lock)

  def offer(
    self,
    info: job_folder.RunInfo,
    on_run: Callable[[Mapping[str, Any]], Mapping[str, str]],
  ) -> str:
    """Offer all locked nodes to a run; return which nodes run elsewhere."""
    if info.run_id != self._run_id:
      unknown = sorted(set(self._nodes) - set(info.nodes))
      if unknown:
        raise JobError(
          f'the run has no {", ".join(unknown)} for jobs, only '
          f'{", ".join(info.nodes)}'
        )
      self._environment = on_run(info.config)
      self._run_id = info.run_id
      self._offered.clear()
    for node in set(self._locks) - self._offered:
      self._folder.offer(self._locks[node], self._run_id, self._environment)
      self._offered.add(node)
    here = 'in another job of this machine'
    taken = {node: here for node in self._nodes if node not in self._locks}
    taken |= {node: f'on {address}' for node, address in info.taken.items()}
    return '; '.join(f'{node} runs already {at}' for node, at in taken.items())

  def close(self) -> None:
    """Release all nodes, and wait for the worker if this was its last job."""
    for lock in self._locks.values():
      os.close(lock)
    deadline = time.monotonic() + _CLOSING_SECONDS
    while not self._folder.read_offers() and time.monotonic() < deadline:
      worker = self._folder.lock_worker()
      if worker is not None:
        self._folder.remove_if_unused()
        os.close(worker)
        return
      time.sleep(_POLL_SECONDS)

  def _start_worker(self, lock: int) -> None:
    """Start the worker, which inherits the lock and outlives this job."""
    self._folder.write_run(job_folder.RunInfo('this machine is joining'))
    with open(self._folder.path / 'worker.log', 'ab') as log:
      subprocess.Popen(
        [sys.executable, '-m', _WORKER, self._head, self._address],
        cwd='/',
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(tasks.import_path())},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=[lock],
        start_new_session=True,
      )
