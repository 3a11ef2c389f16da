"""What the nodes of the program share.

What runs in a node takes plain arguments and clients of other nodes, so that it
can be started in a thread, in a process or on another machine.
"""

import threading
from collections.abc import Sequence
from typing import Any

import acme
import courier
import numpy as np
import reverb

import environments
from agents.impala import networks
from agents.impala import unrolls as unrolls_lib
from programs import runs
from programs.inspection import milestones

# The program's groups.
QUEUE, LEARNER, ACTOR, EVALUATOR = 'queue', 'learner', 'actor', 'evaluator'
INFERENCE, MONITOR, EXAMINER = 'inference', 'monitor', 'examiner'

_PAUSE_SECONDS = 0.2
_NO_ANSWER = ('DEADLINE_EXCEEDED', 'UNAVAILABLE')  # The learner may come up.


def make_model(
  configuration: runs.Configuration,
) -> tuple[networks.ImpalaNetwork, unrolls_lib.Unroll]:
  """Builds the run's network, and the signature of the unrolls it acts."""
  spec = environments.spec(
    configuration.run.level_name, configuration.environment
  )
  num_actions = spec.actions.num_values
  network = networks.make_network(
    configuration.agent, spec.observations, num_actions
  )
  signature = unrolls_lib.make_signature(
    configuration.agent,
    spec.observations,
    num_actions,
    network.initial_state(1),
  )
  return network, signature


def make_tables(configuration: runs.Configuration) -> list[reverb.Table]:
  """The tables of the queue node."""
  notes = milestones.Notes(configuration.directory.path, f'{QUEUE}/0')
  notes.begin()
  _, signature = make_model(configuration)
  notes.reach('network_made')
  return unrolls_lib.make_tables(configuration.agent, signature)


class Stopped(Exception):
  """The program stops."""


class NodeClient(acme.VariableSource):
  """Calls a node that serves variables; waits for it, but not after a stop."""

  def __init__(self, client: courier.Client, stop: threading.Event) -> None:
    """Wraps a client whose calls time out.

    Args:
      client: Of the node.
      stop: Ends the waiting.
    """
    self._client = client
    self._stop = stop

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`.

    Raises:
      Stopped: The program stops.
    """
    return self.call('get_variables', names)

  def call(self, method: str, *arguments: Any) -> Any:
    """Calls until there is an answer: a call may arrive more than once.

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
    """Lets a moment pass before the next call.

    Raises:
      Stopped: The program stops.
    """
    if self._stop.wait(_PAUSE_SECONDS):
      raise Stopped
