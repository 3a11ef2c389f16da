"""Dynamic batching: requests of many threads become one computation.

What the reference does with an op of its own in C++ (its dynamic_batching.py)
for one process; here in Python, for any threads: those of a server's callers,
or a program's own. The options and their defaults are the reference's. Beyond
it, a request may have several rows, which stay together.
"""

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tree

from agents.impala import meter as meter_lib


class Closed(Exception):
  """The batcher takes no requests and gives no results any more.

  Where a computation failed, its error is the cause.
  """

  @classmethod
  def because(cls, error: BaseException | None) -> 'Closed':
    """Says why: `error` closed the batcher, or somebody did who was done."""
    if error is None:
      return cls('the batcher is closed')
    made = cls(f'the batcher is closed, since {type(error).__name__}: {error}')
    made.__cause__ = error
    return made


class _Request:
  """A caller's rows, and later what came of them.

  Attributes:
    inputs: Nest of arrays, `[num_rows, ...]`.
    leaves: Arrays of the inputs, `[num_rows, ...]`.
    num_rows: At least 1.
    since: `time.monotonic()` of its making.
    outputs: Structure and `[num_rows, ...]` leaves; None before `done`, and
      after it where there will be none.
    done: Set when the caller need not wait any more.
  """

  def __init__(self, inputs: Any) -> None:
    self.inputs = inputs
    self.leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
    self.num_rows = len(self.leaves[0])
    self.since = time.monotonic()
    self.outputs: tuple[Any, Sequence[np.ndarray]] | None = None
    self.done = threading.Event()


class Batcher:
  """Collects requests into batches, and hands the results back.

  Callers block in `compute`. One thread or several compute batches in `serve`.
  As many callers as are to share a batch must be in `compute` at the same time,
  each in a thread of its own.

  Args:
    minimum_batch_size: A batch waits for so many rows, in vain at most until
      its oldest request is `timeout_ms` old. (The reference counts from when a
      computation asks for a batch, so that a request may wait less.)
    maximum_batch_size: A batch has so many rows at most.
    timeout_ms: None: a batch waits for its minimum for ever.
  """

  def __init__(
    self,
    minimum_batch_size: int = 1,
    maximum_batch_size: int = 1024,
    timeout_ms: float | None = 100,
  ) -> None:
    self._minimum = minimum_batch_size
    self._maximum = maximum_batch_size
    self._seconds = None if timeout_ms is None else timeout_ms / 1000
    self._changed = threading.Condition()  # Guards all below.
    self._waiting: collections.deque[_Request] = collections.deque()
    self._num_rows = 0  # Of those that wait.
    self._computing: set[_Request] = set()
    self._is_closed = False
    self._error: BaseException | None = None

  def compute(self, inputs: Any) -> Any:
    """Waits for the results of some rows.

    Args:
      inputs: Nest of arrays, `[rows, ...]` each, at least one row and at most
        `maximum_batch_size`; all requests have the same structure, types and
        other dimensions.

    Returns:
      Nest of arrays, `[rows, ...]`: the computation's outputs for these rows.

    Raises:
      Closed: The batcher was closed before there were results.
    """
    request = _Request(inputs)
    with self._changed:
      if self._is_closed:
        raise Closed.because(self._error)
      self._waiting.append(request)
      self._num_rows += request.num_rows
      # Less often than always: each wakes a thread up.
      if len(self._waiting) == 1 or self._num_rows >= self._minimum:
        self._changed.notify()
    request.done.wait()
    if request.outputs is None:
      raise Closed.because(self._error)
    return tree.unflatten_as(*request.outputs)

  def _next_batch(self) -> list[_Request]:
    """Waits for requests, which then wait for their results."""
    with self._changed:
      while not self._is_closed and not self._is_due():
        self._changed.wait(self._seconds_left())
      if self._is_closed:
        raise Closed.because(self._error)
      requests = self._take()
      self._computing.update(requests)
      if self._waiting:
        self._changed.notify()  # Another thread may have a batch already.
      return requests

  def _inputs(self, requests: Sequence[_Request]) -> Any:
    """Nest of arrays, `[rows, ...]`."""
    columns = zip(*(request.leaves for request in requests), strict=True)
    leaves = [
      column[0] if len(column) == 1 else np.concatenate(column)
      for column in columns
    ]
    return tree.unflatten_as(requests[0].inputs, leaves)

  def _hand_back(self, requests: Sequence[_Request], outputs: Any) -> None:
    """Gives the results of a batch, a nest of `[rows, ...]`, to its callers."""
    with self._changed:
      if self._is_closed:
        raise Closed.because(self._error)
      leaves = [np.asarray(leaf) for leaf in tree.flatten(outputs)]
      self._computing.difference_update(requests)
    end = 0
    for request in requests:
      start, end = end, end + request.num_rows
      # Its own thread puts them together.
      request.outputs = outputs, [leaf[start:end] for leaf in leaves]
      request.done.set()

  def serve(
    self, function: Callable[[Any], Any], meter: meter_lib.Meter | None = None
  ) -> None:
    """Computes batches until the batcher is closed; an error closes it.

    Args:
      function: Inputs to outputs.
      meter: Of the thread: its waiting is 'waiting_for_requests'.

    Raises:
      Exception: What `function` raised, or what closed the batcher elsewhere.
    """
    meter = meter or meter_lib.Meter()
    try:
      while True:
        with meter.measure('waiting_for_requests'):
          requests = self._next_batch()
        num_rows = sum(request.num_rows for request in requests)
        meter.count(batches=1, requests=len(requests), rows=num_rows)
        self._hand_back(requests, function(self._inputs(requests)))
    except BaseException as error:
      self.close(error)
      if not isinstance(error, Closed):
        raise
    if self._error is not None:  # Where it is None, all is done.
      raise self._error

  def close(self, error: BaseException | None = None) -> None:
    """Releases all with `Closed`; `error` says why. The first close counts."""
    with self._changed:
      if self._is_closed:
        return
      self._is_closed, self._error = True, error
      for request in (*self._waiting, *self._computing):
        request.done.set()
      self._waiting.clear()
      self._computing.clear()
      self._changed.notify_all()

  def _is_due(self) -> bool:
    if self._num_rows >= self._minimum:
      return True
    left = self._seconds_left()
    return left is not None and left <= 0

  def _seconds_left(self) -> float | None:
    """Until the oldest request has waited enough; None: no such time comes."""
    if not self._waiting or self._seconds is None:
      return None
    return self._waiting[0].since + self._seconds - time.monotonic()

  def _take(self) -> list[_Request]:
    """The oldest requests, as many as the maximum allows."""
    taken, num_rows = [], 0
    while (
      self._waiting and num_rows + self._waiting[0].num_rows <= self._maximum
    ):
      taken.append(self._waiting.popleft())
      num_rows += taken[-1].num_rows
    self._num_rows -= num_rows
    return taken
