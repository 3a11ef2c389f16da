"""Environments in child processes: a crash costs an episode, not the run.

The parent sends all actions, then waits for all children. They write the
timesteps into memory that they share with the parent; only strings go through
the pipe.
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

# A process is not restarted after this many deaths in a row, each within this
# many agent steps.
_MAX_DEATHS = 5
_FEW_STEPS = 5

_Factories = Sequence[Callable[[], dm_env.Environment]]

_RUN_CHILD = 'from environments import child; child.main()'


class RemoteTraceback(Exception):
  """Traceback of an exception in a child process."""

  def __str__(self) -> str:
    return f'\n{self.args[0]}'


class _Died(Exception):
  """A child process ended; the message says how."""


class ProcessBatch:
  """A `batch.EnvironmentBatch` with its environments in child processes.

  When a process dies its environments end their episodes with a truncation: the
  observation is repeated, the reward is 0, and the episode is not reported.
  Another process is started, and the next step resets its environments, each of
  which counts as restarted.

  `factories`, which are picklable, make one environment each; each process has
  a contiguous range of them.

  Raises:
    ValueError: The number of processes is out of range, or the specs differ.
    Exception: An environment raised it; its traceback is the cause.
    RuntimeError: A process keeps dying.
  """

  def __init__(
    self, factories: _Factories, levels: Sequence[int], num_processes: int
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
    """Reset every environment, also in the middle of an episode."""
    self._timestep.clear_ends()
    for child in self._children:
      child.send('reset', None)
    for child in self._children:
      self._finish_reset(child, None)
    return self._timestep

  def step(self, actions: np.ndarray) -> batch.BatchTimeStep:
    """Take one agent step in every environment; see `EnvironmentBatch`."""
    actions = batch.check_actions(actions, self.action_spec, len(self.levels))
    self._timestep.clear_ends()
    for child in self._children:
      child.send('step', actions[child.share])
    for child in self._children:
      try:
        self._read(child, child.receive())
        child.num_steps += 1
      except _Died as death:
        self._truncate(child, death)
    return self._timestep

  def close(self) -> None:
    """Stop every process."""
    for child in self._children:
      child.send('close', None)
    for child in self._children:
      child.end()
    if self._memory >= 0:
      os.close(self._memory)
      self._memory = -1

  def _map(self) -> None:
    """Receive the specs and map the shared memory."""
    first, *others = [self._receive_specs(child) for child in self._children]
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
    self._timestep.clear_ends()

  def _receive_specs(self, child: '_Child') -> Any:
    """Wait until a child has made its environments; return their specs."""
    try:
      return child.receive()
    except _Died as death:
      return self._restart(child, death)

  def _restart(self, child: '_Child', death: _Died) -> Any:
    has_worked = child.num_steps >= _FEW_STEPS
    child.num_deaths = 1 if has_worked else child.num_deaths + 1
    child.num_steps = 0
    name = f'environments {child.share.start} to {child.share.stop - 1}'
    if child.num_deaths >= _MAX_DEATHS:
      raise RuntimeError(
        f'the process of {name} died {_MAX_DEATHS} times in a row within '
        f'{_FEW_STEPS} agent steps; the last {death}'
      )
    self._restarts[child.share] += 1
    _LOGGER.warning('The process of %s %s; starting another', name, death)
    child.start()
    return self._receive_specs(child)

  def _finish_reset(self, child: '_Child', indices: list[int] | None) -> None:
    """Read the reply to a reset; repeat it if the process dies."""
    try:
      self._read(child, child.receive())
    except _Died as death:
      self._restart(child, death)
      child.send('reset', indices)
      self._finish_reset(child, indices)

  def _truncate(self, child: '_Child', death: _Died) -> None:
    """Truncate the episodes of a dead process; start another process."""
    share = child.share
    self._timestep.reward[share] = 0.0
    self._timestep.discount[share] = 1.0
    self._timestep.start_of_episode[share] = False
    self._timestep.episode_return[share] = np.nan
    self._timestep.episode_steps[share] = 0
    due = np.flatnonzero(self._needs_reset[share]).tolist()
    self._restart(child, death)
    if not due:
      self._needs_reset[share] = True
      return
    # Those whose episode had already ended start the next one now.
    child.send('reset', due)
    self._finish_reset(child, due)

  def _read(self, child: '_Child', reply: child_lib.Reply) -> None:
    self._needs_reset[child.share] = reply.needs_reset
    leaves = [
      leaf
      for leaf in tree.flatten(self._timestep.observation)
      if leaf.dtype.hasobject
    ]
    for leaf, strings in zip(leaves, reply.strings, strict=True):
      leaf[child.share] = strings


class _Child:
  """One child process, as its parent sees it."""

  def __init__(
    self, factories: _Factories, share: slice, num: int, memory: int
  ) -> None:
    self.share = share
    self.num_steps = 0  # Since it was started.
    self.num_deaths = 0  # In a row, each within few agent steps.
    self._memory = memory
    self._to_make = list(factories), share, num
    self.start()

  @property
  def pid(self) -> int:
    """Process id of the running process."""
    return self._process.pid

  def start(self) -> None:
    """Start a process, which makes its environments."""
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
    """Send a request; `receive` raises if the process is dead."""
    with contextlib.suppress(OSError):
      self._pipe.send((verb, argument))

  def receive(self) -> Any:
    """Wait for the reply; raise `_Died`, or what the environment raised."""
    try:
      reply = self._pipe.recv()
    except (EOFError, OSError):
      status = self._process.wait()
      self._pipe.close()
      if status < 0:
        raise _Died(f'was killed by {signal.Signals(-status).name}') from None
      raise _Died(f'ended with status {status}') from None
    if isinstance(reply, child_lib.Failure):
      raise reply.error from RemoteTraceback(reply.traceback)
    return reply

  def end(self) -> None:
    """Wait for the end of the process; kill it after a timeout."""
    self._pipe.close()
    try:
      self._process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
