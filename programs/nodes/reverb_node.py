"""The queue as a node of a Launchpad program.

As Launchpad's own `ReverbNode`, but for two things. It can be given handles
itself, so that it tells what its tables hold. And whoever wires, draws or
launches the program imports no Reverb, which takes TensorFlow along.
"""

from collections.abc import Callable
from typing import Any

import launchpad as lp
from launchpad.nodes import base


class QueueHandle(base.Handle):
  """Becomes a `reverb.Client` in the node that is given it."""

  def __init__(self, address: lp.Address) -> None:
    """Takes the server's address, which need not be known yet."""
    self._address = address

  def dereference(self) -> Any:
    """Connects to the server."""
    import reverb  # Here: see above.

    return reverb.Client(self._address.resolve())


class QueueNode(lp.PyClassNode):
  """Constructs a server and has it serve, at an address of its own."""

  def __init__(self, constructor: Callable[..., Any], *args: Any) -> None:
    super().__init__(constructor, *args)
    self._address = lp.Address('reverb')
    self.allocate_address(self._address)

  @property
  def reverb_address(self) -> lp.Address:
    """Of the server."""
    return self._address

  def create_handle(self) -> QueueHandle:
    """What leads other nodes to it."""
    return self._track_handle(QueueHandle(self._address))

  def run(self) -> None:
    """Runs in the node's process."""
    server = self._construct_instance()
    server.serve(lp.get_port_from_address(self._address.resolve()))
