"""Outcome of a launched program, with a description for users."""

import dataclasses
import pathlib
import signal
import textwrap
from collections.abc import Mapping
from typing import Literal

from programs.launching import children

_TAIL_LINES = 30


def describe_status(returncode: int) -> str:
  """Return 'exit status 1', or 'killed by SIGSEGV' for a negative code."""
  if returncode >= 0:
    return f'exit status {returncode}'
  try:
    return f'killed by {signal.Signals(-returncode).name}'
  except ValueError:  # Real-time signals have no names.
    return f'killed by signal {-returncode}'


@dataclasses.dataclass(frozen=True)
class Failure:
  """First node that failed before the program was asked to stop.

  `tail` has the last lines of its output since this start.
  """

  name: str
  status: str
  log: pathlib.Path
  tail: str

  def describe(self) -> str:
    """Return several lines: name, status, last output and path of the log."""
    output = textwrap.indent(self.tail, '  | ') or '  (no output)'
    return f'{self.name} failed: {self.status}\n{output}\n  log: {self.log}'


def make_failure(
  name: str, returncode: int, log: children.Log, reason: str = ''
) -> Failure:
  """Return the failure of a node; `reason` is added to its status."""
  status = describe_status(returncode) + reason
  return Failure(name, status, log.path, log.tail(_TAIL_LINES))


@dataclasses.dataclass(frozen=True)
class Outcome:
  """End of a program, or the reason for which its nodes are being stopped.

  Attributes:
    kind: 'finished' (the program stopped itself, or every node returned),
      'failed' (a node did) or 'interrupted' (by a signal to the launcher).
    stopped_by: Name of the node that called `lp.stop()`, if one did.
    failure: The first failure, if `kind` is 'failed'.
    signum: The signal, if `kind` is 'interrupted'.
    killed: Nodes killed because they did not end within the notice.
    statuses: Return code of every node, negative for a signal; empty until all
      have ended.
  """

  kind: Literal['finished', 'failed', 'interrupted']
  stopped_by: str | None = None
  failure: Failure | None = None
  signum: int | None = None
  killed: tuple[str, ...] = ()
  statuses: Mapping[str, int] = dataclasses.field(default_factory=dict)

  @property
  def exit_status(self) -> int:
    """Exit status for the launcher: 0, 1, or 128 + the signal."""
    if self.signum is not None:
      return 128 + self.signum
    return 0 if self.kind == 'finished' else 1

  def describe(self) -> str:
    """Return one or more lines for users."""
    if self.failure is not None:
      lines = [self.failure.describe()]
    elif self.signum is not None:
      lines = [f'interrupted by {signal.Signals(self.signum).name}']
    elif self.stopped_by:
      lines = [f'finished: {self.stopped_by} stopped the program']
    else:
      lines = ['finished: every node returned']
    if self.killed:
      lines.append('did not stop in time, killed: ' + ', '.join(self.killed))
    # SIGTERM is what the launcher sent.
    expected = {*self.killed, self.failure.name if self.failure else None}
    late = [
      f'{name} ({describe_status(status)})'
      for name, status in self.statuses.items()
      if status not in (0, -signal.SIGTERM) and name not in expected
    ]
    if late:
      lines.append('failed after the stop: ' + ', '.join(late))
    return '\n'.join(lines)
