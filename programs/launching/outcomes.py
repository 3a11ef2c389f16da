"""How the run of a program ended, in figures and in words."""

import dataclasses
import pathlib
import signal
import textwrap
from collections.abc import Mapping
from typing import Literal


def describe_status(returncode: int) -> str:
  """A process's end in words: 'exit status 1', 'killed by SIGSEGV' if < 0."""
  if returncode >= 0:
    return f'exit status {returncode}'
  try:
    return f'killed by {signal.Signals(-returncode).name}'
  except ValueError:  # Real-time signals have no name of their own.
    return f'killed by signal {-returncode}'


@dataclasses.dataclass(frozen=True)
class Failure:
  """The node that failed first, before anyone had asked the program to stop.

  Attributes:
    name: `<group>/<index>`.
    status: Its end in words.
    log: Where everything stands that it wrote.
    tail: The last lines that it wrote since this start.
  """

  name: str
  status: str
  log: pathlib.Path
  tail: str

  def describe(self) -> str:
    """Several lines for people: who, how, the last words, and where more is."""
    said = textwrap.indent(self.tail, '  | ') or '  (it wrote nothing)'
    return f'{self.name} failed: {self.status}\n{said}\n  log: {self.log}'


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended, or why it is about to.

  Attributes:
    kind: 'finished' (the program stopped itself, or every node returned),
      'failed' (a node did, on its own) or 'interrupted' (by a signal to the
      launcher).
    stopped_by: The node that called `lp.stop()`, where one did.
    failure: The first failure, where `kind` is 'failed'.
    signum: The signal, where `kind` is 'interrupted'.
    killed: Nodes that did not end within the notice and were killed.
    statuses: Every node's return code, negative for a signal. Known at the end.
  """

  kind: Literal['finished', 'failed', 'interrupted']
  stopped_by: str | None = None
  failure: Failure | None = None
  signum: int | None = None
  killed: tuple[str, ...] = ()
  statuses: Mapping[str, int] = dataclasses.field(default_factory=dict)

  @property
  def exit_status(self) -> int:
    """What the launcher should exit with: 0, 1, or 128 + the signal."""
    if self.signum is not None:
      return 128 + self.signum
    return 0 if self.kind == 'finished' else 1

  def describe(self) -> str:
    """One or more lines for people."""
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
    if late := self._late_failures():
      lines.append('ended badly after the stop: ' + ', '.join(late))
    return '\n'.join(lines)

  def _late_failures(self) -> list[str]:
    """Nodes that were asked to stop and neither did nor were killed for it."""
    known = {*self.killed, self.failure.name if self.failure else None}
    return [
      f'{name} ({describe_status(status)})'
      for name, status in self.statuses.items()
      if status not in (0, -signal.SIGTERM) and name not in known
    ]
