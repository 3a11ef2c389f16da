"""Profiles one node of a run: `./impala train --profile=ROLE`.

Of node 0 of the role, some seconds of work are watched twice at the same time:
TensorFlow traces its operations for TensorBoard's Profile tab, and pyinstrument
looks a thousand times a second which Python functions the node is in. Of other
nodes nothing is, and nothing is imported for it.
"""

import _thread
import contextlib
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from absl import logging

from programs.runs import run_config, run_directory

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
# Nobody else's in a node. It is never sent: a real signal would break off what
# C code waits for.
_SIGNAL = signal.SIGUSR2


@contextlib.contextmanager
def profiling(
  configuration: run_config.Configuration, role: str, is_first: bool = True
) -> Iterator[None]:
  """Profile this process while the context is open, if flags ask for it.

  Of a role only node 0's first work is profiled, in its main thread.
  """
  if configuration.run.profile != role or not is_first:
    yield
    return
  # Two frames up, past the context manager, is who profiles.
  profile = _Profile(configuration.directory, role, sys._getframe(2))
  before = signal.signal(_SIGNAL, profile.switch)
  profile.wait(WARM_UP_SECONDS[role])
  try:
    yield
  finally:
    profile.end()
    signal.signal(_SIGNAL, before)


def describe(configuration: run_config.Configuration) -> str:
  """Return where the profile is after a run, or why there is none."""
  role = configuration.run.profile
  directory = configuration.directory
  text = directory.profile(role)
  if text.exists():
    return f'{text}, and the Profile tab of {directory.tensorboard}'
  return (
    f'none: {role}/0 did not work for {WARM_UP_SECONDS[role]:g} s, after which '
    f'profiling begins, or it failed; see {directory.logs / f"{role}_0.log"}'
  )


class _Profile:
  """A profile of the main thread, which calls all methods."""

  def __init__(
    self,
    directory: run_directory.RunDirectory,
    role: str,
    caller: types.FrameType,
  ) -> None:
    self._text = directory.profile(role)
    self._text.unlink(missing_ok=True)  # Of an earlier start.
    self._traces = str(directory.tensorboard / role)
    self._name = f'{role}/0'
    self._caller = caller
    self._sampler: Any = None

  def wait(self, seconds: float) -> None:
    """Schedule a call of `switch` in the main thread."""
    self._timer = threading.Timer(seconds, _thread.interrupt_main, [_SIGNAL])
    self._timer.daemon = True
    self._timer.start()

  def switch(self, *signal_and_frame: Any) -> None:
    """Begin at the first call, end at the second."""
    if self._sampler:
      self.end()
      return
    try:
      # Where it is asked for: they take time and memory.
      import pyinstrument
      from tensorflow import profiler

      profiler.experimental.start(self._traces)
      self._sampler = pyinstrument.Profiler(
        interval=_INTERVAL_SECONDS, async_mode='disabled'
      )
      self._sampler.start(self._caller, self._name)
      self.wait(SECONDS)
    except Exception:  # What watches must not end what it watches.
      logging.warning('Not profiled', exc_info=True)

  def end(self) -> None:
    """Write the profile, unless that is done."""
    self._timer.cancel()
    if not self._sampler or not self._sampler.is_running:
      return
    try:
      from tensorflow import profiler

      self._sampler.stop()
      lines = self._sampler.output_text(unicode=True, color=False).splitlines()
      text = '\n'.join(line.rstrip() for line in lines).strip('\n') + '\n'
      run_directory.write_text(self._text, text)
      profiler.experimental.stop()
      logging.info('Profile: %s and %s', self._text, self._traces)
    except Exception:
      logging.warning('Not profiled', exc_info=True)
