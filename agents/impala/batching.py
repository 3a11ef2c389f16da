"""Dynamic batching: requests of many threads become one computation.

The reference does this with a C++ op (its dynamic_batching.py); the options and
their defaults are the same. Beyond it, a request may have several entries,
which stay together.
"""

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tree

from agents.impala import timing


class Closed(Exception):
  """The batcher is closed; the error of a failed computation is the cause."""

  @classmethod
  def because(cls, error: BaseException | None) -> 'Closed':
    """Name the error that closed the batcher, if any."""
    if error is None:
      return cls('the batcher is closed')
    made = cls(f'the batcher is closed, since {type(error).__name__}: {error}')
    made.__cause__ = error
    return made


class _Request:
  """One caller's entries, and later their results.

  Attributes:
    leaves: Arrays of the inputs, `[num_rows, ...]`.
    num_rows: At least 1.
    since: `time.monotonic()` of its making.
    outputs: Structure and `[num_rows, ...]` leaves; None before `done`, and
      after it where there will be none.
    done: Set when the caller need not wait any more.
  """

  def __init__(self, inputs: Any, maximum: int) -> None:
    self._inputs = inputs
    self.leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
    shapes = [leaf.shape for leaf in self.leaves]
    rows = {shape[:1] for shape in shapes}
    if len(rows) != 1 or () in rows:
      raise ValueError(
        f'inputs must all have the same first dimension, got shapes {shapes}'
      )
    self.num_rows = shapes[0][0]
    if not 1 <= self.num_rows <= maximum:
      raise ValueError(
        f'inputs must have 1 to maximum_batch_size rows, {maximum}, got '
        f'{self.num_rows}'
      )
    self.since = time.monotonic()
    self.outputs: tuple[Any, Sequence[np.ndarray]] | None = None
    self.done = threading.Event()

  def no_rows(self) -> Any:
    """Inputs without entries: the same nest, `[0, ...]`."""
    return tree.unflatten_as(
      self._inputs, [leaf[:0].copy() for leaf in self.leaves]
    )

  def check_like(self, example: Any) -> None:
    """Raise a ValueError unless these inputs match the `no_rows` of others."""
    try:
      tree.assert_same_structure(self._inputs, example)
    except (TypeError, ValueError) as error:
      raise ValueError(
        f'inputs must have the structure of the first request: {error}'
      ) from error
    for leaf, first in zip(self.leaves, tree.flatten(example), strict=True):
      if leaf.dtype != first.dtype or leaf.shape[1:] != first.shape[1:]:
        raise ValueError(
          'inputs must be like those of the first request but for the number '
          f'of rows, {first.dtype} {first.shape[1:]}, got {leaf.dtype} '
          f'{leaf.shape[1:]}'
        )


