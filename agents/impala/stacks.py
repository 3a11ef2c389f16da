"""Stacked images in unrolls: each image is sent to the learner once.

An observation may be a stack of the last S images, `[H, W, S]`, newest last,
filled with the first image where an episode starts; its spec has an attribute
`num_stacked`. Rows 0 to T of such stacks are stored as `[T + S, H, W]`: the
stack of row 0, and the newest image of each row after it.
"""

from typing import Any

import numpy as np
import tensorflow as tf


def column_spec(spec: Any, num_rows: int) -> tf.TensorSpec:
  """Return how observations of a spec are stored in `num_rows`, T + 1, rows.

  `[T + 1, ...]`; of stacks of S > 1, `[T + S, H, W]`.
  """
  num_stacked = getattr(spec, 'num_stacked', 1)
  if num_stacked == 1:
    return tf.TensorSpec((num_rows, *spec.shape), spec.dtype)
  rows = num_rows - 1 + num_stacked
  return tf.TensorSpec((rows, *spec.shape[:-1]), spec.dtype)


def write(
  column: np.ndarray, row: int, num_rows: int, observation: np.ndarray
) -> None:
  """Store one row of N unrolls in a column `[N, ...]`; see `column_spec`.

  Rows are from 0 to T, in this order; `num_rows` is T + 1.
  """
  older = column.shape[1] - num_rows
  if not older:
    column[:, row] = observation
  elif row:
    column[:, row + older] = observation[..., -1]
  else:
    column[:, : older + 1] = np.moveaxis(observation, -1, 1)


def read(column: tf.Tensor, start_of_episode: tf.Tensor) -> tf.Tensor:
  """Return the observations that were written, time-major: `[T + 1, B, ...]`.

  `column` is `[B, ...]` as of `column_spec`, `start_of_episode` `[B, T + 1]`.
  """
  older = column.shape[1] - start_of_episode.shape[1]
  if not older:
    return tf.transpose(column, [1, 0, *range(2, column.shape.rank)])
  batch_size, num_images, height, width = tf.unstack(tf.shape(column))
  first = tf.range(batch_size)[:, tf.newaxis] * num_images
  which = _images(start_of_episode, older + 1) + first
  pixels = _interleave(
    tf.reshape(column, [-1, height * width]),
    tf.reshape(which, [-1, older + 1]),
  )
  stacks = tf.reshape(pixels, [-1, batch_size, height, width, older + 1])
  shape = (start_of_episode.shape[1], column.shape[0], *column.shape[2:])
  return tf.ensure_shape(stacks, (*shape, older + 1))


@tf.function(jit_compile=True)
def _interleave(images: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
  """Return stacks `[N, H * W, S]` of images `[P, H * W]`; `which` is `[N, S]`.

  Compiled, each byte is moved once: a batch of Atari's takes a quarter of the
  time of TensorFlow's own gather and transpose.
  """
  return tf.transpose(tf.gather(images, which), [0, 2, 1])


def _images(start_of_episode: tf.Tensor, num_stacked: int) -> tf.Tensor:
  """Return `[T + 1, B, S]` int32: indices of each stack's images in a column.

  A row's stack ends with its newest image and reaches back S - 1 further, but
  not behind the first image of its episode.
  """
  starts = tf.transpose(start_of_episode)
  num_rows = starts.shape[0]
  newest = tf.range(num_rows)[:, tf.newaxis] + num_stacked - 1
  # Of the last start within the stack's reach; 0 where there is none.
  first = tf.zeros_like(starts, tf.int32)
  for rows_ago in range(num_stacked - 1):
    was_start = tf.pad(starts, [[rows_ago, 0], [0, 0]])[:num_rows]
    first = tf.maximum(first, tf.where(was_start, newest - rows_ago, 0))
  back = tf.range(num_stacked) - (num_stacked - 1)
  return tf.maximum(newest[..., tf.newaxis] + back, first[..., tf.newaxis])
