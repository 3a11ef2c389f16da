"""Dynamic batching alone: any function, called from any threads."""

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

from agents.impala import inference


class BatchedFunction:
  """A function whose concurrent calls are computed together; see `batched`.

  Its thread starts with the first call.
  """

  def __init__(
    self, function: Callable[..., Any], batcher: inference.Batcher
  ) -> None:
    functools.update_wrapper(self, function)
    self._function = function
    self._batcher = batcher
    self._lock = threading.Lock()
    self._thread: threading.Thread | None = None

  def __call__(self, *inputs: Any) -> Any:
    """See `inference.Batcher.compute`."""
    with self._lock:
      if self._thread is None:
        self._thread = threading.Thread(
          target=self._serve, name='batched', daemon=True
        )
        self._thread.start()
    return self._batcher.compute(inputs)

  def close(self) -> None:
    """Releases all callers with `inference.Closed`, and those to come."""
    self._batcher.close()
    with self._lock:
      thread = self._thread
    if thread:
      thread.join()

  def _serve(self) -> None:
    # Every caller gets the error, as the cause of `inference.Closed`.
    with contextlib.suppress(Exception):
      self._batcher.serve(lambda inputs: self._function(*inputs))


def batched(
  minimum_batch_size: int = 1,
  maximum_batch_size: int = 1024,
  timeout_ms: float | None = 100,
) -> Callable[[Callable[..., Any]], BatchedFunction]:
  """Has concurrent calls of a function computed together.

    @batching.batched(minimum_batch_size=8)
    def act(observation):
      return policy(observation)

  Call it from as many threads as are to share a batch, with arrays `[rows,
  ...]`; it is called in a thread of its own, with the rows of several calls
  behind one another, and must return arrays of as many rows. A `tf.function`
  should leave the first dimension open (`input_signature`), or it is traced
  for every size. Close what comes of it with `close()`. Sizes and time are
  those of `inference.Batcher`.
  """
  return lambda function: BatchedFunction(
    function,
    inference.Batcher(minimum_batch_size, maximum_batch_size, timeout_ms),
  )
