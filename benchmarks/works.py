"""What is measured in slices, and what a slice takes."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from benchmarks import stations
from programs import runs

_WARM_UNITS = 2  # The first builds a function, the second its buffers.
_SLICES = 3


class Cost(NamedTuple):
  """What a stretch of work took.

  Attributes:
    agent_steps: That it was for.
    cpu_seconds: Of all threads.
    wall_seconds: On the clock.
  """

  agent_steps: float
  cpu_seconds: float
  wall_seconds: float

  @property
  def cpu_ms(self) -> float:
    """CPU milliseconds of an agent step."""
    return 1000 * self.cpu_seconds / self.agent_steps

  @property
  def wall_ms(self) -> float:
    """The same on the clock."""
    return 1000 * self.wall_seconds / self.agent_steps


class Work(Protocol):
  """What can be measured in slices."""

  @property
  def name(self) -> str:
    """For people and for the JSON object."""

  def run(self, seconds: float) -> Mapping[str, Cost]:
    """Works about so long; what it took, by who took it ('' if it is one)."""


class Alone:
  """One part, or several of the same at the same time."""

  def __init__(
    self, name: str, copies: Sequence[stations.Station], variant: str = ''
  ) -> None:
    self.name = name
    self._copies = copies
    self._variant = variant
    self._is_warm = False

  def run(self, seconds: float) -> Mapping[str, Cost]:
    """See `Work`."""
    if not self._is_warm:
      self._work(count=_WARM_UNITS)
      self._is_warm = True
    answers = self._work(seconds=seconds)
    steps = self._copies[0].facts['agent_steps']
    of_unit = steps[self._variant] if isinstance(steps, Mapping) else steps
    return {
      '': Cost(
        of_unit * sum(answer['count'] for answer in answers),
        sum(answer['cpu_seconds'] for answer in answers),
        max(answer['wall_seconds'] for answer in answers),
      )
    }

  def _work(self, **wanted: Any) -> list[Mapping[str, Any]]:
    for station in self._copies:
      station.begin(self._variant, **wanted)
    return stations.gather(self._copies)


class Transport:
  """A writer, the queue and the reader, each in a process of its own.

  Writer and reader work at the same time, for the same number of unrolls, so
  that neither waits for ever.
  """

  def __init__(
    self, name: str, pool: stations.Pool, configuration: runs.Configuration
  ) -> None:
    """Starts the queue.

    Args:
      name: See `Work`.
      pool: Has the processes.
      configuration: Of the run whose unrolls are written.
    """
    self.name = name
    self._pool = pool
    self._queue = pool.station('queue', configuration)
    self._configuration = configuration
    self._ends: list[stations.Station] = []
    self._seconds_of_round = 0.0

  @property
  def unroll_bytes(self) -> int:
    """Of an unroll as it is written, before it is compressed."""
    return self._connected()[0].facts['unroll_bytes']

  def run(self, seconds: float) -> Mapping[str, Cost]:
    """See `Work`; who: 'writer', 'queue' and 'reader'."""
    if not self._seconds_of_round:
      self._work(1)  # Makes connections.
      self._seconds_of_round = self._work(1)['queue'].wall_seconds
    rounds = max(1, round(seconds / self._seconds_of_round))
    return self._work(rounds)

  def _connected(self) -> list[stations.Station]:
    """Writer and reader."""
    if not self._ends:
      address = self._queue.facts['address']
      self._ends = [
        self._pool.station(kind, self._configuration, address=address)
        for kind in ('writer', 'reader')
      ]
    return self._ends

  def _work(self, rounds: int) -> dict[str, Cost]:
    ends = self._connected()
    each = [int(station.facts['agent_steps']) for station in ends]
    steps = math.lcm(*each) * rounds
    cpu = self._queue.cpu_seconds
    for station, of_unit in zip(ends, each, strict=True):
      station.begin(count=steps // of_unit)
    writer, reader = stations.gather(ends)
    seconds = max(writer['wall_seconds'], reader['wall_seconds'])
    return {
      'writer': Cost(steps, writer['cpu_seconds'], seconds),
      'queue': Cost(steps, self._queue.cpu_seconds - cpu, seconds),
      'reader': Cost(steps, reader['cpu_seconds'], seconds),
    }


class Fetching:
  """An actor's fetches of variables, and who serves them."""

  def __init__(
    self, name: str, pool: stations.Pool, configuration: runs.Configuration
  ) -> None:
    """Starts the server.

    Args:
      name: See `Work`.
      pool: Has the processes.
      configuration: Of the run whose variables are fetched.
    """
    self.name = name
    self._pool = pool
    self._configuration = configuration
    self._server = pool.station('variable_server', configuration)
    self._client: stations.Station | None = None

  def run(self, seconds: float) -> Mapping[str, Cost]:
    """See `Work`; who: 'actor' and 'learner'."""
    if self._client is None:
      address = self._server.facts['address']
      self._client = self._pool.station(
        'variable_client', self._configuration, address=address
      )
      self._work(count=_WARM_UNITS)
    return self._work(seconds=seconds)

  def _work(self, **wanted: Any) -> dict[str, Cost]:
    assert self._client is not None
    cpu = self._server.cpu_seconds
    self._client.begin(**wanted)
    answer = self._client.end()
    steps = answer['count'] * self._client.facts['agent_steps']
    seconds = answer['wall_seconds']
    return {
      'actor': Cost(steps, answer['cpu_seconds'], seconds),
      'learner': Cost(steps, self._server.cpu_seconds - cpu, seconds),
    }


def slices(
  works: Sequence[Work], seconds: float
) -> dict[str, dict[str, list[Cost]]]:
  """Measures in turns, so that a machine that gets busy is busy for all.

  Args:
    works: What is measured.
    seconds: For all together, about.

  Returns:
    Name -> who -> a cost for each slice.
  """
  costs: dict[str, dict[str, list[Cost]]] = {}
  each = seconds / (_SLICES * len(works))
  for number in range(_SLICES):
    for work in works if number % 2 == 0 else reversed(works):
      for who, cost in work.run(each).items():
        costs.setdefault(work.name, {}).setdefault(who, []).append(cost)
  return costs


def cpu_ms(costs: Sequence[Cost]) -> float:
  """Median over slices, CPU milliseconds of an agent step."""
  return statistics.median(cost.cpu_ms for cost in costs)
