"""Environments in processes of their own: a crash costs an episode, no run.

The parent sends the actions of all, then waits for all. Observations, rewards
and the rest are written by the children into memory that they share with the
parent; only strings go through the pipe.
"""

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

import dm_env
import numpy as np
import tree

from environments import batch
from environments import child as child_lib

_LOGGER = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0

# A process that dies so often in a row, each time within so few agent steps, is
# not worth another start.
_MAX_DEATHS = 5
_FEW_STEPS = 5

_RUN_CHILD = 'from environments import child; child.main()'


class RemoteTraceback(Exception):
  """Where in an environment's process an exception was raised."""

  def __str__(self) -> str:
    return f'\n{self.args[0]}'


class _Died(Exception):
  """A process ended; `str()` says of what."""


class ProcessBatch:
  """As `batch.EnvironmentBatch`, with its environments in child processes.

  An environment whose process died ends its episode with a truncation: the
  observation stays, the reward is 0, and the game is counted nowhere. Another
  process is started, and the next step resets it. Each environment of a process
  that was started again counts as one that was.

  `factories`, which are picklable, make one environment each; they are dealt
  over the processes with neighbours together.

  Raises:
    ValueError: if the number of processes is out of range, or if the specs
      of the environments differ.
    Exception: what an environment raised, its traceback as the cause.
    RuntimeError: if a process keeps dying.
  """

  def __init__(
    self,
    factories: Sequence[Callable[[], dm_env.Environment]],
    levels: Sequence[int],
    num_processes: int,
  ) -> None:
    num = len(factories)
    if not 1 <= num_processes <= num:
      raise ValueError(
        f'num_processes must be from 1 to {num}, one for each environment, '
        f'got {num_processes}'
      )
    self.levels = np.array(levels, np.int32)
    self._restarts = np.zeros(num, np.int32)
    self._needs_reset = np.ones(num, np.bool_)
    self._memory = os.memfd_create('impala_environments')
    edges = np.linspace(0, num, num_processes + 1).astype(int).tolist()
    self._children = [
      _Child(factories[low:high], slice(low, high), num, self._memory)
      for low, high in itertools.pairwise(edges)
    ]
    try:
      self._map()
    except BaseException:
      self.close()
      raise

  def reset(self) -> batch.BatchTimeStep:
    """Resets every environment, wherever its episode stands."""
    self._timestep.forget_ends()
    for child in self._children:
      child.send('reset', None)
    for child in self._children:
      while True:
        try:
          self._take(child, child.receive())
          break
        except _Died as death:
          self._restart(child, death)
          child.send('reset', None)
    return self._timestep

  def step(self, actions: np.ndarray) -> batch.BatchTimeStep:
    """Takes one agent step in every environment; see `EnvironmentBatch`."""
    actions = batch.check_actions(actions, self.action_spec, len(self.levels))
    self._timestep.forget_ends()
    for child in self._children:
      child.send('step', actions[child.share])
    for child in self._children:
      try:
        self._take(child, child.receive())
        child.num_steps += 1
      except _Died as death:
        self._truncate(child, death)
    return self._timestep

  def close(self) -> None:
    """Ends every process."""
    for child in self._children:
      child.send('close', None)
    for child in self._children:
      child.end()
    if self._memory >= 0:
      os.close(self._memory)
      self._memory = -1

  def _map(self) -> None:
    """Hears what the environments are, and lays out the shared memory."""
    first, *others = [self._make(child) for child in self._children]
    for other in others:
      if other != first:
        raise ValueError(
          f'specs must be equal in every environment, got {other} and {first}'
        )
    self.observation_spec, self.action_spec = first
    arrays = child_lib.Arrays(self.observation_spec, len(self.levels))
    os.ftruncate(self._memory, arrays.num_bytes)
    self._timestep = arrays.map(self._memory)
    self._timestep.environment_restarts[:] = self._restarts
    self._restarts = self._timestep.environment_restarts
    self._timestep.forget_ends()

  def _make(self, child: '_Child') -> Any:
    """Has a process make its environments; returns their specs."""
    while True:
      try:
        return child.receive()
      except _Died as death:
        self._restart(child, death, wait=False)

  def _restart(self, child: '_Child', death: _Died, wait: bool = True) -> None:
    while True:
      child.num_deaths = (
        child.num_deaths + 1 if child.num_steps < _FEW_STEPS else 1
      )
      child.num_steps = 0
      if child.num_deaths >= _MAX_DEATHS:
        raise RuntimeError(
          f'the process of environments {child.share.start} to '
          f'{child.share.stop - 1} died {_MAX_DEATHS} times in a row within '
          f'{_FEW_STEPS} agent steps; the last {death}'
        )
      self._restarts[child.share] += 1
      _LOGGER.warning(
        'The process of environments %d to %d %s; starting another',
        child.share.start,
        child.share.stop - 1,
        death,
      )
      child.start()
      if not wait:
        return
      try:
        child.receive()
        return
      except _Died as another:
        death = another

  def _truncate(self, child: '_Child', death: _Died) -> None:
    """Ends the episodes of a process that died; starts another."""
    share = child.share
    self._timestep.reward[share] = 0.0
    self._timestep.discount[share] = 1.0
    self._timestep.start_of_episode[share] = False
    self._timestep.episode_return[share] = np.nan
    self._timestep.episode_steps[share] = 0
    due = np.flatnonzero(self._needs_reset[share]).tolist()
    self._restart(child, death)
    # Those whose episode had ended before start the next one now.
    while due:
      child.send('reset', due)
      try:
        self._take(child, child.receive())
        return
      except _Died as another:
        self._restart(child, another)
    self._needs_reset[share] = True

  def _take(self, child: '_Child', reply: child_lib.Reply) -> None:
    self._needs_reset[child.share] = reply.needs_reset
    leaves = [
      leaf
      for leaf in tree.flatten(self._timestep.observation)
      if leaf.dtype.hasobject
    ]
    for leaf, strings in zip(leaves, reply.strings, strict=True):
      leaf[child.share] = strings


