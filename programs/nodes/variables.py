"""What actors act with: the learner's variables, fetched when it has newer."""

from collections.abc import Sequence

import acme
import numpy as np

from agents.impala import lag
from programs.runs import runs


class NewestVariables(acme.VariableSource):
  """Asks for the version of the variables, and for them where it is another."""

  def __init__(self, learner: acme.VariableSource) -> None:
    self._learner = learner
    self._version: list[int] = []
    self._variables: Sequence[np.ndarray] = ()

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """The newest `policy`; the same arrays while there is none newer."""
    (version,) = self._learner.get_variables(['version'])
    if [int(number) for number in version] != self._version:
      version, self._variables = self._learner.get_variables(
        ['version', *names]
      )
      self._version = [int(number) for number in version]
    return [self._variables]


def acting_variables(
  configuration: runs.Configuration, learner: acme.VariableSource
) -> acme.VariableSource:
  """What is acted with: the newest variables, or older ones if so asked."""
  source = NewestVariables(learner)
  steps = configuration.agent.extra_policy_lag
  return lag.LaggedVariables(source, steps) if steps else source
