"""One run of a peer: started, watched and ended, nothing of it left.

A peer's program (`peer/*_pong.py`) gets its settings as JSON and the name of a
file. As often as it knows it appends a line there: the time, and how many agent
steps its learner has taken. At SIGTERM it ends.
"""

import contextlib
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import psutil

from benchmarks import trial
from programs.launching import children, outcomes

_PROGRAMS = pathlib.Path(__file__).with_name('peer')
_MARK = 'IMPALA_BENCHMARK_PEER'  # In the environment of all its processes.
_START_SECONDS = 300
_STOP_SECONDS = 20
_POLL_SECONDS = 0.2


class Reading(NamedTuple):
  """What a peer told.

  Attributes:
    time: Seconds since 1970.
    agent_steps: Taken by its learner so far.
  """

  time: float
  agent_steps: float


class Run:
  """A peer that trains."""

  def __init__(
    self, child: children.Child, mark: str, progress: pathlib.Path
  ) -> None:
    """Looks at one that was just started.

    Args:
      child: Its first process.
      mark: Of all its processes.
      progress: The file that it appends to.
    """
    self._child = child
    self._mark = mark
    self._progress = progress

  def read(self) -> list[Reading]:
    """All that it has told, the newest last; waits a moment.

    Raises:
      trial.TrialError: It has ended.
    """
    time.sleep(_POLL_SECONDS)
    if self._child.poll():
      assert self._child.returncode is not None
      end = outcomes.describe_status(self._child.returncode)
      said = self._child.log.tail(40)
      raise trial.TrialError(
        f'{self._child.name} ended ({end}); it said:\n{said}'
      )
    return parse(self._progress)

  def cpu_seconds(self) -> float:
    """User and system time of its processes, as many as there are now."""
    total = 0.0
    for process in marked(self._mark):
      with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        total += times.user + times.system
    return total

  def wait_until(self, seconds: float) -> Reading:
    """Waits for the first batch that is learned from a moment on.

    Args:
      seconds: The moment, since 1970.

    Returns:
      What `first_batch` finds.

    Raises:
      trial.TrialError: It ended, or told nothing for minutes after the moment.
    """
    while time.time() <= seconds + _START_SECONDS:
      if found := first_batch(self.read(), seconds):
        return found
    raise trial.TrialError(
      f'{self._child.name} learned nothing for {_START_SECONDS} s; it said:\n'
      f'{self._child.log.tail(40)}'
    )


def parse(progress: pathlib.Path) -> list[Reading]:
  """The whole lines of a file that a peer appends to, if there is one yet."""
  if not progress.exists():
    return []
  lines = progress.read_text(encoding='utf-8').split('\n')[:-1]
  return [Reading(**json.loads(line)) for line in lines]


def first_batch(readings: Sequence[Reading], seconds: float) -> Reading | None:
  """The first reading from a moment on that tells of a batch, if there is one.

  A peer may tell the same again: it is not known then when it was learned.
  """
  agent_steps = 0.0
  for reading in readings:
    if reading.time >= seconds and reading.agent_steps > agent_steps:
      return reading
    agent_steps = reading.agent_steps
  return None


@contextlib.contextmanager
def start(
  python: pathlib.Path, name: str, settings: Mapping[str, Any]
) -> Iterator[Run]:
  """Starts a peer and ends it, with all that it has started.

  Args:
    python: Of the peer's own environment.
    name: Of its program in `peer`, without '_pong.py'.
    settings: What the program is told.
  """
  before = signal.signal(
    signal.SIGTERM, lambda signum, _: sys.exit(128 + signum)
  )
  with tempfile.TemporaryDirectory(prefix='impala_peer_') as folder:
    progress = pathlib.Path(folder, 'progress.jsonl')
    mark = uuid.uuid4().hex
    program = str(_PROGRAMS / f'{name}_pong.py')
    command = (str(python), program, json.dumps(settings), str(progress))
    guardian = children.Guardian()
    child = children.Child(
      children.NodeCommand(
        name=name,
        group=name,
        index=0,
        argv=command,
        env=_environment(mark, folder),
      ),
      pathlib.Path(folder),
    )
    guardian.watch([child.pid])
    try:
      yield Run(child, mark, progress)
    finally:
      _stop(child, mark)
      guardian.close()
      signal.signal(signal.SIGTERM, before)


def _environment(mark: str, folder: str) -> dict[str, str]:
  """Of the peer's processes: nothing of this project's, and the mark."""
  ours = ('PYTHONPATH', 'LD_LIBRARY_PATH', 'VIRTUAL_ENV', 'MALLOC_ARENA_MAX')
  kept = {name: text for name, text in os.environ.items() if name not in ours}
  # What they write goes where nothing is kept: Ray's sessions, for one.
  mine = {'PYTHONUNBUFFERED': '1', 'HOME': folder, 'TMPDIR': folder}
  return {**kept, **mine, _MARK: mark}


def _stop(child: children.Child, mark: str) -> None:
  """Asks it to end; kills what is left after a while, wherever it went."""
  trial.tell(f'stopping {child.name}')
  with contextlib.suppress(ProcessLookupError):
    child.terminate()
  deadline = time.monotonic() + _STOP_SECONDS
  while not child.poll():
    if time.monotonic() >= deadline:
      trial.tell(f'it did not end within {_STOP_SECONDS} s and is killed')
      child.kill()
      deadline = float('inf')
    time.sleep(_POLL_SECONDS)
  child.close()
  left = marked(mark)
  for process in left:
    with contextlib.suppress(psutil.NoSuchProcess):
      process.kill()
  psutil.wait_procs(left, timeout=_STOP_SECONDS)


def marked(mark: str) -> Sequence[psutil.Process]:
  """The processes with this mark: a peer's leave its group and its session."""
  found = []
  for process in psutil.process_iter():
    with contextlib.suppress(psutil.Error):
      if process.environ().get(_MARK) == mark:
        found.append(process)
  return found
