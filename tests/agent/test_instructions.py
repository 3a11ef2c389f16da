"""Strings through actor, Reverb, dataset and learner: DeepMind Lab's INSTR."""

import dm_env
import numpy as np
import pipelines
import tensorflow as tf
from dm_env import specs

from agents.impala import config as config_lib
from agents.impala import networks
from agents.impala import unrolls as unrolls_lib
from environments import batch

T, N = 3, 2
CONFIG = config_lib.ImpalaConfig(
  network='shallow', unroll_length=T, batch_size=N, queue_capacity=8
)
SPEC = {
  'RGB_INTERLEAVED': specs.Array((36, 36, 3), np.uint8),
  'INSTR': specs.StringArray((), str, name='INSTR'),
}


class Instructed(dm_env.Environment):
  """Episodes of two steps, each with an instruction of its own."""

  def __init__(self, name):
    self._name, self._episode, self._step = name, 0, 0

  def observation_spec(self):
    return SPEC

  def action_spec(self):
    return specs.DiscreteArray(3, np.int32)

  def _observe(self):
    frame = np.full((36, 36, 3), 10 * self._episode + self._step, np.uint8)
    # The second episode has no instruction.
    text = '' if self._episode == 2 else f'{self._name} in é {self._episode}'
    return {'RGB_INTERLEAVED': frame, 'INSTR': text}

  def reset(self):
    self._episode, self._step = self._episode + 1, 0
    return dm_env.restart(self._observe())

  def step(self, action):
    self._step += 1
    if self._step < 2:
      return dm_env.transition(0.5, self._observe())
    return dm_env.termination(1.0, self._observe())


def test_instructions_reach_the_learner_and_are_learned_from():
  queue, rows, batches = pipelines.Queue(CONFIG, SPEC, 3), pipelines.Rows(), []

  def keep():
    for each in queue.reader():
      batches.append(each)
      yield each

  network = networks.make_network(CONFIG, SPEC, 3)
  learner = pipelines.make_learner(CONFIG, network, keep(), rows, 0.0)
  environment = batch.EnvironmentBatch([Instructed('a'), Instructed('b')])
  before = [v.numpy() for v in network.trainable_variables]
  actor = queue.actor(learner, environment.levels)
  pipelines.play(actor, environment, 2 * T)
  learner.step()
  learner.step()
  queue.close()

  text = np.concatenate([each.inputs.observation['INSTR'] for each in batches])
  assert text.shape == (2 * (T + 1), N)
  words = [word.decode() for word in text[:, 0]]
  # Two steps and the last observation an episode; row T is twice there.
  assert words == ['a in é 1'] * 3 + [''] + [''] * 3 + ['a in é 3']
  assert [word.decode() for word in text[:2, 1]] == ['b in é 1'] * 2
  moved = {
    variable.name: np.abs(variable - old).max()
    for variable, old in zip(network.trainable_variables, before, strict=True)
  }
  assert all(change > 0 for change in moved.values()), moved
  assert all(np.isfinite(row['gradient_norm']) for row in rows.rows)


def test_the_gradient_of_a_word_that_is_there_twice_is_counted_twice():
  """Of an embedding it comes in pieces; its norm is that of their sum."""
  network = networks.make_network(CONFIG, SPEC, 3)
  rows = pipelines.Rows()
  inputs = networks.NetworkInput(
    observation={
      'RGB_INTERLEAVED': np.zeros((T + 1, N, 36, 36, 3), np.uint8),
      'INSTR': np.full((T + 1, N), b'go go go', object),
    },
    last_action=np.zeros((T + 1, N), np.int32),
    last_reward=np.zeros((T + 1, N), np.float32),
    start_of_episode=np.zeros((T + 1, N), bool),
  )
  unroll = unrolls_lib.Unroll(
    inputs=inputs,
    action=np.zeros((T, N), np.int32),
    reward=np.ones((T, N), np.float32),
    discount=np.ones((T, N), np.float32),
    behaviour_logits=np.zeros((T, N, 3), np.float32),
    episode_return=np.full((T, N), np.nan, np.float32),
    episode_steps=np.zeros((T, N), np.int32),
    environment_restarts=np.zeros(N, np.int32),
    level=np.zeros(N, np.int32),
    learner_step=np.zeros(N, np.int64),
    core_state=network.initial_state(N),
  )
  unroll = tf.nest.map_structure(tf.constant, unroll)
  learner = pipelines.make_learner(CONFIG, network, iter([unroll]), rows, 0.0)
  before = [v.numpy() for v in network.trainable_variables]
  learner.step()
  # The first step of RMSProp from mean square one: g / sqrt(~1.09 + g^2 / 100).
  total = 0.0
  for variable, old in zip(network.trainable_variables, before, strict=True):
    step = (old - variable.numpy()) / CONFIG.learning_rate
    gradient = step * np.sqrt(1.09 / (1 - step**2 / 100))
    total += np.sum(gradient**2)
  np.testing.assert_allclose(
    rows.rows[0]['gradient_norm'], np.sqrt(total), rtol=1e-3
  )
