"""Unrolls packed into bytes come out as they went in."""

import numpy as np
import pytest
import tensorflow as tf
import tree

from agents.impala import networks
from agents.impala import unrolls as unrolls_lib

_T, _ACTIONS = 3, 5


def columns(dtype, shape, rng):
  if dtype == np.bool_:
    return rng.integers(2, size=shape).astype(dtype)
  if np.issubdtype(dtype, np.integer):
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, size=shape, dtype=dtype)
  values = rng.normal(size=shape).astype(dtype)
  return np.where(values > 1, np.nan, values)


@pytest.fixture
def signature():
  def rows(count, dtype, *shape):
    return tf.TensorSpec((count, *shape), dtype)

  return unrolls_lib.Unroll(
    inputs=networks.NetworkInput(
      observation={
        'frame': rows(_T + 1, tf.uint8, 2, 2, 3),
        'instruction': rows(_T + 1, tf.string),
      },
      last_action=rows(_T + 1, tf.int32),
      last_reward=rows(_T + 1, tf.float32),
      start_of_episode=rows(_T + 1, tf.bool),
    ),
    action=rows(_T, tf.int32),
    reward=rows(_T, tf.float32),
    discount=rows(_T, tf.float32),
    behaviour_logits=rows(_T, tf.float32, _ACTIONS),
    episode_return=rows(_T, tf.float32),
    episode_steps=rows(_T, tf.int32),
    environment_restarts=tf.TensorSpec((), tf.int32),
    level=tf.TensorSpec((), tf.int32),
    learner_step=tf.TensorSpec((), tf.int64),
    core_state=(tf.TensorSpec((4,), tf.float32),) * 2,
  )


def make_unroll(signature, seed):
  rng = np.random.default_rng(seed)

  def column(spec):
    if spec.dtype == tf.string:
      return np.array([f'go to {i}'.encode() for i in rng.integers(9, size=4)])
    return columns(spec.dtype.as_numpy_dtype, spec.shape, rng)

  return tree.map_structure(column, signature)


def test_a_batch_comes_out_as_its_unrolls_went_in(signature):
  unrolls = [make_unroll(signature, seed) for seed in range(3)]
  packed = [unrolls_lib.pack(unroll) for unroll in unrolls]
  batch = tree.map_structure(lambda *parts: np.stack(parts), *packed)
  unpack = tf.function(lambda batch: unrolls_lib.unpack(batch, signature))
  wanted = tree.map_structure(lambda *parts: np.stack(parts), *unrolls)
  tree.map_structure(
    lambda found, want: np.testing.assert_array_equal(found.numpy(), want),
    unpack(batch),
    wanted,
  )
  # Assertions of NumPy do not look at types.
  types = tree.map_structure(lambda column: column.dtype, unpack(batch))
  assert types == tree.map_structure(lambda spec: spec.dtype, signature)
