import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from dm_env import specs

from agents.impala import config as config_lib
from agents.impala import networks, torsos
from programs import startup

T, B, A = 6, 3, 4


def make(network='mlp', lstm=True, shape=(5, 2), num_actions=A):
  config = config_lib.ImpalaConfig(network=network, lstm=lstm)
  spec = specs.Array(shape, np.uint8)
  return networks.make_network(config, spec, num_actions)


def make_inputs(seed=0, shape=(5, 2), steps=T):
  rng = np.random.default_rng(seed)
  start = np.zeros((steps, B), bool)
  for row, column in ((0, 0), (1, 1), (3, 1), (5, 2)):
    start[row : row + 1, column] = True
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


def assert_stepped_as_unrolled(network, inputs):
  first = state = entering_state(network)
  unrolled, left = network.unroll(inputs, first)
  for t in range(len(inputs.last_reward)):
    row = tf.nest.map_structure(lambda part, t=t: part[t], inputs)
    output, state = network.step(row, state)
    np.testing.assert_allclose(unrolled.logits[t], output.logits, atol=1e-5)
    np.testing.assert_allclose(unrolled.values[t], output.values, atol=1e-5)
  tf.nest.map_structure(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), left, state
  )
  return unrolled


@pytest.mark.parametrize('lstm', [True, False])
def test_unroll_equals_step_by_step_across_resets(lstm):
  unrolled = assert_stepped_as_unrolled(make(lstm=lstm), make_inputs())
  assert unrolled.logits.shape == (T, B, A)
  assert unrolled.values.shape == (T, B)


def test_an_episode_knows_nothing_of_the_one_before():
  network, inputs = make(), make_inputs()
  other = make_inputs(seed=1)
  for part, replacement in zip(inputs[:3], other[:3], strict=True):
    replacement[3:, 1] = part[3:, 1]  # Column 1 starts an episode at row 3.
  a, _ = network.unroll(inputs, entering_state(network))
  b, _ = network.unroll(other, network.initial_state(B))
  np.testing.assert_allclose(a.logits[3:, 1], b.logits[3:, 1], atol=1e-6)
  assert np.abs(a.logits[2, 1] - b.logits[2, 1]).max() > 1e-3


def test_the_core_sees_last_action_and_clipped_last_reward():
  network, inputs = make(), make_inputs()
  state = network.initial_state(B)

  def logits(**changed):
    return network.unroll(inputs._replace(**changed), state)[0].logits.numpy()

  big, bigger = (np.full((T, B), x, np.float32) for x in (3.0, 30.0))
  same = logits(last_reward=bigger)
  np.testing.assert_array_equal(logits(last_reward=big), same)
  assert np.abs(logits(last_reward=-big) - logits(last_reward=big)).max() > 1e-4
  other = (inputs.last_action + 1) % A
  assert np.abs(logits(last_action=other) - logits()).max() > 1e-4


DMLAB = {
  'RGB_INTERLEAVED': specs.Array((72, 96, 3), np.uint8),
  'INSTR': specs.StringArray((), bytes),
}
ATARI = specs.Array((84, 84, 4), np.uint8)


@pytest.mark.parametrize(
  ('network', 'lstm', 'spec', 'num_actions', 'size'),
  [
    # The paper's Figure 3 says 1.6 million and 1.2 million parameters.
    ('deep', True, DMLAB, 9, 1_628_010),
    ('shallow', True, DMLAB, 9, 1_230_426),
    # The fork's: padded convolutions, and no instruction in Doom.
    ('benchmark', True, specs.Array((72, 128, 3), np.uint8), 9, 4_859_626),
    # Atari: grey frames, stacked by four; without and with the optional core.
    ('shallow_atari', False, ATARI, 6, 677_943),
    ('shallow_atari', True, ATARI, 6, 1_210_423),
    ('deep_atari', False, ATARI, 18, 1_094_115),
  ],
)
def test_sizes_are_the_published_ones(network, lstm, spec, num_actions, size):
  config = config_lib.ImpalaConfig(network=network, lstm=lstm)
  made = networks.make_network(config, spec, num_actions)
  assert sum(int(tf.size(v)) for v in made.trainable_variables) == size


