"""The replay: the same unrolls again, never waited for, never counted."""

import dataclasses
import threading

import numpy as np
import processes
import pytest
import reverb
import tensorflow as tf
from dm_env import specs

from agents.impala import batches as batches_lib
from agents.impala import config as config_lib
from agents.impala import meter, networks
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


class Rig:
  """Tables, and a writer of unrolls that carry their number as level."""

  def __init__(self, config):
    self.stop = threading.Event()
    self.network = networks.make_network(config, OBSERVATION, 3)
    self.signature = unrolls_lib.make_signature(config, OBSERVATION, 3, ())
    self.server = reverb.Server(
      unrolls_lib.make_tables(config, self.signature), port=None
    )
    self.address = f'localhost:{self.server.port}'
    self.client = reverb.Client(self.address)
    self.config = config
    self.next = 0
    self.writer = unrolls_lib.UnrollWriter(
      self.client, self.stop, meter.Meter(), has_replay=config.num_replayed > 0
    )

  def write(self, count):
    for _ in range(count):
      unroll = unrolls_lib.empty_unrolls(1, self.signature)
      unroll.level[:] = self.next
      self.next += 1
      self.writer.write([tf.nest.map_structure(lambda c: c[0], unroll)])

  def batches(self):
    dataset = batches_lib.make_dataset(
      self.address, self.signature, self.config
    )
    return batches_lib.UnrollReader(dataset, self.stop)

  def info(self, table):
    return self.client.server_info()[table]


@pytest.fixture
def make_rig():
  made = []

  def make(**changes):
    made.append(Rig(dataclasses.replace(CONFIG, **changes)))
    return made[-1]

  yield make
  for rig in made:
    rig.stop.set()
    processes.stop_later(rig.server)


def write_in_background(rig, count):
  thread = threading.Thread(target=rig.write, args=(count,), daemon=True)
  thread.start()
  return thread


def test_half_of_a_batch_is_fresh_in_order_and_half_replayed(make_rig):
  rig = make_rig()
  write_in_background(rig, 40)
  reader = rig.batches()
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


def test_the_data_is_written_once(make_rig):
  rig = make_rig()
  rig.write(4)
  # The last write may be under way still.
  processes.wait_until(lambda: rig.info('queue').current_size == 4, 20)
  assert rig.info('replay').current_size == 4


def test_the_oldest_leave_the_replay_first_and_nobody_waits(make_rig):
  rig = make_rig(queue_capacity=100)
  rig.write(100)  # More than the replay holds: returns all the same.
  assert rig.info('replay').current_size == 6
  reader = rig.batches()
  # Of 100 samples: one of the six is absent once in 10^7 times.
  replayed = np.concatenate([next(reader).level[2:] for _ in range(50)])
  assert set(replayed) == set(range(94, 100))


def test_no_replay_unless_asked_for(make_rig):
  rig = make_rig(replay_proportion=0.0)
  rig.write(4)
  assert set(rig.client.server_info()) == {'queue'}
  np.testing.assert_array_equal(next(rig.batches()).level, np.arange(4))


@pytest.mark.parametrize(
  ('proportion', 'capacity'), [(0.75, 1), (0.25, 1), (0.5, 1)]
)
def test_nothing_blocks_when_either_is_short(make_rig, proportion, capacity):
  rig = make_rig(
    replay_proportion=proportion, queue_capacity=1, replay_capacity=capacity
  )
  write_in_background(rig, 12)
  reader = rig.batches()
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
    match=r'multiple of 1/4 below 1, since batch_size is 4, got 0\.3',
  ):
    dataclasses.replace(CONFIG, replay_proportion=0.3)
  with pytest.raises(ValueError, match=r'from 0 to below 1, got 1\.0'):
    dataclasses.replace(CONFIG, replay_proportion=1.0)
  with pytest.raises(ValueError, match=r'multiple of 1/4 below 1'):
    dataclasses.replace(CONFIG, replay_proportion=1 - 1e-9)
  third = dataclasses.replace(CONFIG, batch_size=3, replay_proportion=0.3333)
  assert third.num_replayed == 1
