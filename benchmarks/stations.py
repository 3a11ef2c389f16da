"""Processes that measure one part each, while all others wait."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import trial
from programs import impala, nodes, runs

# Kind of `parts` -> whose threads and environment it gets.
_GROUPS = {
  'environment': nodes.ACTOR,
  'forward_pass': nodes.ACTOR,
  'writer': nodes.ACTOR,
  'variable_client': nodes.ACTOR,
  'queue': nodes.QUEUE,
  'learner': nodes.LEARNER,
  'reader': nodes.LEARNER,
  'variable_server': nodes.LEARNER,
}
_POLL_SECONDS = 1.0
_END_SECONDS = 5.0


class Station:
  """A process of `benchmarks.parts`; it ends with this one."""

  def __init__(
    self, kind: str, configuration: runs.Configuration, **arguments: Any
  ) -> None:
    """Starts the process and does not wait for it.

    Args:
      kind: Of `parts.KINDS`.
      configuration: Of the run that it is a part of.
      **arguments: Of the part, as JSON can hold them.
    """
    told = {
      'kind': kind,
      'configuration': configuration.to_dict(),
      'arguments': arguments,
    }
    resources = impala.make_resources(configuration)[_GROUPS[kind]]
    self._kind = kind
    self._said = tempfile.TemporaryFile('w+')  # noqa: SIM115
    self._facts: Mapping[str, Any] | None = None
    self._process = subprocess.Popen(
      [sys.executable, '-m', 'benchmarks.parts', json.dumps(told)],
      env={
        **os.environ,
        'PYTHONPATH': trial.import_path(),
        **{name: str(value) for name, value in resources.env.items()},
      },
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._said,
      text=True,
      # A terminal's Ctrl-C must reach the benchmark alone.
      start_new_session=True,
    )

  @property
  def facts(self) -> Mapping[str, Any]:
    """What the part says of itself; waits until it is ready."""
    if self._facts is None:
      self._facts = self._read()
    return self._facts

  @property
  def cpu_seconds(self) -> float:
    """CPU time since its start, of a part that only serves others."""
    self.begin(count=0)
    return self.end()['cpu_total']

  def begin(self, variant: str = '', **wanted: float) -> None:
    """Has it work; `wanted` is a `count` of units or so many `seconds`."""
    assert self.facts is not None and self._process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # `end` tells more.
      print(
        json.dumps({'variant': variant, **wanted}),
        file=self._process.stdin,
        flush=True,
      )

  def end(self) -> Mapping[str, Any]:
    """Waits until it has worked; what it took."""
    return self._read()

  def has_answer(self) -> bool:
    """Waits a moment for the answer; whether it is there, or never comes."""
    assert self._process.stdout is not None
    return bool(select.select([self._process.stdout], [], [], _POLL_SECONDS)[0])

  def check(self) -> None:
    """Looks whether the process lives.

    Raises:
      trial.TrialError: It does not.
    """
    if self._process.poll() is not None and self.has_answer():
      self._read()

  def dismiss(self) -> None:
    """Asks the process to end."""
    assert self._process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()

  def close(self, deadline: float) -> None:
    """Waits for the end of the process that was dismissed, or kills it.

    Args:
      deadline: On the monotonic clock.
    """
    try:
      self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    assert self._process.stdout is not None
    self._process.stdout.close()
    self._said.close()

  def _read(self) -> Mapping[str, Any]:
    """The next line of the process.

    Raises:
      trial.TrialError: It has ended.
    """
    assert self._process.stdout is not None
    line = self._process.stdout.readline()
    if not line:
      self._said.seek(0)
      said = self._said.read()[-3000:]
      raise trial.TrialError(f'{self._kind} could not be measured:\n{said}')
    return json.loads(line)


def gather(stations: Sequence[Station]) -> list[Mapping[str, Any]]:
  """What each took; where one has ended, the others may wait for ever.

  Raises:
    trial.TrialError: One has ended.
  """
  answers: list[Mapping[str, Any]] = []
  for index, station in enumerate(stations):
    while not station.has_answer():
      for other in stations[index + 1 :]:
        other.check()
    answers.append(station.end())
  return answers


class Pool:
  """Stations by what they are; a context manager that ends them."""

  def __init__(self) -> None:
    self._stations: dict[str, Station] = {}

  def __enter__(self) -> 'Pool':
    return self

  def __exit__(self, *exception: object) -> None:
    for station in self._stations.values():
      station.dismiss()
    # One that has not yet begun to read does not see that it is dismissed.
    deadline = time.monotonic() + _END_SECONDS
    for station in self._stations.values():
      station.close(deadline)

  def station(
    self,
    kind: str,
    configuration: runs.Configuration,
    copy: int = 0,
    **arguments: Any,
  ) -> Station:
    """The station of a part; the same again for the same arguments.

    Args:
      kind: See `Station`.
      configuration: See `Station`.
      copy: Another number, another process.
      **arguments: See `Station`.
    """
    key = json.dumps([kind, configuration.to_dict(), copy, arguments])
    if key not in self._stations:
      self._stations[key] = Station(kind, configuration, **arguments)
    return self._stations[key]
