"""Unrolls on their way through the queue: a few columns instead of a dozen.

Reverb compresses, sends and stores every column of an item by itself, which
takes longer than the bytes of most columns are worth. So all but the
observation, which may have strings, goes as one column of bytes, in the order
of the unroll's fields and as this machine has them in memory: both ends are
x86-64.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tree


class PackedUnroll(NamedTuple):
  """An unroll as the tables hold it."""

  observation: Any
  others: Any  # `[bytes]` uint8; `[B, bytes]` in a batch.


def packed_signature(signature: Any) -> PackedUnroll:
  """The shapes and types of an unroll that is packed; see `pack`."""
  num_bytes = sum(_num_bytes(spec) for spec in _others(signature))
  return PackedUnroll(
    signature.inputs.observation, tf.TensorSpec((num_bytes,), tf.uint8)
  )


def pack(unroll: Any) -> PackedUnroll:
  """Packs one `unrolls.Unroll` of arrays: copies all but the observation."""
  parts = [
    np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for array in _others(unroll)
  ]
  return PackedUnroll(unroll.inputs.observation, np.concatenate(parts))


def unpack(packed: PackedUnroll, signature: Any) -> Any:
  """Unpacks a batch to an `unrolls.Unroll` of `[B, ...]`, in TensorFlow."""
  specs = _others(signature)
  parts = tf.split(packed.others, [_num_bytes(spec) for spec in specs], axis=1)
  unroll = tree.unflatten_as(
    _without_observation(signature), list(map(_from_bytes, parts, specs))
  )
  return unroll._replace(
    inputs=unroll.inputs._replace(observation=packed.observation)
  )


def _without_observation(unroll: Any) -> Any:
  return unroll._replace(inputs=unroll.inputs._replace(observation=()))


def _others(unroll: Any) -> list[Any]:
  return tree.flatten(_without_observation(unroll))


def _num_bytes(spec: tf.TensorSpec) -> int:
  return math.prod(spec.shape) * spec.dtype.size


def _from_bytes(part: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
  """`[B, bytes]` -> `[B, ...]` as of one column's spec."""
  if spec.dtype == tf.bool:
    return tf.cast(tf.reshape(part, [-1, *spec.shape]), tf.bool)
  shape = [-1, *spec.shape, spec.dtype.size]
  return tf.bitcast(tf.reshape(part, shape), spec.dtype)
