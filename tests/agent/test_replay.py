"""The replay: the same unrolls again, never waited for, never counted."""

import dataclasses
import threading

import numpy as np
import pipelines
import processes
import pytest
import tensorflow as tf
from dm_env import specs

from agents.impala import config as config_lib
from agents.impala import unrolls as unrolls_lib

CONFIG = config_lib.ImpalaConfig(
  network='mlp',
  lstm=False,
  unroll_length=2,
  batch_size=4,
  queue_capacity=4,
  replay_proportion=0.5,
  replay_capacity=6,
)
OBSERVATION = specs.Array((2,), np.float32)


class Rig(pipelines.Queue):
  """Its unrolls carry their number as level."""

  next = 0

  def write(self, count):
    for _ in range(count):
      unroll = unrolls_lib.empty_unrolls(1, self.signature)
      unroll.level[:] = self.next
      self.next += 1
      self.writer.write([tf.nest.map_structure(lambda c: c[0], unroll)])


@pytest.fixture
def make_rig():
  made = []

  def make(**changes):
    made.append(Rig(dataclasses.replace(CONFIG, **changes), OBSERVATION, 3))
    return made[-1]

  yield make
  for rig in made:
    rig.close()


def write_in_background(rig, count):
  thread = threading.Thread(target=rig.write, args=(count,), daemon=True)
  thread.start()
  return thread


def test_half_of_a_batch_is_fresh_in_order_and_half_replayed(make_rig):
  rig = make_rig()
  write_in_background(rig, 40)
  reader = rig.reader()
  levels = np.array([next(reader).level for _ in range(15)])
  assert levels.shape == (15, 4)
  np.testing.assert_array_equal(levels[:, :2].ravel(), np.arange(30))
  replayed = levels[:, 2:]
  # What is replayed was written before, and of the newest: six in the replay,
  # and what was written or sampled ahead of the learner.
  age = levels[:, 1:2] - replayed
  assert age.min() >= -16
  assert age.max() <= 6 + 2
  assert len(np.unique(replayed)) > 10


def test_what_is_written_is_in_both_tables(make_rig):
  rig = make_rig()
  rig.write(4)
  # The last write may be under way still.
  processes.wait_until(lambda: rig.info('queue').current_size == 4, 20)
  assert rig.info('replay').current_size == 4


def test_the_oldest_leave_the_replay_first_and_nobody_waits(make_rig):
  rig = make_rig(queue_capacity=100)
  rig.write(100)  # More than the replay holds: returns all the same.
  assert rig.info('replay').current_size == 6
  reader = rig.reader()
  # Of 100 samples: one of the six is absent once in 10^7 times.
  replayed = np.concatenate([next(reader).level[2:] for _ in range(50)])
  assert set(replayed) == set(range(94, 100))


@pytest.mark.parametrize('proportion', [0.75, 0.25, 0.5])
def test_nothing_blocks_when_both_are_short(make_rig, proportion):
  rig = make_rig(
    replay_proportion=proportion, queue_capacity=1, replay_capacity=1
  )
  write_in_background(rig, 12)
  reader = rig.reader()
  got = threading.Event()

  def read():
    for _ in range(2):
      next(reader)
    got.set()

  threading.Thread(target=read, daemon=True).start()
  assert got.wait(20)


def test_a_replay_that_makes_no_whole_unrolls_is_refused():
  with pytest.raises(
    ValueError,
    match=r'multiple of 1/4 below 1.*batch_size.*4.*got 0\.3',
  ):
    dataclasses.replace(CONFIG, replay_proportion=0.3)
  with pytest.raises(ValueError, match=r'from 0 to below 1, got 1\.0'):
    dataclasses.replace(CONFIG, replay_proportion=1.0)
  with pytest.raises(ValueError, match=r'multiple of 1/4 below 1'):
    dataclasses.replace(CONFIG, replay_proportion=1 - 1e-9)
  third = dataclasses.replace(CONFIG, batch_size=3, replay_proportion=0.3333)
  assert third.num_replayed == 1
