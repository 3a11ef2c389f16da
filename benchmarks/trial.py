"""One training run that a benchmark starts, watches and ends."""

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
from programs import flags, machines, runs
from programs.inspection import rows
from programs.launching import children, outcomes

MEGABYTE = 1e6
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
ATARI_FLAGS = ('--num_envs_per_actor=48',)

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_START_SECONDS = 300  # TensorFlow in every process, on a slow and busy disk.
_STOP_SECONDS = 30  # The program's own notice is 10 s.
_POLL_SECONDS = 0.1
_GUARDIAN = 'sh'  # As the kernel names the process of `children.Guardian`.


class TrialError(Exception):
  """The run did not start, or ended while it was watched."""


class Trial:
  """A running `programs.train`, by its run directory and its processes."""

  def __init__(
    self, directory: runs.RunDirectory, launcher: children.Child
  ) -> None:
    """Looks at a run that was just started.

    Args:
      directory: Of the run.
      launcher: The process of `programs.train`.
    """
    self._directory = directory
    self._launcher = launcher
    self._metrics = rows.Rows(
      directory.metrics / 'learner.csv', from_start=False
    )
    self._processes: dict[str, psutil.Process] = {}

  @property
  def directory(self) -> runs.RunDirectory:
    """Of the run."""
    return self._directory

  @property
  def configuration(self) -> runs.Configuration:
    """What the run is made of."""
    return runs.Configuration.from_dict(self._directory.read_config())

  def wait_for_learning(self) -> None:
    """Waits for the first row of metrics.

    Raises:
      TrialError: It did not come in time, or the run ended.
    """
    tell('starting the program')
    deadline = time.monotonic() + _START_SECONDS
    while not self.new_rows():
      if time.monotonic() >= deadline:
        raise TrialError(
          f'no row of metrics within {_START_SECONDS} s; the run said:\n'
          f'{self._launcher.log.tail(20)}'
        )
    nodes = self._directory.read_meta().get('processes', {})
    self._processes = {
      name: psutil.Process(pid)
      for name, pid in {LAUNCHER: self._launcher.pid, **nodes}.items()
    }

  def new_rows(self) -> list[rows.Row]:
    """The learner's rows of metrics since the last call; waits a moment.

    Raises:
      TrialError: The run has ended.
    """
    time.sleep(_POLL_SECONDS)
    if self._launcher.poll():
      raise self._ended()
    return self._metrics.read()

  def wait(self) -> None:
    """Waits for the run's own end.

    Raises:
      TrialError: It was no good end.
    """
    while not self._launcher.poll():
      time.sleep(_POLL_SECONDS)
    if self._launcher.returncode:
      raise self._ended()

  def _ended(self) -> TrialError:
    """Says how the run ended, and its last words."""
    assert self._launcher.returncode is not None
    end = outcomes.describe_status(self._launcher.returncode)
    return TrialError(
      f'the run ended ({end}); it said:\n{self._launcher.log.tail(40)}'
    )

  def processes(self) -> Mapping[str, psutil.Process]:
    """'<group>/<index>' -> process, and the launcher; known when it learns."""
    return self._processes

  def pause(self) -> None:
    """Has all processes of the run stand still until `resume`.

    Its guardians go on: they have to see the end of this process.
    """
    self._signal(signal.SIGSTOP)

  def resume(self) -> None:
    """Has all processes of the run go on."""
    self._signal(signal.SIGCONT)

  def _signal(self, signum: int) -> None:
    if self._launcher.poll():
      return
    launcher = psutil.Process(self._launcher.pid)
    for process in (launcher, *launcher.children(recursive=True)):
      with contextlib.suppress(psutil.NoSuchProcess):
        if process.name() != _GUARDIAN:
          process.send_signal(signum)

  def stop(self) -> None:
    """Ends the run with SIGINT, as Ctrl-C does, and waits for its end."""
    if self._launcher.poll():
      return
    tell('stopping the program')
    self.resume()
    os.kill(self._launcher.pid, signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    while not self._launcher.poll():
      if time.monotonic() >= deadline:
        tell(f'it did not end within {_STOP_SECONDS} s and is killed')
        self._launcher.kill()
        deadline = float('inf')
      time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def start(train_flags: Sequence[str]) -> Iterator[Trial]:
  """Starts a run in a temporary directory; nothing of it is left afterwards.

  Args:
    train_flags: See `all_flags`.
  """
  with (
    tempfile.TemporaryDirectory(prefix='impala_benchmark_') as folder,
    start_in(pathlib.Path(folder) / 'run', all_flags(train_flags)) as trial,
  ):
    yield trial


@contextlib.contextmanager
def start_in(path: pathlib.Path, train_flags: Sequence[str]) -> Iterator[Trial]:
  """Starts a run, and ends it as Ctrl-C does if it has not ended before.

  Args:
    path: Its run directory; what it says goes to a log beside it.
    train_flags: All flags of `programs.train` but `--logdir`.
  """
  before = signal.signal(
    signal.SIGTERM, lambda signum, _: sys.exit(128 + signum)
  )
  command = (sys.executable, '-m', 'programs.train', *train_flags)
  launcher = children.Child(
    children.NodeCommand(
      name=LAUNCHER,
      group=f'{path.name}.{LAUNCHER}',
      index=0,
      argv=(*command, f'--logdir={path}'),
      env={**os.environ, 'PYTHONPATH': import_path()},
    ),
    path.parent,
  )
  trial = Trial(runs.RunDirectory(path), launcher)
  try:
    yield trial
  finally:
    trial.stop()
    launcher.close()
    signal.signal(signal.SIGTERM, before)


def resolve(train_flags: Sequence[str]) -> runs.Configuration:
  """The configuration that a run with these flags has.

  Args:
    train_flags: See `all_flags`.

  Raises:
    TrialError: There is no such configuration; says why.
  """
  try:
    return flags.resolve(_parse(all_flags(train_flags)))
  except ValueError as error:
    raise TrialError(str(error)) from error


def all_flags(train_flags: Sequence[str]) -> list[str]:
  """The flags of `programs.train` that a run has, but for `--logdir`.

  Args:
    train_flags: What the user gives; it wins.
  """
  level = _parse([*TRAIN_FLAGS, *train_flags])['level_name']
  is_atari = level.startswith(suites.ATARI_PREFIX)
  return [*TRAIN_FLAGS, *(ATARI_FLAGS if is_atari else ()), *train_flags]


def _parse(train_flags: Sequence[str]) -> dict[str, Any]:
  parser = argparse.ArgumentParser(
    prog='flags of train', usage=argparse.SUPPRESS, allow_abbrev=False
  )
  flags.add_configuration(parser)
  machines.add_flags(parser)
  return vars(parser.parse_args(train_flags))


def role(name: str) -> str:
  """The group of a process's name: 'actor' of 'actor/1'."""
  return name.partition('/')[0]


def tell(text: str) -> None:
  """Progress, on the standard error."""
  print(f'{time.strftime("%H:%M:%S")} {text}', file=sys.stderr, flush=True)


def import_path() -> str:
  """`PYTHONPATH` of children that import the project."""
  before = os.environ.get('PYTHONPATH')
  return f'{_ROOT}:{before}' if before else str(_ROOT)
