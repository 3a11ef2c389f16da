"""Registry of the workers of a cluster: a Ray actor.

Each cluster has one, under a fixed name, as long as its launcher lives.
"""

import dataclasses
import time
from collections.abc import Mapping

import ray

from programs.launching import job_folder

NAME = NAMESPACE = 'launching'

# A worker without a heartbeat for so long is lost, whatever Ray says. Its nodes
# have ended by then: see `executor.Executor`.
_LOST_SECONDS = 17.0


@dataclasses.dataclass(frozen=True)
class Assignment:
  """Machine (Ray's id) that runs a node, with variables for its process."""

  machine: str
  address: str
  environment: Mapping[str, str]


class WorkerRegistry:
  """Registry of workers, which assigns to them the nodes that they offer."""

  def __init__(self, run: job_folder.RunInfo) -> None:
    """Start without workers; `run` is the answer to their heartbeats."""
    self._run = run
    self._assignments: dict[str, Assignment] = {}
    self._heard_at: dict[str, float] = {}

  def heartbeat(
    self,
    machine: str,
    address: str,
    environments: Mapping[str, Mapping[str, str]],
  ) -> job_folder.RunInfo:
    """Update the offers of a worker; it calls this about once a second.

    A worker is known by Ray's id of its machine. `environments` is offered
    node -> variables of its process. Returns the run, with those of the offered
    nodes that other machines run.
    """
    self._heard_at[machine] = time.monotonic()
    self._remove_lost()
    taken = {}
    for node, assignment in list(self._assignments.items()):
      if assignment.machine == machine:
        del self._assignments[node]
      elif node in environments:
        taken[node] = assignment.address
    for node, environment in environments.items():
      if node not in taken and node in self._run.nodes:
        self._assignments[node] = Assignment(machine, address, environment)
    return dataclasses.replace(self._run, taken=taken)

  def assignments(self) -> dict[str, Assignment]:
    """Return node -> machine that is to run it."""
    self._remove_lost()
    return self._assignments

  def end(self, kind: str, reason: str) -> None:
    """Tell workers from now on how the run ended; see `outcomes.Outcome`."""
    outcome = {'kind': kind, 'reason': reason}
    self._run = dataclasses.replace(self._run, outcome=outcome)

  def remove(self, machine: str) -> None:
    """Remove a worker and its assignments, by Ray's id of its machine."""
    self._heard_at.pop(machine, None)
    self._assignments = {
      node: assignment
      for node, assignment in self._assignments.items()
      if assignment.machine != machine
    }

  def num_workers(self) -> int:
    """Return the number of workers with a recent heartbeat."""
    self._remove_lost()
    return len(self._heard_at)

  def _remove_lost(self) -> None:
    alive = {found['NodeID'] for found in ray.nodes() if found['Alive']}
    now = time.monotonic()
    for machine, heard_at in list(self._heard_at.items()):
      if machine not in alive or now - heard_at > _LOST_SECONDS:
        self.remove(machine)
