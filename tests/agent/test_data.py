"""What the reader passes on to the learner."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from agents.impala import data


def make_reader(batches):
  return data.UnrollReader(
    tf.data.Dataset.from_generator(
      batches,
      output_signature=(
        tf.TensorSpec((None,), tf.uint64),
        tf.TensorSpec((), tf.int32),
      ),
    ),
    threading.Event(),
  )


def test_an_unroll_that_is_sent_again_is_not_learned_from_again():
  """By the key with which Reverb sends what was not confirmed."""

  def batches():
    # The third and the fifth have one that came before.
    for number, keys in enumerate(
      [(1, 2), (3, 4), (5, 3), (6, 7), (2, 8), (9,)]
    ):
      yield np.array(keys, np.uint64), number

  reader = make_reader(batches)
  assert [int(next(reader)) for _ in range(4)] == [0, 1, 3, 5]


def test_an_error_while_reading_reaches_the_learner():
  def batches():
    yield np.array([7], np.uint64), 1
    raise OSError('the disk is gone')

  reader = make_reader(batches)
  assert int(next(reader)) == 1
  with pytest.raises(tf.errors.OpError, match='the disk is gone'):
    next(reader)