class _Child:
  """The parent's end of one process."""

  def __init__(
    self,
    factories: Sequence[Callable[[], dm_env.Environment]],
    share: slice,
    num: int,
    memory: int,
  ) -> None:
    self.share = share
    self.num_steps = 0  # Since it was started.
    self.num_deaths = 0  # In a row, each within few agent steps.
    self._memory = memory
    self._to_make = list(factories), share, num
    self.start()

  @property
  def pid(self) -> int:
    """Of the process that runs now."""
    return self._process.pid

  def start(self) -> None:
    """Starts a process, which makes its environments."""
    ours, theirs = connection.Pipe()
    command = [sys.executable, '-c', _RUN_CHILD]
    command += [str(fd) for fd in (os.getpid(), theirs.fileno(), self._memory)]
    self._process = subprocess.Popen(
      command,
      pass_fds=(theirs.fileno(), self._memory),
      stdin=subprocess.DEVNULL,
      env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
    )
    theirs.close()
    self._pipe = ours
    self.send('make', self._to_make)

  def send(self, verb: str, argument: Any) -> None:
    """Asks for something; whether it was heard, `receive` tells."""
    with contextlib.suppress(OSError):
      self._pipe.send((verb, argument))

  def receive(self) -> Any:
    """Waits for the answer; raises `_Died`, or what the environment raised."""
    try:
      answer = self._pipe.recv()
    except (EOFError, OSError):
      status = self._process.wait()
      self._pipe.close()
      if status < 0:
        raise _Died(f'was ended by {signal.Signals(-status).name}') from None
      raise _Died(f'ended with status {status}') from None
    if isinstance(answer, child_lib.Failure):
      raise answer.error from RemoteTraceback(answer.traceback)
    return answer

  def end(self) -> None:
    """Waits for the end of the process, not for ever."""
    self._pipe.close()
    try:
      self._process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
