"""A request for a computation: some rows, like those of other requests."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tree


class Request:
  """A caller's rows, and later what came of them.

  Attributes:
    leaves: Arrays of the inputs, `[num_rows, ...]`.
    num_rows: At least 1.
    since: `time.monotonic()` of its making.
    outputs: Structure and `[num_rows, ...]` leaves; None before `done`, and
      after it where there will be none.
    done: Set when the caller need not wait any more.

  Args:
    inputs: Nest of arrays or tensors, `[rows, ...]`.
    maximum: So many rows at most.

  Raises:
    ValueError: There are none or too many, or the arrays' numbers differ.
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
    """What the inputs are like: the same nest of arrays without rows."""
    return tree.unflatten_as(
      self._inputs, [leaf[:0].copy() for leaf in self.leaves]
    )

  def check_like(self, example: Any) -> None:
    """Raises a ValueError unless these fit what `no_rows` gave of others."""
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
