"""What runs in the process of some environments: see `processes`."""

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
  """What a process says after a step or reset of its environments."""

  needs_reset: Sequence[bool]
  strings: Sequence[Sequence[str]]  # For each leaf of strings, those of all.


class Failure(NamedTuple):
  """An exception on its way to the parent."""

  error: Exception
  traceback: str


class Arrays:
  """The arrays of a `batch.BatchTimeStep` in memory that processes share.

  Strings are not in it: whoever maps it has their array for himself. `num` is
  the number of all environments.
  """

  def __init__(self, observation_spec: Any, num: int) -> None:
    self._spec = observation_spec
    leaves = [
      ((num, *spec.shape), np.dtype(spec.dtype))
      for spec in tree.flatten(observation_spec)
    ]
    float32, int32 = np.dtype(np.float32), np.dtype(np.int32)
    others = (float32, float32, np.dtype(np.bool_), float32, int32, int32)
    self._arrays = leaves + [((num,), dtype) for dtype in others]
    self.num_bytes = sum(_size(*array) for array in self._arrays)

  def map(self, memory: int, share: slice = slice(None)) -> batch.BatchTimeStep:
    """The arrays in the memory of a file descriptor, or a share of each."""
    mapped = mmap.mmap(memory, self.num_bytes)
    views, offset = [], 0
    for shape, dtype in self._arrays:
      if dtype.hasobject:
        views.append(np.full(shape, '', object)[share])
      else:
        whole: np.ndarray = np.ndarray(shape, dtype, mapped, offset)
        views.append(whole[share])
      offset += _size(shape, dtype)
    observation = tree.unflatten_as(self._spec, views[:-6])
    return batch.BatchTimeStep(observation, *views[-6:])


def _size(shape: tuple[int, ...], dtype: np.dtype) -> int:
  """Bytes in the shared memory, in whole cache lines; none of strings."""
  if dtype.hasobject:
    return 0
  return -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64


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
  """An exception as it can travel: of its own type, if that can."""
  text = traceback.format_exc()
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:
    error = RuntimeError(f'{type(error).__name__}: {error}')
  return Failure(error, text)


def main() -> None:
  """Runs what `processes` starts, with numbers of parent, pipe and memory."""
  parent, pipe, memory = (int(argument) for argument in sys.argv[1:])
  # The kernel ends this process with its parent, whatever that dies of.
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    return
  # Ctrl-C reaches the whole group; the parent says when to end.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  _serve(connection.Connection(pipe), memory)
