"""What a program's processes reached on their way to work, and when.

Each process of the run directory's machine appends lines of its own to
`metrics/startup.jsonl`, with a monitor or without one:

  time         seconds since 1970
  node         '<group>/<index>'; 'command' is what was called to start them all
  milestone    what it has reached
  cpu_seconds  that its process has used so far
  rss_bytes    of its process then

The command's first line begins a start: a run that was resumed has several.
"""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

COMMAND = 'command'
BEGUN = 'begun'  # The process was made.
IMPORTED = 'imported'  # It has all modules and does its own work from here on.

_FILE = pathlib.Path('metrics', 'startup.jsonl')


class Milestone(NamedTuple):
  """One line.

  Attributes:
    node: Who reached it.
    name: What.
    seconds: After the command's process was made.
    cpu_seconds: Used by the node's process until then.
    rss_bytes: Of the node's process.
  """

  node: str
  name: str
  seconds: float
  cpu_seconds: float
  rss_bytes: int


class Moment(NamedTuple):
  """A process at a time.

  Attributes:
    time: In seconds since 1970.
    cpu_seconds: That the process has used so far.
    rss_bytes: Of the process.
  """

  time: float
  cpu_seconds: float
  rss_bytes: int


def now() -> Moment:
  """This process at this time."""
  pages = pathlib.Path('/proc/self/statm').read_text(encoding='utf-8').split()
  return Moment(
    time.time(),
    time.process_time(),
    int(pages[1]) * os.sysconf('SC_PAGE_SIZE'),
  )


def process_start() -> Moment:
  """This process when it was made, to 10 ms; or when its launcher was done.

  The launcher says so in `IMPALA_INSTALLED_AT`, its process id and seconds
  since 1970, where it has installed packages and then become this process.
  """
  pid, _, installed = os.environ.get('IMPALA_INSTALLED_AT', '').partition(' ')
  if pid == str(os.getpid()):
    return Moment(float(installed), 0.0, 0)
  stat = pathlib.Path('/proc/self/stat').read_text(encoding='utf-8')
  # Field 22 of proc(5), in ticks since the machine was booted; the name, field
  # 2, may hold anything.
  ticks = int(stat.rpartition(')')[2].split()[19])
  age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf(
    'SC_CLK_TCK'
  )
  return Moment(time.time() - age, 0.0, 0)


class Notes:
  """Notes what one node reaches."""

  def __init__(self, directory: pathlib.Path, node: str) -> None:
    """Notes nothing yet.

    Args:
      directory: Of the run.
      node: `<group>/<index>`, or `COMMAND`.
    """
    self._path = directory / _FILE
    self._node = node

  def begin(self, imported: Moment | None = None) -> None:
    """Notes when the process was made, and that it has its modules.

    Args:
      imported: Since when; by default, now.
    """
    self.reach(BEGUN, process_start())
    self.reach(IMPORTED, imported)

  def reach(self, name: str, at: Moment | None = None) -> None:
    """Notes a milestone.

    Args:
      name: What was reached.
      at: When; by default, now.
    """
    moment = at or now()
    line = json.dumps(
      {
        'time': round(moment.time, 3),
        'node': self._node,
        'milestone': name,
        'cpu_seconds': round(moment.cpu_seconds, 3),
        'rss_bytes': moment.rss_bytes,
      }
    )
    # A full disk is no reason for a node to go; and where there is no run
    # directory, on another machine, nobody would read it.
    with contextlib.suppress(OSError):
      self._path.parent.mkdir(exist_ok=True)
      with open(self._path, 'ab', buffering=0) as file:
        file.write(line.encode() + b'\n')  # At once: others append as well.


def read(directory: pathlib.Path) -> Sequence[Milestone]:
  """The milestones of the last start, in their order; none of an older run.

  Args:
    directory: Of the run.
  """
  try:
    lines = (directory / _FILE).read_bytes().splitlines()
  except OSError:
    return []
  found: list[Milestone] = []
  start = 0.0
  for line in lines:
    # Half a line, left by a crash.
    with contextlib.suppress(ValueError, KeyError, TypeError):
      noted = json.loads(line)
      node, name, at = noted['node'], noted['milestone'], noted['time']
      if (node, name) == (COMMAND, BEGUN):
        found, start = [], at
      cpu, rss = noted['cpu_seconds'], noted['rss_bytes']
      found.append(Milestone(node, name, at - start, cpu, rss))
  return sorted(found, key=lambda milestone: milestone.seconds)
