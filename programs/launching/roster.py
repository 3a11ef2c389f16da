"""Which nodes of a program the workers of a cluster offer to run: a Ray actor.

There is one of a cluster, by name, as long as its coordinator lives.
"""

import dataclasses
import time
from collections.abc import Mapping

import ray

from programs.launching import slots

NAME = NAMESPACE = 'launching'

# A worker that was not heard of for so long has gone, whatever Ray says. What
# it ran has ended by then: see `host.Host`.
_LOST_SECONDS = 17.0


@dataclasses.dataclass(frozen=True)
class Offer:
  """Where a node is to run.

  Attributes:
    machine: Ray's id of it.
    address: Of the machine.
    environment: Variables of the node's process there.
  """

  machine: str
  address: str
  environment: Mapping[str, str]


class Roster:
  """Takes offers, and says what is run."""

  def __init__(self, state: slots.State) -> None:
    """Nobody has offered anything yet; workers are to learn of the run."""
    self._state = state
    self._offers: dict[str, Offer] = {}
    self._heard_at: dict[str, float] = {}

  def offer(
    self,
    machine: str,
    address: str,
    environments: Mapping[str, Mapping[str, str]],
  ) -> slots.State:
    """Takes in all that a worker offers; call it about once a second.

    Args:
      machine: Ray's id of it.
      address: Of the machine.
      environments: Node -> variables of its process.

    Returns:
      What the run is; which of the nodes other machines have, with their
      addresses; and how it ended, once it has.
    """
    self._heard_at[machine] = time.monotonic()
    self._forget_lost()
    taken = {}
    for node, offer in list(self._offers.items()):
      if offer.machine == machine:
        del self._offers[node]
      elif node in environments:
        taken[node] = offer.address
    for node, environment in environments.items():
      if node not in taken and node in self._state.nodes:
        self._offers[node] = Offer(machine, address, environment)
    return dataclasses.replace(self._state, taken=taken)

  def offers(self) -> dict[str, Offer]:
    """Node -> who is to run it."""
    self._forget_lost()
    return self._offers

  def end(self, kind: str, reason: str) -> None:
    """Has all workers learn how the run ended, as `outcomes` has it."""
    over = {'kind': kind, 'reason': reason}
    self._state = dataclasses.replace(self._state, over=over)

  def leave(self, machine: str) -> None:
    """Forgets a worker, by Ray's id of its machine, and what it offers."""
    self._heard_at.pop(machine, None)
    self._offers = {
      node: offer
      for node, offer in self._offers.items()
      if offer.machine != machine
    }

  def is_alone(self) -> bool:
    """Whether no worker is there."""
    self._forget_lost()
    return not self._heard_at

  def _forget_lost(self) -> None:
    alive = {found['NodeID'] for found in ray.nodes() if found['Alive']}
    now = time.monotonic()
    for machine, heard_at in list(self._heard_at.items()):
      if machine not in alive or now - heard_at > _LOST_SECONDS:
        self.leave(machine)
