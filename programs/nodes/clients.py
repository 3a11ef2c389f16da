"""Clients of other nodes: calls that wait, and variables."""

import collections
import threading
from collections.abc import Sequence
from typing import Any

import acme
import courier
import numpy as np

from programs.runs import run_config

_PAUSE_SECONDS = 0.2
_NO_ANSWER = ('DEADLINE_EXCEEDED', 'UNAVAILABLE')  # The learner may come up.


class Stopped(Exception):
  """The program stops."""


class NodeClient(acme.VariableSource):
  """Calls a node that serves variables; waits for it until `stop` is set."""

  def __init__(self, client: courier.Client, stop: threading.Event) -> None:
    self._client = client
    self._stop = stop

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    return self.call('get_variables', names)

  def call(self, method: str, *arguments: Any) -> Any:
    """Call until there is an answer; a call may arrive more than once.

    Raises:
      Stopped: The program stops.
    """
    while not self._stop.is_set():
      try:
        return getattr(self._client, method)(*arguments)
      except Exception as error:  # Courier's own type, which nothing exports.
        code = getattr(error, 'code', None)
        if getattr(code, 'name', '') not in _NO_ANSWER:
          raise
    raise Stopped

  def pause(self) -> None:
    """Pause before the next call.

    Raises:
      Stopped: The program stops.
    """
    if self._stop.wait(_PAUSE_SECONDS):
      raise Stopped


class NewestVariables(acme.VariableSource):
  """Fetches variables only when the learner has a new version."""

  def __init__(self, learner: acme.VariableSource) -> None:
    self._learner = learner
    self._version: list[int] = []
    self._variables: Sequence[np.ndarray] = ()

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """Return the newest `policy`; the same arrays while there is none newer."""
    (version,) = self._learner.get_variables(['version'])
    if [int(number) for number in version] != self._version:
      version, self._variables = self._learner.get_variables(
        ['version', *names]
      )
      self._version = [int(number) for number in version]
    return [self._variables]


class LaggedVariables(acme.VariableSource):
  """Delays variables on purpose, by a number of learner steps.

  Returned variables are `lag` learner steps older than the newest, or slightly
  more where fetches are rarer; younger ones are kept for later.
  """

  def __init__(self, source: acme.VariableSource, lag: int) -> None:
    self._source = source
    self._lag = lag
    self._answers: collections.deque[list[Sequence[np.ndarray]]] = (
      collections.deque()
    )

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """Fetch the newest; return those old enough, or else the oldest."""
    answer = self._source.get_variables(names)
    if not self._answers or _step(answer) != _step(self._answers[-1]):
      self._answers.append(answer)
    old_enough = _step(answer) - self._lag
    while len(self._answers) > 1 and _step(self._answers[1]) <= old_enough:
      self._answers.popleft()
    return self._answers[0]


def _step(answer: list[Sequence[np.ndarray]]) -> int:
  """Return the learner step, the last array of 'policy'."""
  return int(answer[0][-1])


def acting_variables(
  configuration: run_config.Configuration, learner: acme.VariableSource
) -> acme.VariableSource:
  """Return a source of the newest variables, or of delayed ones."""
  source = NewestVariables(learner)
  steps = configuration.agent.extra_policy_lag
  return LaggedVariables(source, steps) if steps else source
