"""Profiles one node of a run: `./impala train --profile=ROLE`.

Of node 0 of the role, some seconds of work are watched twice at the same time:
TensorFlow traces its operations for TensorBoard's Profile tab, and pyinstrument
looks a thousand times a second which Python functions the node is in. Of other
nodes nothing is, and nothing is imported for it.
"""

import _thread
import contextlib
import pathlib
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

from absl import logging

from programs import runs

# What comes first is not what a node does all day: functions are traced, and
# the queue fills. An evaluator's work comes in bursts, of which the first is
# taken from its beginning.
WARM_UP_SECONDS = {
  'learner': 10.0,
  'actor': 10.0,
  'inference': 10.0,
  'evaluator': 0.0,
}

# Some thousand looks at Python. More would make a trace that TensorBoard shows
# slowly: an actor has 30,000 operations a second.
SECONDS = 5.0

_INTERVAL_SECONDS = 0.001
# Writing a trace takes two seconds on a busy machine, and a program that stops
# gives its nodes ten.
_STOP_SECONDS = 6.0
# Nobody else's in a node. It is never sent: see `_Profile._call`.
_SIGNAL = signal.SIGUSR2


@contextlib.contextmanager
def profiling(
  configuration: runs.Configuration, role: str, is_first: bool = True
) -> Iterator[None]:
  """Profiles this process while the context is open, if that is asked for.

  Whatever goes wrong is a warning in the node's log.

  Args:
    configuration: Of the run.
    role: Group of the node.
    is_first: Whether it is node 0, and its first work: only that is profiled.
  """
  if configuration.run.profile != role or not is_first:
    yield
    return
  profile = _Profile(configuration.directory, role)
  with _warning():
    profile.begin()
  try:
    yield
  finally:
    with _warning():
      profile.end()


def describe(configuration: runs.Configuration) -> str:
  """Where the profile is, once the run has ended; or why there is none."""
  role = configuration.run.profile
  directory = configuration.directory
  text = directory.profile(role)
  if text.exists():
    return f'{text}, and the Profile tab of {directory.tensorboard}'
  return (
    f'none: {role}/0 did not work for {WARM_UP_SECONDS[role]:g} s, after which '
    f'profiling begins, or it failed; see {directory.logs / f"{role}_0.log"}'
  )


@contextlib.contextmanager
def _warning() -> Iterator[None]:
  """Says what failed: what watches must not end what it watches."""
  try:
    yield
  except Exception:
    logging.warning('Not profiled', exc_info=True)


class _Profile:
  """Of the process that makes it, from its main thread."""

  def __init__(self, directory: runs.RunDirectory, role: str) -> None:
    self._text = directory.profile(role)
    self._traces = directory.tensorboard / role
    self._role = role
    self._over = threading.Event()
    self._sampler: Any = None
    self._caller = _caller()
    self._thread = threading.Thread(
      target=self._watch, name='profiling', daemon=True
    )

  def begin(self) -> None:
    """Watches from the end of the warm-up on.

    Raises:
      ValueError: It is called in another thread than the main one.
    """
    # Imported where it is asked for: it patches nothing, but takes time.
    import pyinstrument

    self._text.unlink(missing_ok=True)  # Of an earlier start.
    self._sampler = pyinstrument.Profiler(
      interval=_INTERVAL_SECONDS, async_mode='disabled'
    )
    self._before = signal.signal(_SIGNAL, self._switch)
    self._begun = time.monotonic()
    self._thread.start()

  def end(self) -> None:
    """Ends what is under way, and says where it is or why it is not."""
    if not self._thread.ident:
      return  # It could not begin.
    worked = time.monotonic() - self._begun
    self._over.set()
    if self._sampler.is_running:
      self._switch()
    self._thread.join(_STOP_SECONDS)
    signal.signal(_SIGNAL, self._before)
    if self._thread.is_alive():
      logging.warning('The trace could not be written in %g s', _STOP_SECONDS)
    if self._text.exists():
      logging.info('Profile: %s and %s', self._text, self._traces)
    else:
      logging.warning(
        'No profile: %s/0 worked for %.1f s, and profiling begins after %g s',
        self._role,
        worked,
        WARM_UP_SECONDS[self._role],
      )

  def _watch(self) -> None:
    """Waits, and has both profilers watch; in a thread."""
    with _warning():
      if self._over.wait(WARM_UP_SECONDS[self._role]):
        return
      from tensorflow import profiler

      self._call_main()
      profiler.experimental.start(str(self._traces))
      try:
        self._over.wait(SECONDS)
        if not self._over.is_set():
          self._call_main()
      finally:
        profiler.experimental.stop()

  def _call_main(self) -> None:
    """Has `_switch` called in the main thread, which pyinstrument looks at.

    As if a signal had come. A real one would break off what C code waits for.
    """
    _thread.interrupt_main(_SIGNAL)

  def _switch(self, *signal_and_frame: Any) -> None:
    """Starts pyinstrument, or stops it and writes what it saw."""
    with _warning():
      if not self._sampler.is_running:
        if self._sampler.last_session is None and not self._over.is_set():
          self._sampler.start(self._caller, f'{self._role}/0')
        return
      self._sampler.stop()
      _write(self._text, self._sampler.output_text(unicode=True, color=False))


def _caller() -> types.FrameType | None:
  """Who profiles: what is below is shown from there on."""
  frame: types.FrameType | None = sys._getframe()
  while frame and frame.f_code.co_filename in (__file__, contextlib.__file__):
    frame = frame.f_back
  return frame


def _write(path: pathlib.Path, text: str) -> None:
  lines = (line.rstrip() for line in text.splitlines())
  runs.write_text(path, '\n'.join(lines).strip('\n') + '\n')
