"""Environments in processes of their own: a crash costs an episode, no run.

The parent sends the actions of all, then waits for all. Observations, rewards
and the rest are written by the children into memory that they share with the
parent; only strings go through the pipe.
"""

import contextlib
import ctypes
import itertools
import logging
import mmap
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

import dm_env
import numpy as np
import tree
from dm_env import specs

from environments import batch

_LOGGER = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0

# A process that dies so often in a row, each time within so few agent steps, is
# not worth another start.
_MAX_DEATHS = 5
_FEW_STEPS = 5

_RUN_CHILD = 'from environments import processes; processes.main()'

_PR_SET_PDEATHSIG = 1


class RemoteTraceback(Exception):
  """Where in an environment's process an exception was raised."""

  def __str__(self) -> str:
    return f'\n{self.args[0]}'


class _Died(Exception):
  """A process ended; `str()` says of what."""


class _Reply(NamedTuple):
  """What a process says after a step or reset of its environments.

  Attributes:
    needs_reset: Of each, whether its timestep was LAST.
    strings: Of each observation's leaf of strings, those of all environments.
  """

  needs_reset: Sequence[bool]
  strings: Sequence[Sequence[str]]


class ProcessBatch:
  """As `batch.EnvironmentBatch`, with its environments in child processes.

  An environment whose process died ends its episode with a truncation: the
  observation stays, the reward is 0, and the game is counted nowhere. Another
  process is started, and the next step resets it. Each environment of a process
  that was started again counts as one that was.

  Args:
    factories: make one environment each; picklable.
    levels: index of the level that each plays.
    num_processes: over which they are dealt in turn, neighbours together; at
      most one for each.

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
    self._levels = np.array(levels, np.int32)
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

  @property
  def num_environments(self) -> int:
    """N, the number of environments."""
    return len(self._levels)

  @property
  def levels(self) -> np.ndarray:
    """`[N]` int32, index of the level that each environment plays."""
    return self._levels

  @property
  def observation_spec(self) -> Any:
    """Spec of one environment's observation, without the batch dimension."""
    return self._specs[0]

  @property
  def action_spec(self) -> specs.DiscreteArray:
    """Spec of one environment's action."""
    return self._specs[1]

  def reset(self) -> batch.BatchTimeStep:
    """Resets every environment, wherever its episode stands."""
    self._forget_ends()
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
    actions = np.asarray(actions, self.action_spec.dtype)
    if actions.shape != (self.num_environments,):
      raise ValueError(
        f'actions must have shape ({self.num_environments},), '
        f'got {actions.shape}'
      )
    self._forget_ends()
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
    found = [self._make(child) for child in self._children]
    self._specs = found[0]
    for other in found:
      if other != self._specs:
        raise ValueError(
          'specs must be equal in every environment, got '
          f'{other} and {self._specs}'
        )
    arrays = _layout(self._specs[0], self.num_environments)
    size = sum(_size(array) for array in arrays)
    os.ftruncate(self._memory, size)
    self._timestep = _timestep(self._specs[0], arrays, self._memory)
    self._timestep.environment_restarts[:] = self._restarts
    self._restarts = self._timestep.environment_restarts
    self._forget_ends()

  def _make(self, child: '_Child') -> Any:
    """Has a process make its environments; returns their specs."""
    while True:
      try:
        return child.receive()
      except _Died as death:
        self._restart(child, death, wait=False)

  def _restart(self, child: '_Child', death: _Died, wait: bool = True) -> None:
    """Starts another process in place of one that died."""
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

  def _take(self, child: '_Child', reply: _Reply) -> None:
    self._needs_reset[child.share] = reply.needs_reset
    leaves = [
      leaf
      for leaf in tree.flatten(self._timestep.observation)
      if leaf.dtype.hasobject
    ]
    for leaf, strings in zip(leaves, reply.strings, strict=True):
      leaf[child.share] = strings

  def _forget_ends(self) -> None:
    self._timestep.episode_return.fill(np.nan)
    self._timestep.episode_steps.fill(0)


