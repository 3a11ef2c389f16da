"""Trial: a program that a benchmark starts, measures and stops."""

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

# Default flags of `train`. Neither training ends nor an evaluation begins
# during a measurement.
TRAIN_FLAGS = (
  '--level_name=atari_pong',
  '--num_actors=2',
  '--evaluation_period_frames=0',
  '--total_environment_frames=1_000_000_000',
)
# For Atari: more environments make a forward pass per step hardly cheaper.
ATARI_FLAG = '--num_envs_per_actor=48'

_TIMEOUT_SECONDS = 300  # Imports of TensorFlow on a slow disk.
_STOP_SECONDS = 30  # The program's notice is 10 s.
_POLL_SECONDS = 0.1


class TrialError(Exception):
  """A program that did not start, or ended during the measurement."""


class Trial:
  """Program with its run directory and its processes.

  Its learner writes records to `metrics/learner.csv`, with 'time', 'frames' and
  'learner_steps' at least.
  """

  def __init__(self, path: pathlib.Path, launcher: children.Child) -> None:
    self.directory = run_directory.RunDirectory(path)
    self._launcher = launcher
    self._rows = metrics.CsvReader(
      self.directory.metrics / 'learner.csv', from_start=False
    )
    self._frames = 0.0

  def processes(self) -> Mapping[str, psutil.Process]:
    """Return '<group>/<index>' -> process, with the launcher.

    If the program does not name its processes: 'launcher/<process id>' of all
    that it has started.
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

  def records_until(self, end: float) -> list[metrics.Record]:
    """Wait for metric records, up to the first one at `end` or later.

    Records without new frames are left out.

    Args:
      end: In seconds since 1970; 0 takes the next record.

    Raises:
      TrialError: The program ended, or learned nothing for minutes.
    """
    found: list[metrics.Record] = []
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not found or found[-1]['time'] < end:
      if time.monotonic() >= deadline:
        raise TrialError(
          f'nothing learned within {_TIMEOUT_SECONDS} s; output:\n'
          f'{self._launcher.log.tail(20)}'
        )
      time.sleep(_POLL_SECONDS)
      if self._launcher.poll():
        raise self._ended()
      new = [row for row in self._rows.read() if row['frames'] > self._frames]
      if new:
        found.append(new[-1])
        self._frames = new[-1]['frames']
        deadline = time.monotonic() + _TIMEOUT_SECONDS
    return found

  def wait(self) -> None:
    """Wait for the program's end; raise TrialError if it failed."""
    while not self._launcher.poll():
      time.sleep(_POLL_SECONDS)
    if self._launcher.returncode:
      raise self._ended()

  def _ended(self) -> TrialError:
    assert self._launcher.returncode is not None
    end = outcomes.describe_status(self._launcher.returncode)
    return TrialError(
      f'the program ended ({end}); output:\n{self._launcher.log.tail(40)}'
    )

  def stop(self) -> None:
    """Interrupt the program, as Ctrl-C does, and wait for its end."""
    if self._launcher.poll():
      return
    log('stopping the program')
    os.kill(self._launcher.pid, signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    while not self._launcher.poll():
      if time.monotonic() >= deadline:
        log(f'killing the program after {_STOP_SECONDS} s')
        self._launcher.kill()
        deadline = float('inf')
      time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def start(train_flags: Sequence[str], module: str) -> Iterator[Trial]:
  """Start a program with flags of `train` in a temporary directory."""
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
  """Start a program; interrupt it at the end if it still runs.

  Its output goes to a log beside its run directory, `path`.
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
  """Return the configuration of `start`; raise TrialError if it is wrong."""
  try:
    return flags.resolve(parse(_all_flags(train_flags)))
  except ValueError as error:
    raise TrialError(str(error)) from error


def _all_flags(train_flags: Sequence[str]) -> list[str]:
  level = parse([*TRAIN_FLAGS, *train_flags])['level_name']
  is_atari = level.startswith(suites.ATARI_PREFIX)
  return [*TRAIN_FLAGS, *([ATARI_FLAG] if is_atari else ()), *train_flags]


def parse(train_flags: Sequence[str]) -> dict[str, Any]:
  """Return flag -> value of the flags given."""
  parser = argparse.ArgumentParser(
    prog='flags of train', usage=argparse.SUPPRESS, allow_abbrev=False
  )
  flags.add_configuration(parser)
  placement.add_flags(parser)
  return vars(parser.parse_args(train_flags))


def log(text: str) -> None:
  """Print progress to standard error."""
  print(f'{time.strftime("%H:%M:%S")} {text}', file=sys.stderr, flush=True)
