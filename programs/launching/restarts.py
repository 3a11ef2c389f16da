"""Limit and exponential backoff of restarts."""

import collections
import time
from collections.abc import Callable

_HOUR_SECONDS = 3600.0
# Nodes that fail sooner than that restart with exponential backoff.
_EARLY_SECONDS = 30.0
_MAX_DELAY_SECONDS = 30.0


class RestartPolicy:
  """Counter and limit of the restarts of a program's nodes."""

  def __init__(
    self, max_per_hour: int, now: Callable[[], float] = time.monotonic
  ) -> None:
    """Allow `max_per_hour` restarts of all nodes together in any hour."""
    self.max_per_hour = max_per_hour
    self._now = now
    self._times: collections.deque[float] = collections.deque()
    self._early_failures: dict[str, int] = {}

  @property
  def count(self) -> int:
    """Number of restarts within the last hour."""
    while self._times and self._now() - self._times[0] >= _HOUR_SECONDS:
      self._times.popleft()
    return len(self._times)

  def next_delay(self, name: str, uptime_seconds: float) -> float | None:
    """Count a restart of a node, if the limit allows one.

    Returns:
      Seconds until the restart: 0 after the first failure, then 1, 2, 4 and so
      on to 30 as long as the node fails early; None where the limit is reached.
    """
    if self.count >= self.max_per_hour:
      return None
    self._times.append(self._now())
    if uptime_seconds >= _EARLY_SECONDS:
      self._early_failures.pop(name, None)
      return 0.0
    failures = self._early_failures.get(name, 0) + 1
    self._early_failures[name] = failures
    if failures == 1:
      return 0.0
    return min(2.0 ** (failures - 2), _MAX_DELAY_SECONDS)
