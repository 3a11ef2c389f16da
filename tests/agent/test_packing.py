"""Unrolls packed into bytes come out as they went in."""

import numpy as np
import pytest
import tensorflow as tf
import tree
from dm_env import specs

from agents.impala import config as config_lib
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
  return unrolls_lib.make_signature(
    config_lib.ImpalaConfig(unroll_length=_T),
    {
      'frame': specs.Array((2, 2, 3), np.uint8),
      'instruction': specs.Array((), object),
    },
    _ACTIONS,
    core_state=(tf.zeros((1, 4)),) * 2,
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