def make_instructed(steps, batch, instructions):
  rng = np.random.default_rng(0)
  return make_inputs(steps=steps)._replace(
    observation={
      'RGB_INTERLEAVED': rng.integers(
        256, size=(steps, batch, 72, 96, 3), dtype=np.uint8
      ),
      'INSTR': np.array(instructions, object).reshape(steps, batch),
    }
  )


@pytest.mark.parametrize('network', ['deep', 'shallow', 'benchmark'])
def test_frames_and_instructions_are_unrolled_as_they_are_stepped(network):
  config = config_lib.ImpalaConfig(network=network)
  made = networks.make_network(config, DMLAB, A)
  inputs = make_instructed(
    2, B, [b'get the key', b'', b'one two', b'get the key', b'go', b'x y z w']
  )
  assert_stepped_as_unrolled(made, inputs)


def test_instructions_are_told_apart_by_words_and_their_order():
  tf.random.set_seed(1)
  encoder = torsos.InstructionEncoder()
  one, again, other, turned, longer, spaced, empty, blank = encoder(
    tf.constant(
      [b'red ball', b'red ball', b'red box', b'ball red', b'red ball now']
      + [b'  red   ball ', b'', b'  ']
    )
  ).numpy()
  np.testing.assert_array_equal(one, again)
  np.testing.assert_allclose(one, spaced, atol=1e-6)
  for different in (other, turned, longer, empty):
    assert np.abs(one - different).max() > 1e-4
  np.testing.assert_array_equal(empty, 0)
  np.testing.assert_array_equal(blank, 0)


def test_an_instruction_does_not_depend_on_those_beside_it():
  encoder = torsos.InstructionEncoder()
  alone = encoder(tf.constant([b'red ball']))
  beside = encoder(tf.constant([b'a b c d e f', b'red ball', b'']))
  np.testing.assert_allclose(alone[0], beside[1], atol=1e-6)
  np.testing.assert_array_equal(encoder(tf.constant([b''])), np.zeros((1, 64)))


def test_observations_that_are_no_frames_are_refused():
  for shape, rule in (
    ((10, 5), r'network deep takes.*'),
    ((20, 84, 4), '36x36.*'),
  ):
    with pytest.raises(ValueError, match=f'{rule}{re.escape(str(shape))}'):
      make('deep', True, shape)
  spec = {'RGB': specs.Array((72, 96, 3), np.uint8)}
  with pytest.raises(ValueError, match=r"RGB_INTERLEAVED and INSTR.*'RGB'"):
    torsos.make_torso(config_lib.ImpalaConfig(), spec)


def test_pixels_are_scaled_to_one():
  torso = torsos.ConvolutionTorso(
    config_lib.ImpalaConfig(), ((1, 2, 1),), 'VALID', 1
  )
  frame = np.full((1, 3, 3, 2), 51, np.uint8)
  torso(frame)
  for variable in torso.trainable_variables:
    is_bias = variable.shape.rank == 1
    variable.assign(tf.fill(variable.shape, 0.0 if is_bias else 1.0))
  # 2 x 2 x 2 pixels of 0.2 in each of 2 x 2 places.
  np.testing.assert_allclose(torso(frame), [[4 * 8 * 0.2]], rtol=1e-6)


@pytest.mark.parametrize(
  ('network', 'lstm'),
  [('shallow_atari', False), ('deep_atari', False), ('benchmark', True)],
)
def test_centred_frames_hide_the_brightness_and_show_the_contrast(
  network, lstm
):
  spec = specs.Array((84, 84, 4), np.uint8)
  config = config_lib.ImpalaConfig(network=network, lstm=lstm)
  plain = torsos.make_torso(config, spec)
  centred = torsos.make_torso(
    dataclasses.replace(config, center_frames=True), spec
  )
  rng = np.random.default_rng(0)
  frames = rng.integers(60, 180, size=(2, 84, 84, 4), dtype=np.uint8)
  plain(frames), centred(frames)
  for variable, same in zip(
    centred.trainable_variables, plain.trainable_variables, strict=True
  ):
    variable.assign(same)
  np.testing.assert_allclose(centred(frames), centred(frames + 70), atol=1e-4)
  assert np.abs(plain(frames) - plain(frames + 70)).max() > 0.01
  # A frame without mean whose contrast is doubled beforehand is seen the same.
  by_hand = 2 * (frames - frames.mean(axis=(1, 2, 3), keepdims=True))
  np.testing.assert_allclose(centred(frames), plain(by_hand), atol=1e-4)


