"""The learner sees the stacks that the actor saw, though each picture is sent
once."""

import numpy as np
import pipelines
import pytest
import tensorflow as tf

import environments
from agents.impala import config as config_lib
from agents.impala import policies, stacks
from environments import atari

T = 6


class Remembering(policies.UniformPolicy):
  """Random actions; keeps the observations that they were chosen for."""

  def __init__(self, num_actions):
    super().__init__(num_actions, seed=1)
    self.seen = []

  def __call__(self, inputs, core_state):
    self.seen.append(np.array(inputs.observation))
    return super().__call__(inputs, core_state)


class Source:
  """Serves a network's variables."""

  def __init__(self, network):
    self._network = network

  def get_variables(self, names):
    del names
    return [[*(v.numpy() for v in self._network.variables), np.int64(1)]]


@pytest.mark.parametrize(
  ('level_name', 'num_unrolls'),
  [('atari_breakout', 60), ('catch', 10)],
)
def test_a_batch_shows_what_the_actor_saw(level_name, num_unrolls):
  # Breakout loses lives; at 150 agent steps a game is truncated.
  settings = environments.Settings(max_episode_frames=600)
  batch = environments.make_batch(level_name, [1, 2, 3], settings=settings)
  config = config_lib.ImpalaConfig(
    network='mlp', lstm=False, unroll_length=T, batch_size=3, queue_capacity=200
  )
  num_actions = batch.action_spec.num_values
  queue = pipelines.Queue(config, batch.observation_spec, num_actions)
  policy = Remembering(num_actions)
  try:
    actor = queue.actor(Source(queue.network), batch.levels, policy)
    timestep = pipelines.play(actor, batch, num_unrolls * T)
    policy.seen.append(np.array(timestep.observation))
    reader = iter(queue.dataset())
    starts = 0
    for number in range(num_unrolls):
      inputs = next(reader).unroll.inputs
      first = number * T
      seen = np.stack(policy.seen[first : first + T + 1])
      np.testing.assert_array_equal(inputs.observation, seen)
      starts += int(inputs.start_of_episode[1:].numpy().sum())
    assert starts >= 3
  finally:
    batch.close()
    queue.close()


@pytest.mark.parametrize('num_stacked', [2, 4, 9])
def test_stacks_over_starts_in_any_rows(num_stacked):
  rng = np.random.default_rng(num_stacked)
  rows, num = 8, 40
  start = rng.random((num, rows)) < 0.3
  spec = atari.ImageStack(3, 5, num_stacked)
  newest = rng.integers(256, size=(rows, num, 3, 5), dtype=np.uint8)
  stack = rng.integers(256, size=(num, *spec.shape), dtype=np.uint8)
  column = np.zeros((num, *stacks.column_spec(spec, rows).shape), np.uint8)
  shown = []
  for row in range(rows):
    stack = np.concatenate([stack[..., 1:], newest[row][..., None]], -1)
    stack[start[:, row]] = newest[row][start[:, row]][..., None]
    stacks.write(column, row, rows, stack)
    shown.append(stack)
  found = stacks.read(tf.constant(column), tf.constant(start))
  np.testing.assert_array_equal(found, np.stack(shown))
