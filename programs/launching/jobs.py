"""A job: has nodes of a program run on this machine as long as it lives.

The program's coordinator, elsewhere or here, starts and restarts them, through
the worker that this machine's jobs share.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from programs.launching import ports, slots, tasks

_WORKER = 'programs.launching.worker'  # It imports Ray, which a job need not.
_POLL_SECONDS = 0.3
_NOTE_SECONDS = 10.0
_PARTING_SECONDS = 2.0
_WORKER_PAUSE_SECONDS = 5.0  # From one start to the next.


class JobError(Exception):
  """There is no run for a job, or it has no such nodes."""


def run(
  cluster: str,
  machine: str,
  nodes: Sequence[str],
  on_run: Callable[[Mapping[str, Any]], Mapping[str, str]],
  on_wait: Callable[[str], None],
  patience_seconds: float,
) -> Mapping[str, str]:
  """Offers nodes to every run that begins, until one has ended.

  Args:
    cluster: 'host:port' of its head.
    machine: This one's address in its network.
    nodes: `<group>/<index>`.
    on_run: Called with what the coordinator of a run says; returns variables of
      the nodes' processes. What it raises ends the job.
    on_wait: Called every ten seconds with what is waited for.
    patience_seconds: How long a run is waited for.

  Returns:
    'kind' and 'reason' of the end of the run.

  Raises:
    JobError: There was no run for so long, or it has no such nodes.
    PermissionError: The folder that jobs share is another user's.
  """
  job = _Job(cluster, machine, nodes)
  known_at, noted_at = time.monotonic(), -float('inf')
  try:
    while (state := job.look()).over is None:
      now = time.monotonic()
      if state.run:
        known_at = now
        waits = job.offer(state, on_run)
      else:
        waits = state.trouble
      if now - known_at > patience_seconds:
        raise JobError(
          f'no run began at {cluster} for {patience_seconds:g} s ({waits})'
        )
      if waits and now - noted_at > _NOTE_SECONDS:
        noted_at = now
        on_wait(waits)
      time.sleep(_POLL_SECONDS)
    return state.over
  finally:
    job.close()


class _Job:
  def __init__(self, cluster: str, machine: str, nodes: Sequence[str]) -> None:
    self._cluster, self._machine, self._nodes = cluster, machine, nodes
    self._folder = slots.Folder(cluster, machine)
    self._held: dict[str, int] = {}
    self._offered: set[str] = set()
    self._run = ''  # What those are offered for.
    self._environment: Mapping[str, str] = {}
    self._worker_at = -float('inf')

  def look(self) -> slots.State:
    """Locks what is free, has a worker run, and returns what that knows."""
    for node in self._nodes:
      if node not in self._held:
        lock = self._folder.lock_node(node)
        if lock is not None:
          self._held[node] = lock
    lock = self._folder.lock_worker()
    if lock is None:
      return self._folder.read()
    try:
      trouble = ports.connection_error(self._cluster)
      if trouble is not None:
        return slots.State(str(trouble))
      # The last words of the one before, or what this one says from now on.
      state = self._folder.read()
      if time.monotonic() - self._worker_at > _WORKER_PAUSE_SECONDS:
        self._worker_at = time.monotonic()
        self._start_worker(lock)
      return slots.State(state.trouble)
    finally:
      os.close(lock)

  def offer(
    self,
    state: slots.State,
    on_run: Callable[[Mapping[str, Any]], Mapping[str, str]],
  ) -> str:
    """Offers to a run all that is locked; returns what is waited for."""
    if state.run != self._run:
      unknown = sorted(set(self._nodes) - set(state.nodes))
      if unknown:
        raise JobError(
          f'it has no {", ".join(unknown)} for others to run, but '
          f'{", ".join(state.nodes)}'
        )
      self._environment = on_run(state.said)
      self._run = state.run
      self._offered.clear()
    for node in set(self._held) - self._offered:
      self._folder.offer(self._held[node], self._run, self._environment)
      self._offered.add(node)
    taken = {node: 'here' for node in self._nodes if node not in self._held}
    taken |= {node: f'on {address}' for node, address in state.taken.items()}
    return '; '.join(f'{node} runs already, {at}' for node, at in taken.items())

  def close(self) -> None:
    """Lets go of all, and sees the worker out if this was its last job."""
    for lock in self._held.values():
      os.close(lock)
    deadline = time.monotonic() + _PARTING_SECONDS
    while not self._folder.find() and time.monotonic() < deadline:
      worker = self._folder.lock_worker()
      if worker is not None:
        self._folder.close()
        os.close(worker)
        return
      time.sleep(_POLL_SECONDS)

  def _start_worker(self, lock: int) -> None:
    """Starts the machine's worker, which outlives this job."""
    self._folder.write(slots.State('this machine is joining'))
    with open(self._folder.path / 'worker.log', 'ab') as log:
      subprocess.Popen(
        [sys.executable, '-m', _WORKER, self._cluster, self._machine],
        cwd='/',
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(tasks.import_path())},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=[lock],
        start_new_session=True,
      )
