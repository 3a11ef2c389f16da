"""How often nodes that failed are started again, and after what pause."""

import collections
import time
from collections.abc import Callable

_HOUR_SECONDS = 3600.0
# Who fails sooner than that after its start is given ever longer pauses.
_EARLY_SECONDS = 30.0
_MAX_PAUSE_SECONDS = 30.0


class Restarts:
  """Counts the restarts of a program's nodes, and refuses too many."""

  def __init__(
    self, max_per_hour: int, now: Callable[[], float] = time.monotonic
  ) -> None:
    """Has counted none yet.

    Args:
      max_per_hour: Of all nodes together, within any hour; at least 0.
      now: A clock, in seconds.
    """
    self.max_per_hour = max_per_hour
    self._now = now
    self._times: collections.deque[float] = collections.deque()
    self._early: dict[str, int] = {}

  @property
  def count(self) -> int:
    """Restarts within the last hour."""
    while self._times and self._now() - self._times[0] >= _HOUR_SECONDS:
      self._times.popleft()
    return len(self._times)

  def grant(self, name: str, lived_seconds: float) -> float | None:
    """Counts a restart, if it is one of those allowed.

    Args:
      name: Of the node that failed.
      lived_seconds: Time from its start to its failure.

    Returns:
      Seconds to wait before it is started again: none after the first failure,
      then 1, 2, 4 and so on to 30 while it fails early; None where it is not to
      be started again.
    """
    if self.count >= self.max_per_hour:
      return None
    self._times.append(self._now())
    if lived_seconds >= _EARLY_SECONDS:
      self._early.pop(name, None)
      return 0.0
    failures = self._early[name] = self._early.get(name, 0) + 1
    return (
      min(2.0 ** (failures - 2), _MAX_PAUSE_SECONDS) if failures > 1 else 0.0
    )
