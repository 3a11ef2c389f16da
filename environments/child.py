"""The child process of some environments; see `processes`."""

import ctypes
import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np
import tree

from environments import batch

_PR_SET_PDEATHSIG = 1


class Reply(NamedTuple):
  """The message of a child after a step or reset of its environments."""

  needs_reset: Sequence[bool]
  strings: Sequence[Sequence[str]]  # Per string leaf, one per environment.


class Failure(NamedTuple):
  """The message of a child whose environment raised an exception."""

  error: Exception
  traceback: str


class Arrays:
  """The layout of a `batch.BatchTimeStep` in memory that processes share.

  Strings are not shared: each process has its own array of them. `num` is the
  number of all environments.
  """

  def __init__(self, observation_spec: Any, num: int) -> None:
    self._spec = observation_spec
    self._arrays = [
      ((num, *spec.shape), np.dtype(spec.dtype))
      for spec in tree.flatten(observation_spec)
    ]
    self._arrays += [((num,), dtype) for dtype in batch.DTYPES.values()]
    self.num_bytes = sum(_size(*array) for array in self._arrays)

  def map(self, memory: int, share: slice = slice(None)) -> batch.BatchTimeStep:
    """Map the memory of a file descriptor; return a share of each array."""
    mapped = mmap.mmap(memory, self.num_bytes)
    views, offset = [], 0
    for shape, dtype in self._arrays:
      if dtype.hasobject:
        views.append(np.full(shape, '', object)[share])
      else:
        whole: np.ndarray = np.ndarray(shape, dtype, mapped, offset)
        views.append(whole[share])
      offset += _size(shape, dtype)
    num_leaves = len(views) - len(batch.DTYPES)
    observation = tree.unflatten_as(self._spec, views[:num_leaves])
    return batch.BatchTimeStep(observation, *views[num_leaves:])


def _size(shape: tuple[int, ...], dtype: np.dtype) -> int:
  """Return the bytes in shared memory, in whole cache lines; 0 for strings."""
  if dtype.hasobject:
    return 0
  return -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64


def _serve(pipe: connection.Connection, memory: int) -> None:
  """Make environments and step them until the pipe is closed."""
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
        # The parent has sized the memory by now.
        made.write_to(Arrays(made.observation_spec, num).map(memory, share))
        is_mapped = True
      timestep = made.step(argument) if verb == 'step' else made.reset(argument)
      strings = [
        leaf.tolist()
        for leaf in tree.flatten(timestep.observation)
        if leaf.dtype.hasobject
      ]
      pipe.send(Reply(made.needs_reset, strings))
  except (EOFError, BrokenPipeError, ConnectionResetError):
    pass
  except Exception as error:
    pipe.send(_failure(error))
  finally:
    if made:
      made.close()


def _failure(error: Exception) -> Failure:
  """Return an exception that can be pickled, of its own type if possible."""
  text = traceback.format_exc()
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:
    error = RuntimeError(f'{type(error).__name__}: {error}')
  return Failure(error, text)


def main() -> None:
  """Run a child; its arguments are the parent, the pipe and the memory."""
  parent, pipe, memory = (int(argument) for argument in sys.argv[1:])
  # The kernel kills this process when its parent dies, for any reason.
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    return
  # Ctrl-C reaches the whole group; the parent ends this process.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  _serve(connection.Connection(pipe), memory)