class _Child:
  """The parent's end of one process.

  Attributes:
    share: Which environments are its.
    num_steps: Agent steps since it was started.
    num_deaths: In a row, each within few agent steps.
  """

  def __init__(
    self,
    factories: Sequence[Callable[[], dm_env.Environment]],
    share: slice,
    num: int,
    memory: int,
  ) -> None:
    """Starts a process.

    Args:
      factories: Of its environments.
      share: Which of all environments they are.
      num: N, the number of all.
      memory: File descriptor of the shared memory.
    """
    self.share = share
    self._num = num
    self.num_steps = 0
    self.num_deaths = 0
    self._factories = list(factories)
    self._memory = memory
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
    self.send('make', (self._factories, self.share, self._num))

  def send(self, verb: str, argument: Any) -> None:
    """Asks for something; whether it was heard, `receive` tells."""
    with contextlib.suppress(OSError):
      self._pipe.send((verb, argument))

  def receive(self) -> Any:
    """Waits for the answer.

    Raises:
      _Died: The process ended.
      Exception: What the environment raised.
    """
    try:
      answer = self._pipe.recv()
    except (EOFError, OSError):
      status = self._process.wait()
      self._pipe.close()
      if status < 0:
        raise _Died(f'was ended by {signal.Signals(-status).name}') from None
      raise _Died(f'ended with status {status}') from None
    if isinstance(answer, _Failure):
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


class _Failure(NamedTuple):
  """An exception on its way to the parent."""

  error: Exception
  traceback: str


def _layout(
  observation_spec: Any, num: int
) -> list[tuple[tuple[int, ...], np.dtype]]:
  """Shape and type of every array of a `BatchTimeStep`, in its order."""
  leaves = [
    ((num, *spec.shape), np.dtype(spec.dtype))
    for spec in tree.flatten(observation_spec)
  ]
  float32, int32 = np.dtype(np.float32), np.dtype(np.int32)
  others = (float32, float32, np.dtype(np.bool_), float32, int32, int32)
  return leaves + [((num,), dtype) for dtype in others]


def _size(array: tuple[tuple[int, ...], np.dtype]) -> int:
  """Bytes in the shared memory, in whole cache lines; none of strings."""
  shape, dtype = array
  if dtype.hasobject:
    return 0
  return -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64


def _timestep(
  observation_spec: Any,
  arrays: Sequence[tuple[tuple[int, ...], np.dtype]],
  memory: int,
  share: slice = slice(None),
) -> batch.BatchTimeStep:
  """The arrays in the shared memory, or a share of each."""
  mapped = mmap.mmap(memory, sum(_size(array) for array in arrays))
  views, offset = [], 0
  for shape, dtype in arrays:
    if dtype.hasobject:
      views.append(np.full(shape, '', object)[share])
    else:
      whole: np.ndarray = np.ndarray(shape, dtype, mapped, offset)
      views.append(whole[share])
    offset += _size((shape, dtype))
  observation = tree.unflatten_as(observation_spec, views[:-6])
  return batch.BatchTimeStep(observation, *views[-6:])


def _serve(pipe: connection.Connection, memory: int) -> None:
  """Makes environments and steps them, until the pipe ends."""
  verb, (factories, share, num) = pipe.recv()
  assert verb == 'make'
  made: batch.EnvironmentBatch | None = None
  is_mapped = False
  try:
    made = batch.EnvironmentBatch([factory() for factory in factories])
    pipe.send((made.observation_spec, made.action_spec))
    while (request := pipe.recv())[0] != 'close':
      verb, argument = request
      if not is_mapped:
        # The parent has made room by now.
        spec = made.observation_spec
        made.write_to(_timestep(spec, _layout(spec, num), memory, share))
        is_mapped = True
      timestep = made.step(argument) if verb == 'step' else made.reset(argument)
      strings = [
        leaf.tolist()
        for leaf in tree.flatten(timestep.observation)
        if leaf.dtype.hasobject
      ]
      pipe.send(_Reply(made.needs_reset, strings))
  except (EOFError, BrokenPipeError, ConnectionResetError):
    pass
  except Exception as error:
    pipe.send(_failure(error))
  finally:
    if made:
      made.close()


def _failure(error: Exception) -> _Failure:
  """An exception as it can travel: of its own type, if that can."""
  text = traceback.format_exc()
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:
    error = RuntimeError(f'{type(error).__name__}: {error}')
  return _Failure(error, text)


def main() -> None:
  """Runs in the child: `_RUN_CHILD` with parent, pipe and memory."""
  parent, pipe, memory = (int(argument) for argument in sys.argv[1:])
  # The kernel ends this process with its parent, whatever that dies of.
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    return
  # Ctrl-C reaches the whole group; the parent says when to end.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  _serve(connection.Connection(pipe), memory)
