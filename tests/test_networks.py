import numpy as np
import pytest
import tensorflow as tf
from dm_env import specs

from agents.impala import config as config_lib
from agents.impala import networks

T, B, A = 6, 3, 4


def make(network='mlp', lstm=True, shape=(5, 2), num_actions=A):
  config = config_lib.ImpalaConfig(network=network, lstm=lstm)
  return networks.make_network(
    config, specs.Array(shape, np.uint8), num_actions
  )


def make_inputs(seed=0, shape=(5, 2), steps=T):
  rng = np.random.default_rng(seed)
  start = np.zeros((steps, B), bool)
  start[0, 0] = start[2, 1] = start[3, 1] = start[5, 2] = True
  return networks.NetworkInput(
    observation=rng.integers(2, size=(steps, B, *shape)).astype(np.uint8),
    last_action=rng.integers(A, size=(steps, B)).astype(np.int32),
    last_reward=rng.normal(size=(steps, B)).astype(np.float32),
    start_of_episode=start,
  )


def entering_state(network):
  return tf.nest.map_structure(
    lambda part: tf.random.stateless_normal(part.shape, (1, 2)),
    network.initial_state(B),
  )


@pytest.mark.parametrize('lstm', [True, False])
def test_unroll_equals_step_by_step_across_resets(lstm):
  network, inputs = make(lstm=lstm), make_inputs()
  first = state = entering_state(network)
  outputs = []
  for t in range(T):
    row = networks.NetworkInput(*(part[t] for part in inputs))
    output, state = network.step(row, state)
    outputs.append(output)
  unrolled, left = network.unroll(inputs, first)
  assert unrolled.logits.shape == (T, B, A)
  assert unrolled.values.shape == (T, B)
  for t, output in enumerate(outputs):
    np.testing.assert_allclose(unrolled.logits[t], output.logits, atol=1e-5)
    np.testing.assert_allclose(unrolled.values[t], output.values, atol=1e-5)
  tf.nest.map_structure(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), left, state
  )


def test_an_episode_knows_nothing_of_the_one_before():
  network, inputs = make(), make_inputs()
  other = make_inputs(seed=1)
  for part, replacement in zip(inputs[:3], other[:3], strict=True):
    replacement[2:, 1] = part[2:, 1]  # Column 1 starts an episode at row 2.
  a, _ = network.unroll(inputs, entering_state(network))
  b, _ = network.unroll(other, network.initial_state(B))
  np.testing.assert_allclose(a.logits[2:, 1], b.logits[2:, 1], atol=1e-6)
  assert np.abs(a.logits[1, 1] - b.logits[1, 1]).max() > 1e-3


def test_the_core_sees_last_action_and_clipped_last_reward():
  network, inputs = make(), make_inputs()
  state = network.initial_state(B)

  def logits(**changed):
    return network.unroll(inputs._replace(**changed), state)[0].logits.numpy()

  big, bigger = (np.full((T, B), x, np.float32) for x in (3.0, 30.0))
  np.testing.assert_array_equal(
    logits(last_reward=big), logits(last_reward=bigger)
  )
  assert np.abs(logits(last_reward=-big) - logits(last_reward=big)).max() > 1e-4
  other = (inputs.last_action + 1) % A
  assert np.abs(logits(last_action=other) - logits()).max() > 1e-4


def test_the_feed_forward_network_sees_the_observation_alone():
  network, inputs = make(lstm=False), make_inputs()
  changed = inputs._replace(
    last_action=(inputs.last_action + 1) % A, last_reward=inputs.last_reward + 1
  )
  np.testing.assert_array_equal(
    network.unroll(inputs, ())[0].logits, network.unroll(changed, ())[0].logits
  )


def test_the_atari_expert_has_the_published_size():
  network = make('shallow_atari', False, (84, 84, 4), num_actions=6)
  # Convolutions 4,112 and 8,224, linear 663,808, heads 256 x 7 + 7.
  count = sum(int(tf.size(v)) for v in network.trainable_variables)
  assert count == 4_112 + 8_224 + 663_808 + 1_799


def test_frames_of_another_size_are_refused():
  with pytest.raises(ValueError, match=r'84x84.*\(72, 96, 3\)'):
    make('shallow_atari', False, (72, 96, 3))
