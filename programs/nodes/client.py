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

# The program's groups.
QUEUE, LEARNER, ACTOR, EVALUATOR = 'queue', 'learner', 'actor', 'evaluator'
INFERENCE, MONITOR, EXAMINER = 'inference', 'monitor', 'examiner'

_PAUSE_SECONDS = 0.2
_NO_ANSWER = ('DEADLINE_EXCEEDED', 'UNAVAILABLE')  # The learner may come up.


class Stopped(Exception):
  """The program stops."""


class NodeClient(acme.VariableSource):
  """Calls a node that serves variables; waits for it, until `stop`."""

  def __init__(self, client: courier.Client, stop: threading.Event) -> None:
    self._client = client
    self._stop = stop

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
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
