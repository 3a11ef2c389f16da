"""Starts of `train` on one run directory, and their files."""

import contextlib
import csv
import dataclasses
import time

import processes
import psutil

from agents.impala import metrics
from programs.runs import checkpoints, run_directory

START_SECONDS = 150  # Five imports of TensorFlow; quiet machines need 15.


@dataclasses.dataclass(frozen=True)
class Start:
  """One start of a run, after its end."""

  status: int
  output: str
  seconds: float  # From the signal to the end.
  meta: dict
  rows: list
  saved_frames: int | None


def read_rows(directory):
  """Return the complete records of the learner."""
  path = directory / 'metrics/learner.csv'
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  whole = [line for line in lines if line.endswith('\n')]
  return [
    {name: float(value) for name, value in row.items()}
    for row in csv.DictReader(whole)
  ]


def read_saved_frames(directory):
  """Return the frames of the newest checkpoint."""
  counts = metrics.Counts()
  saved = checkpoints.Checkpoints(directory / 'checkpoints', {'counts': counts})
  return int(counts.frames.numpy()) if saved.restore() else None


def read_meta(directory):
  return run_directory.RunDirectory(directory).read_meta()


def wait_for_nodes(directory, process, before=None):
  """Wait for the process ids of this start and return them."""

  def is_started():
    assert process.poll() is None, 'ended before its nodes were started'
    return read_meta(directory).get('processes') not in (None, {}, before)

  processes.wait_until(is_started, START_SECONDS)
  return read_meta(directory)['processes']


def wait_for_learning(directory, process, num_rows):
  def is_learning():
    assert process.poll() is None, 'ended before it had learned'
    return len(read_rows(directory)) > num_rows

  processes.wait_until(is_learning, START_SECONDS)


def end(directory, process, log, timeout):
  """Wait for the end of a start, which must leave no process."""
  begin = time.monotonic()
  status = process.wait(timeout)
  seconds = time.monotonic() - begin
  pids = read_meta(directory)['processes'].values()
  assert not [pid for pid in pids if processes.is_alive(pid)]
  assert not processes.naming(directory)
  assert not (directory / '.launch').exists()
  return Start(
    status=status,
    output=log.read_text(),
    seconds=seconds,
    meta=read_meta(directory),
    rows=read_rows(directory),
    saved_frames=read_saved_frames(directory),
  )


def environment_processes(actor):
  """Return process ids of an actor's environments, the oldest first."""
  found = []
  for child in psutil.Process(actor).children():
    with contextlib.suppress(psutil.Error):
      if 'child.main()' in ' '.join(child.cmdline()):
        found.append((child.create_time(), child.pid))
  return [pid for _, pid in sorted(found)]
