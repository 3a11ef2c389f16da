"""A Launchpad node with a Reverb server.

Unlike Launchpad's `ReverbNode` it takes handles of other nodes, to report to
the monitor, and wiring it does not import Reverb, which imports TensorFlow.
"""

from collections.abc import Callable
from typing import Any

import launchpad as lp
from launchpad.nodes import base


class QueueHandle(base.Handle):
  """Becomes a `reverb.Client` in the node that gets it."""

  def __init__(self, address: lp.Address) -> None:
    """Take the server's address, which may be unresolved."""
    self._address = address

  def dereference(self) -> Any:
    """Connect to the server."""
    import reverb  # Here: see above.

    return reverb.Client(self._address.resolve())


class QueueNode(lp.PyClassNode):
  """Constructs a server and calls its `serve(port)`."""

  def __init__(self, constructor: Callable[..., Any], *args: Any) -> None:
    super().__init__(constructor, *args)
    self._address = lp.Address('reverb')
    self.allocate_address(self._address)

  @property
  def reverb_address(self) -> lp.Address:
    """Address of the server."""
    return self._address

  def create_handle(self) -> QueueHandle:
    """Return a handle for other nodes."""
    return self._track_handle(QueueHandle(self._address))

  def run(self) -> None:
    """Serve, in the node's process."""
    server = self._construct_instance()
    server.serve(lp.get_port_from_address(self._address.resolve()))