class Batcher:
  """Collects requests into batches and returns each caller its results.

  Callers block in `compute`. One thread or several compute batches in `serve`.
  As many callers as are to share a batch must be in `compute` at the same time,
  each in a thread of its own.

  Args:
    minimum_batch_size: A batch waits for so many rows, in vain at most until
      its oldest request is `timeout_ms` old. (The reference counts from when a
      computation asks for a batch, so that a request may wait less.)
    maximum_batch_size: A batch has so many rows at most.
    timeout_ms: None: a batch waits for its minimum for ever.

  Raises:
    ValueError: The sizes or the time make no sense.
  """

  def __init__(
    self,
    minimum_batch_size: int = 1,
    maximum_batch_size: int = 1024,
    timeout_ms: float | None = 100,
  ) -> None:
    if minimum_batch_size < 1:
      raise ValueError(
        f'minimum_batch_size must be at least 1, got {minimum_batch_size}'
      )
    if maximum_batch_size < minimum_batch_size:
      raise ValueError(
        f'maximum_batch_size must be at least minimum_batch_size, '
        f'{minimum_batch_size}, got {maximum_batch_size}'
      )
    if timeout_ms is not None and timeout_ms < 0:
      raise ValueError(f'timeout_ms must be at least 0, got {timeout_ms}')
    self._minimum = minimum_batch_size
    self._maximum = maximum_batch_size
    self._seconds = None if timeout_ms is None else timeout_ms / 1000
    self._changed = threading.Condition()  # Guards all below.
    self._example: Any = None  # The first request, which others must be like.
    self._waiting: collections.deque[_Request] = collections.deque()
    self._num_rows = 0  # Of those that wait.
    self._computing: set[_Request] = set()
    self._is_closed = False
    self._error: BaseException | None = None

  def compute(self, inputs: Any) -> Any:
    """Compute results for one caller's entries; blocks until they are there.

    Args:
      inputs: Nest of arrays or tensors, `[rows, ...]` each, with the structure,
        types and other dimensions of all requests.

    Returns:
      Nest of arrays, `[rows, ...]`: the computation's outputs for these rows.

    Raises:
      ValueError: The rows are none, too many, or not like others.
      Closed: The batcher was closed before there were results.
    """
    request = _Request(inputs, self._maximum)
    with self._changed:
      if self._is_closed:
        raise Closed.because(self._error)
      if self._example is None:
        self._example = request.no_rows()
      request.check_like(self._example)
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
    """Wait for enough requests, or the timeout of the oldest."""
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
    return tree.unflatten_as(self._example, leaves)

  def _hand_back(self, requests: Sequence[_Request], outputs: Any) -> None:
    """Return a batch's results, a nest of `[rows, ...]`, to its callers."""
    with self._changed:
      if self._is_closed:
        raise Closed.because(self._error)
      leaves = [np.asarray(leaf) for leaf in tree.flatten(outputs)]
      _check_outputs(leaves, sum(request.num_rows for request in requests))
      self._computing.difference_update(requests)
    end = 0
    for request in requests:
      start, end = end, end + request.num_rows
      # Its own thread puts them together.
      request.outputs = outputs, [leaf[start:end] for leaf in leaves]
      request.done.set()

  def serve(
    self, function: Callable[[Any], Any], timer: timing.Timer | None = None
  ) -> None:
    """Compute batches until the batcher is closed; an error closes it.

    Args:
      function: Inputs to outputs.
      timer: Of the thread: its waiting is 'waiting_for_requests'.

    Raises:
      Exception: What `function` raised, or what closed the batcher elsewhere.
    """
    timer = timer or timing.Timer()
    try:
      while True:
        with timer.measure('waiting_for_requests'):
          requests = self._next_batch()
        num_rows = sum(request.num_rows for request in requests)
        timer.count(batches=1, requests=len(requests), rows=num_rows)
        self._hand_back(requests, function(self._inputs(requests)))
    except BaseException as error:
      self.close(error)
      if not isinstance(error, Closed):
        raise
    if self._error is not None:  # Where it is None, all is done.
      raise self._error

  def close(self, error: BaseException | None = None) -> None:
    """Raise `Closed` in all callers; `error` is the cause. Idempotent."""
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
    """Return the seconds to the oldest request's timeout; None without one."""
    if not self._waiting or self._seconds is None:
      return None
    return self._waiting[0].since + self._seconds - time.monotonic()

  def _take(self) -> list[_Request]:
    """Remove the oldest requests, up to the maximum, from the queue."""
    taken, num_rows = [], 0
    while (
      self._waiting and num_rows + self._waiting[0].num_rows <= self._maximum
    ):
      taken.append(self._waiting.popleft())
      num_rows += taken[-1].num_rows
    self._num_rows -= num_rows
    return taken


def _check_outputs(leaves: Sequence[np.ndarray], num_rows: int) -> None:
  """Raise a ValueError unless there is one result a row."""
  for leaf in leaves:
    if not leaf.ndim:
      raise ValueError(
        f'outputs must have a batch dimension, {num_rows}, got {leaf!r}'
      )
    if len(leaf) != num_rows:
      raise ValueError(
        'outputs must have the batch dimension of the inputs, expected '
        f'{num_rows}, got {len(leaf)}'
      )
