"""A job: has nodes of a program run on this machine as long as it lives.

The program's coordinator, elsewhere or here, starts and restarts them, through
the worker that this machine's jobs share.
"""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from programs.launching import ports, slots, tasks

_WORKER = 'programs.launching.worker'  # It imports Ray, which a job need not.
_POLL_SECONDS = 0.3
_NOTE_SECONDS = 10.0
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
  folder = slots.Folder(cluster, machine)
  held: dict[str, int] = {}
  offered: set[str] = set()
  environment: Mapping[str, str] = {}
  joined = ''
  known_at = time.monotonic()
  noted_at = worker_at = -float('inf')
  try:
    while True:
      now = time.monotonic()
      for node in nodes:
        if node not in held and (lock := folder.lock_node(node)) is not None:
          held[node] = lock
      lock = folder.lock_worker()
      if lock is not None:
        trouble = ports.find_trouble(cluster)
        state = slots.State(str(trouble or folder.read().trouble))
        if trouble is None and now - worker_at > _WORKER_PAUSE_SECONDS:
          worker_at = now
          folder.write(slots.State('this machine is joining'))
          _start_worker(cluster, machine, lock, folder.path)
        os.close(lock)
      else:
        state = folder.read()
      if state.over is not None:
        return state.over
      waits = [f'{n} runs already, here' for n in nodes if n not in held]
      if state.run:
        known_at = now
        if state.run != joined:
          unknown = sorted(set(nodes) - set(state.nodes))
          if unknown:
            raise JobError(
              f'it has no {", ".join(unknown)} for others to run, but '
              f'{", ".join(state.nodes)}'
            )
          environment = on_run(state.said)
          joined = state.run
          offered.clear()
        for node in set(held) - offered:
          folder.offer(held[node], joined, environment)
          offered.add(node)
        waits += [f'{n} runs already, on {at}' for n, at in state.taken.items()]
      else:
        waits = [state.trouble]
      if now - known_at > patience_seconds:
        raise JobError(
          f'no run began at {cluster} for {patience_seconds:g} s '
          f'({state.trouble})'
        )
      if waits and now - noted_at > _NOTE_SECONDS:
        noted_at = now
        on_wait('; '.join(waits))
      time.sleep(_POLL_SECONDS)
  finally:
    for lock in held.values():
      os.close(lock)
    lock = folder.lock_worker()
    if lock is not None:
      folder.close()
      os.close(lock)


def _start_worker(
  cluster: str, machine: str, lock: int, folder: pathlib.Path
) -> None:
  """Starts the machine's worker, which outlives this job.

  Args:
    cluster: 'host:port' of its head.
    machine: This one's address.
    lock: The worker's file, which stays locked while the worker lives.
    folder: Takes its log.
  """
  with open(folder / 'worker.log', 'ab') as log:
    subprocess.Popen(
      [sys.executable, '-m', _WORKER, cluster, machine],
      cwd='/',
      env={**os.environ, 'PYTHONPATH': os.pathsep.join(tasks.import_path())},
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      pass_fds=[lock],
      start_new_session=True,
    )
