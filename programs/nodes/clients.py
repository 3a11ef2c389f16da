"""Clients of other nodes: calls that wait, and variables."""

import collections
import threading
from collections.abc import Sequence
from typing import Any

import acme
import courier
import numpy as np

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


class ActingVariables(acme.VariableSource):
  """The learner's newest variables, or older ones for a policy lag on purpose.

  Returned variables are `lag` learner steps older than the newest, or slightly
  more where fetches are rarer. They are fetched once a version.
  """

  def __init__(self, learner: acme.VariableSource, lag: int = 0) -> None:
    self._learner = learner
    self._lag = lag
    self._version: tuple[int, int] | None = None  # Identity, learner step.
    self._kept: collections.deque[tuple[int, Sequence[np.ndarray]]] = (
      collections.deque()
    )

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """Return `policy`; the same arrays while there is no newer version."""
    (version,) = self._learner.get_variables(['version'])
    if _numbers(version) != self._version:
      version, variables = self._learner.get_variables(['version', *names])
      identity, step = _numbers(version)
      if self._version is not None and identity != self._version[0]:
        self._kept.clear()  # The learner was restarted, at an earlier step.
      self._version = identity, step
      self._kept.append((step, variables))
      while len(self._kept) > 1 and self._kept[1][0] <= step - self._lag:
        self._kept.popleft()
    return [self._kept[0][1]]


def _numbers(version: Sequence[np.ndarray]) -> tuple[int, int]:
  identity, step = version
  return int(identity), int(step)