@pytest.mark.skipif(
  'avx512f' not in startup.vector_instructions(), reason='needs AVX-512'
)
@pytest.mark.parametrize(
  'network, num_layers', [('shallow_atari', 3), ('deep_atari', 16)]
)
def test_bfloat16_says_nearly_the_same_with_the_same_variables(
  network, num_layers
):
  """Within four standard deviations of what rounding may do.

  A number of 8 bits is off by at most 2^-8 of itself. A layer rounds three
  times forward (weights, product, sum with the bias) and three times backward;
  products are summed in float32. Such errors are independent, so that their
  squares add up over the layers, in whatever order sums are made. Of a bias's
  gradient the size says nothing: that is a sum over all positions, which may
  cancel to less than its terms are off by; it points the same way.
  """
  tf.random.set_seed(0)
  spec = specs.Array((84, 84, 4), np.uint8)
  config = config_lib.ImpalaConfig(network=network, lstm=False)
  exact = torsos.make_torso(config, spec)
  lower = torsos.make_torso(
    dataclasses.replace(config, precision='bfloat16'), spec
  )
  rng = np.random.default_rng(0)
  frames = rng.integers(256, size=(3, 84, 84, 4), dtype=np.uint8)
  exact(frames), lower(frames)
  for variable, same in zip(
    lower.trainable_variables, exact.trainable_variables, strict=True
  ):
    assert (variable.name, variable.dtype) == (same.name, tf.float32)
    variable.assign(same)
  features, gradients = [], []
  for torso in (exact, lower):
    with tf.GradientTape() as tape:
      features.append(torso(frames))
      loss = tf.reduce_mean(features[-1] ** 2)
    gradients.append(tape.gradient(loss, torso.trainable_variables))

  def difference(first, second):
    assert second.dtype == tf.float32
    return tf.norm(first - second) / tf.norm(first)

  assert difference(*features) > 2**-12  # It is not float32.
  assert difference(*features) < 4 * (3 * num_layers) ** 0.5 * 2**-8
  for first, second in zip(*gradients, strict=True):
    if first.shape.rank == 1:
      cosine = tf.tensordot(first, second, 1) / tf.norm(first) / tf.norm(second)
      assert cosine > 0.5
    else:
      bound = 4 * (6 * num_layers) ** 0.5 * 2**-8
      assert difference(first, second) < bound, first.shape


def test_the_residual_torso_against_plain_tensorflow():
  """Layer by layer as the reference has them, with the torso's variables."""
  torso = torsos.make_torso(
    config_lib.ImpalaConfig(), specs.Array((40, 52, 3), np.uint8)
  )
  rng = np.random.default_rng(0)
  frames = rng.integers(256, size=(2, 40, 52, 3), dtype=np.uint8)
  result = torso(frames)
  assert len(torso.trainable_variables) == 2 * 16
  for bias in torso.trainable_variables:
    if bias.shape.rank == 1:
      bias.assign(rng.normal(size=bias.shape) / 10)

  def convolve(hidden, module):
    weights, bias = module.w, module.b
    return tf.nn.conv2d(hidden, weights, 1, 'SAME') + bias

  hidden = tf.constant(frames, tf.float32) / 255
  for convolution, blocks in torso._sections:
    hidden = convolve(hidden, convolution)
    hidden = tf.nn.pool(hidden, [3, 3], 'MAX', [2, 2], 'SAME')
    assert len(blocks) == 2
    for block in blocks:
      first = convolve(tf.nn.relu(hidden), block._first)
      hidden += convolve(tf.nn.relu(first), block._second)
  hidden = tf.reshape(tf.nn.relu(hidden), [2, -1])
  linear = torso._linear
  expected = tf.nn.relu(hidden @ linear.w + linear.b)
  assert np.abs(torso(frames) - result).max() > 1e-3  # The biases count.
  assert float(tf.reduce_max(expected)) > 0
  np.testing.assert_allclose(torso(frames), expected, atol=1e-4)
