"""One program that a benchmark starts, watches and ends."""

import argparse
import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from environments import suites
from programs.commands import placement
from programs.launching import children, outcomes
from programs.runs import flags, run_config, run_directory
from programs.views import metrics

LAUNCHER = 'launcher'

# Of `train`; what the user gives comes after them and wins. No level is to end,
# and no evaluation to begin, while it is measured.
TRAIN_FLAGS = (
  '--level_name=atari_pong',
  '--num_actors=2',
  '--evaluation_period_frames=0',
  '--total_environment_frames=1_000_000_000',
)
# And of an Atari game's: so many environments that a forward pass has little
# left to gain from more.
ATARI_FLAG = '--num_envs_per_actor=48'

_PATIENCE_SECONDS = 300  # TensorFlow in every process, on a slow, busy disk.
_STOP_SECONDS = 30  # The program's own notice is 10 s.
_POLL_SECONDS = 0.1


class TrialError(Exception):
  """The program did not start, or ended while it was watched."""


class Trial:
  """A program by its run directory and its processes.

  Its learner writes the rows of `metrics/learner.csv`, with 'time', 'frames'
  and 'learner_steps' at least.
  """

  def __init__(self, path: pathlib.Path, launcher: children.Child) -> None:
    self.directory = run_directory.RunDirectory(path)
    self._launcher = launcher
    self._rows = metrics.CsvReader(
      self.directory.metrics / 'learner.csv', from_start=False
    )
    self._frames = 0.0

  def processes(self) -> Mapping[str, psutil.Process]:
    """'<group>/<index>' -> process, and the launcher.

    Of a program that does not name its processes all that it has started,
    'launcher/<process id>'.
    """
    launcher = psutil.Process(self._launcher.pid)
    nodes = self.directory.read_meta().get('processes') or {
      f'{LAUNCHER}/{child.pid}': child.pid
      for child in launcher.children(recursive=True)
    }
    found = {LAUNCHER: launcher}
    for name, pid in nodes.items():
      with contextlib.suppress(psutil.NoSuchProcess):
        found[name] = psutil.Process(pid)
    return found

  def rows_until(self, end: float) -> list[metrics.Record]:
    """Waits for rows of metrics, up to the first one from a moment on.

    A row that tells the frames of the one before is left out: it does not say
    when they were learned.

    Args:
      end: In seconds since 1970; 0 takes the next row.

    Raises:
      TrialError: The program ended, or learned nothing for minutes.
    """
    found: list[metrics.Record] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not found or found[-1]['time'] < end:
      if time.monotonic() >= deadline:
        raise TrialError(
          f'nothing learned within {_PATIENCE_SECONDS} s; the program said:\n'
          f'{self._launcher.log.tail(20)}'
        )
      time.sleep(_POLL_SECONDS)
      if self._launcher.poll():
        raise self._ended()
      new = [row for row in self._rows.read() if row['frames'] > self._frames]
      if new:
        found.append(new[-1])
        self._frames = new[-1]['frames']
        deadline = time.monotonic() + _PATIENCE_SECONDS
    return found

  def wait(self) -> None:
    """Waits for the program's own end; raises TrialError for a bad one."""
    while not self._launcher.poll():
      time.sleep(_POLL_SECONDS)
    if self._launcher.returncode:
      raise self._ended()

  def _ended(self) -> TrialError:
    assert self._launcher.returncode is not None
    end = outcomes.describe_status(self._launcher.returncode)
    return TrialError(
      f'the program ended ({end}); it said:\n{self._launcher.log.tail(40)}'
    )

  def stop(self) -> None:
    """Ends the program with SIGINT, as Ctrl-C does, and waits for its end."""
    if self._launcher.poll():
      return
    tell('stopping the program')
    os.kill(self._launcher.pid, signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    while not self._launcher.poll():
      if time.monotonic() >= deadline:
        tell(f'it did not end within {_STOP_SECONDS} s and is killed')
        self._launcher.kill()
        deadline = float('inf')
      time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def start(train_flags: Sequence[str], module: str) -> Iterator[Trial]:
  """Starts a program with flags of `train`; nothing of it is left."""
  with tempfile.TemporaryDirectory(prefix='impala_benchmark_') as folder:
    path = pathlib.Path(folder, 'run')
    command = (sys.executable, '-m', module, *_all_flags(train_flags))
    with start_in(path, (*command, f'--logdir={path}')) as trial:
      yield trial


@contextlib.contextmanager
def start_in(
  path: pathlib.Path,
  command: Sequence[str],
  environment: Mapping[str, str] | None = None,
) -> Iterator[Trial]:
  """Starts a program, and ends it as Ctrl-C does if it has not ended before.

  What it says goes to a log beside its run directory, `path`.
  """
  launcher = children.Child(
    children.NodeCommand(
      name=f'{path.name}.{LAUNCHER}/0',
      argv=tuple(command),
      env=environment or os.environ,
    ),
    path.parent,
  )
  trial = Trial(path, launcher)
  try:
    yield trial
  finally:
    trial.stop()
    launcher.close()


def resolve(train_flags: Sequence[str]) -> run_config.Configuration:
  """The configuration that `start` has; raises TrialError with the reason."""
  try:
    return flags.resolve(parse(_all_flags(train_flags)))
  except ValueError as error:
    raise TrialError(str(error)) from error


def _all_flags(train_flags: Sequence[str]) -> list[str]:
  level = parse([*TRAIN_FLAGS, *train_flags])['level_name']
  is_atari = level.startswith(suites.ATARI_PREFIX)
  return [*TRAIN_FLAGS, *([ATARI_FLAG] if is_atari else ()), *train_flags]


def parse(train_flags: Sequence[str]) -> dict[str, Any]:
  """Flag -> value, of those that are given."""
  parser = argparse.ArgumentParser(
    prog='flags of train', usage=argparse.SUPPRESS, allow_abbrev=False
  )
  flags.add_configuration(parser)
  placement.add_flags(parser)
  return vars(parser.parse_args(train_flags))


def tell(text: str) -> None:
  """Progress, on the standard error."""
  print(f'{time.strftime("%H:%M:%S")} {text}', file=sys.stderr, flush=True)
