"""Who can reach the ports of a run."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from programs import runs
from programs.launching import isolation


def require(given: Mapping[str, Any]) -> str | None:
  """Gives this command a network of its own, if the kernel allows it.

  Not where it was called as a function, and not as a command: the process is
  somebody else's.

  Args:
    given: Flags; `require_isolation` makes it an error if there is none.

  Returns:
    Why other machines can reach the ports of nodes; None where they cannot.

  Raises:
    runs.RunError: They can, and must not.
  """
  spec = sys.modules['__main__'].__spec__
  is_command = spec is not None and spec.name.startswith(f'{__package__}.')
  reason = 'it was not started as a command'
  if is_command:
    reason = isolation.enter()
  if not reason:
    return None
  if given.get('require_isolation'):
    raise runs.RunError(
      'require_isolation must be false where there is no network of its own '
      f'for this run, got true ({reason})'
    )
  return f'this machine allows no network of its own to the run ({reason})'


def warning(ports: Sequence[int], why: str) -> str:
  """What is said at the start of a run whose ports can be reached.

  Args:
    ports: Of its nodes.
    why: As `require` returns it.
  """
  return (
    f'Ports {", ".join(map(str, sorted(ports)))} answer other machines, and '
    f'who reaches them can run code here: {why}'
  )
