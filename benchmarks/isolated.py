"""A component of the program in its own process, idle between measurements."""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import process as pools
from typing import Any, NamedTuple

import psutil

from benchmarks import trial
from programs import nodes
from programs import program as impala
from programs.runs import run_config

# Component -> group whose threads and environment it gets; see `workloads`.
_GROUPS = {
  'environment': nodes.ACTOR,
  'forward_pass': nodes.ACTOR,
  'learner': nodes.LEARNER,
  'unrolls': nodes.ACTOR,
  'variables': nodes.ACTOR,
}

_units: Iterator[Mapping[str, Any]]  # Of this process's component.


class Cost(NamedTuple):
  """Cost of a slice of work."""

  agent_steps: float
  cpu_seconds: float  # Of all threads and child processes.
  wall_seconds: float


class Component(contextlib.AbstractContextManager):
  """Component of a kind in `_GROUPS`."""

  def __init__(
    self, kind: str, configuration: run_config.Configuration
  ) -> None:
    self._kind = kind
    # Keeps warnings of Reverb off the terminal.
    self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115
    self._process = futures.ProcessPoolExecutor(
      1, multiprocessing.get_context('spawn'), _begin, (self._log.name,)
    )
    resources = impala.make_resources(configuration)[_GROUPS[kind]]
    before = dict(os.environ)
    os.environ.update({name: str(text) for name, text in resources.env.items()})
    try:
      self._facts = self._process.submit(_make, kind, configuration)
    finally:
      os.environ.clear()
      os.environ.update(before)

  def facts(self) -> Mapping[str, Any]:
    """Wait until it is ready; return its facts."""
    return self._result(self._facts)

  def __exit__(self, *exception: object) -> None:
    with contextlib.suppress(pools.BrokenProcessPool):
      self._process.submit(_end)
    self._process.shutdown()
    self._log.close()

  def _result(self, answer: futures.Future) -> Any:
    try:
      return answer.result()
    except Exception as error:
      output = self._log.read().decode(errors='replace')[-2000:]
      raise trial.TrialError(
        f'{self._kind} could not be measured: {error!r}\n{output}'
      ) from error

  @staticmethod
  def work(copies: Sequence['Component'], seconds: float) -> Cost:
    """Let copies work at the same time, for one unit at least."""
    answers = [each._process.submit(_work, seconds) for each in copies]
    costs = [
      each._result(answer) for each, answer in zip(copies, answers, strict=True)
    ]
    steps, cpu_seconds, wall_seconds = zip(*costs, strict=True)
    return Cost(sum(steps), sum(cpu_seconds), max(wall_seconds))


def _begin(log: str) -> None:
  os.setpgrp()  # Ctrl-C in a terminal, at which Reverb's threads would hang.
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  file = os.open(log, os.O_WRONLY | os.O_APPEND)
  os.dup2(file, 1)
  os.dup2(file, 2)
  end_with_parent()


def end_with_parent() -> None:
  """End this process when its parent has ended."""
  parent = multiprocessing.parent_process()
  assert parent is not None

  def wait() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


def _make(
  kind: str, configuration: run_config.Configuration
) -> Mapping[str, Any]:
  global _units
  from benchmarks import workloads  # Imports TensorFlow.

  _units = getattr(workloads, kind)(configuration)
  return next(_units)


def _work(seconds: float) -> Cost:
  steps, began, cpu = 0, time.monotonic(), _cpu_seconds()
  while not steps or time.monotonic() < began + seconds:
    steps += next(_units)['agent_steps']
  return Cost(steps, _cpu_seconds() - cpu, time.monotonic() - began)


def _cpu_seconds() -> float:
  """Return the CPU time of this process and its children."""
  children = psutil.Process().children(recursive=True)
  times = [child.cpu_times() for child in children]
  return time.process_time() + sum(each.user + each.system for each in times)


def _end() -> None:
  with contextlib.suppress(NameError):
    _units.close()  # type: ignore[attr-defined]
  # Threads of Reverb and TensorFlow may still wait.
  os._exit(0)
