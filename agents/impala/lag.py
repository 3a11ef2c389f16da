"""Policy lag on purpose: actors that act with old variables."""

import collections
from collections.abc import Sequence

import acme
import numpy as np


class LaggedVariables(acme.VariableSource):
  """Holds variables back until they are old enough.

  What is given is `lag` learner steps older than what is fetched, or the least
  more that the fetches allow; every younger answer is kept.
  """

  def __init__(self, source: acme.VariableSource, lag: int) -> None:
    self._source = source
    self._lag = lag
    self._answers: collections.deque[list[Sequence[np.ndarray]]] = (
      collections.deque()
    )

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """Fetches what there is; returns what is old enough, or the oldest."""
    answer = self._source.get_variables(names)
    if not self._answers or _step(answer) != _step(self._answers[-1]):
      self._answers.append(answer)
    old_enough = _step(answer) - self._lag
    while len(self._answers) > 1 and _step(self._answers[1]) <= old_enough:
      self._answers.popleft()
    return self._answers[0]


def _step(answer: list[Sequence[np.ndarray]]) -> int:
  """The learner step, which is the last 'policy' array."""
  return int(answer[0][-1])
