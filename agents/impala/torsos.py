"""Torsos: from observations to features."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import sonnet as snt
import tensorflow as tf
import tree

from agents.impala import config as config_lib


class MlpTorso(snt.Module):
  """Flattened observation -> two layers of 64; for the embedded levels."""

  def __init__(self) -> None:
    super().__init__(name='mlp_torso')
    self._mlp = snt.nets.MLP([64, 64], activate_final=True)

  def __call__(self, observation: tf.Tensor) -> tf.Tensor:
    """`[N, ...]` numbers of any type -> `[N, 64]`."""
    return self._mlp(snt.flatten(tf.cast(observation, tf.float32)))


class ConvolutionTorso(snt.Module):
  """Plain convolutions and a layer of `size`; each followed by a ReLU.

  `convolutions` are channels, kernel size and stride of each.
  """

  def __init__(
    self,
    config: config_lib.ImpalaConfig,
    convolutions: tuple[tuple[int, int, int], ...],
    padding: str,
    size: int,
  ) -> None:
    super().__init__(name='convolution_torso')
    self._config = config
    self._convolutions = [
      snt.Conv2D(channels, kernel, stride, padding=padding)
      for channels, kernel, stride in convolutions
    ]
    self._linear = snt.Linear(size)

  def __call__(self, observation: tf.Tensor) -> tf.Tensor:
    """`[N, H, W, C]` uint8 -> `[N, D]`."""
    hidden = _scale(observation, self._config)
    for convolution in self._convolutions:
      hidden = tf.nn.relu(_convolve(convolution, hidden))
    return _last_layer(self._linear, hidden)


class ResidualBlock(snt.Module):
  """ReLU, convolution, ReLU, convolution, and the input added."""

  def __init__(self, channels: int) -> None:
    super().__init__(name='residual_block')
    self._first = snt.Conv2D(channels, 3)
    self._second = snt.Conv2D(channels, 3)

  def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
    """`[N, H, W, channels]` -> the same shape."""
    hidden = _convolve(self._first, tf.nn.relu(inputs))
    return _convolve(self._second, tf.nn.relu(hidden)) + inputs


class ResidualTorso(snt.Module):
  """The deep torso of the paper's Figure 3: 15 convolutions and a layer.

  Three sections of 16, 32 and 32 channels: a 3x3 convolution, a 3x3 maximum
  over stride 2, and two residual blocks; then ReLU, a layer of 256, ReLU.
  """

  def __init__(self, config: config_lib.ImpalaConfig) -> None:
    super().__init__(name='residual_torso')
    self._config = config
    self._sections = [
      (
        snt.Conv2D(channels, 3),
        [ResidualBlock(channels), ResidualBlock(channels)],
      )
      for channels in (16, 32, 32)
    ]
    self._linear = snt.Linear(256)

  def __call__(self, observation: tf.Tensor) -> tf.Tensor:
    """`[N, H, W, C]` uint8 -> `[N, 256]`."""
    hidden = _scale(observation, self._config)
    for convolution, blocks in self._sections:
      hidden = _convolve(convolution, hidden)
      hidden = tf.nn.max_pool2d(hidden, 3, 2, 'SAME')
      for block in blocks:
        hidden = block(hidden)
    return _last_layer(self._linear, tf.nn.relu(hidden))


def _convolve(layer: snt.Conv2D, inputs: tf.Tensor) -> tf.Tensor:
  """Apply a layer in its inputs' precision; its variables are float32."""
  if inputs.dtype == tf.float32:
    return layer(inputs)
  if not hasattr(layer, 'w'):
    layer(tf.cast(inputs, tf.float32))  # Makes them.
  weights, bias = (tf.cast(part, inputs.dtype) for part in (layer.w, layer.b))
  convolved = tf.nn.conv2d(inputs, weights, layer.stride, layer.conv_padding)
  return tf.nn.bias_add(convolved, bias)


def _last_layer(layer: snt.Linear, hidden: tf.Tensor) -> tf.Tensor:
  """Apply a layer as `_convolve` does, flattened, with a ReLU, to float32."""
  hidden = snt.flatten(hidden)
  if hidden.dtype == tf.float32 or not hasattr(layer, 'w'):
    return tf.nn.relu(layer(tf.cast(hidden, tf.float32)))
  product = tf.matmul(hidden, tf.cast(layer.w, hidden.dtype))
  return tf.nn.relu(tf.cast(product, tf.float32) + layer.b)


def _scale(frames: tf.Tensor, config: config_lib.ImpalaConfig) -> tf.Tensor:
  """`[N, H, W, C]` uint8 -> from 0 to 1, of the precision that is asked for.

  Centred, what an observation has in common goes to zero, and its contrast is
  doubled. A bright background otherwise moves all inputs of a unit together,
  so that a step of the optimiser can end it: the first layer of a network
  that was trained on Pong without had one live filter of 16.
  """
  return _make_scale()(frames, config.center_frames, config.precision)


@functools.cache
def _make_scale() -> Callable[[tf.Tensor, bool, str], tf.Tensor]:
  """`_scale`, compiled for a CPU.

  TensorFlow's own cast takes five times as long there, and with it the learner
  step of the small Atari network a sixth more. On a GPU it is little, and a
  compiler is not always installed.
  """
  is_compiled = not tf.config.list_physical_devices('GPU')
  return tf.function(_scale_eagerly, jit_compile=is_compiled)


def _scale_eagerly(
  frames: tf.Tensor, center: bool, precision: str
) -> tf.Tensor:
  scaled = tf.cast(frames, tf.float32) / 255.0
  if center:
    # Summed as integers: a sum of this many floats is off in the fifth digit.
    pixels = tf.cast(frames, tf.int32)
    total = tf.reduce_sum(pixels, axis=[1, 2, 3], keepdims=True)
    mean = tf.cast(total, tf.float32) / (255.0 * math.prod(frames.shape[1:]))
    scaled = 2.0 * (scaled - mean)
  return tf.cast(scaled, precision)


class InstructionEncoder(snt.Module):
  """An instruction's words -> the last output of an LSTM of 64.

  Words are told apart by a hash into 1,000 buckets, each with an embedding of
  20 numbers. An instruction without words gives zeros.
  """

  _NUM_BUCKETS = 1000

  def __init__(self) -> None:
    super().__init__(name='instruction_encoder')
    self._embed = snt.Embed(self._NUM_BUCKETS, 20)
    self._lstm = snt.LSTM(64)

  def __call__(self, instructions: tf.Tensor) -> tf.Tensor:
    """`[N]` strings -> `[N, 64]`.

    Each different instruction is encoded once: an episode has the same one in
    all its rows.
    """
    different, indices = tf.unique(instructions)
    words = tf.strings.split(different)
    lengths = tf.cast(words.row_lengths(), tf.int32)
    padded = words.to_tensor()
    # At least one column, so that the LSTM has a step to make.
    missing = tf.cast(tf.shape(padded)[1] == 0, tf.int32)
    padded = tf.pad(padded, [[0, 0], [0, missing]])
    buckets = tf.strings.to_hash_bucket_fast(padded, self._NUM_BUCKETS)
    embedded = tf.transpose(self._embed(buckets), [1, 0, 2])
    _, state = snt.dynamic_unroll(
      self._lstm,
      embedded,
      self._lstm.initial_state(tf.shape(different)[0]),
      sequence_length=lengths,
    )
    return tf.gather(state.hidden, indices)


class InstructedTorso(snt.Module):
  """Features of a frame, concatenated with those of its instruction."""

  def __init__(self, frame_torso: snt.Module) -> None:
    super().__init__(name='instructed_torso')
    self._frame_torso = frame_torso
    self._encoder = InstructionEncoder()

  def __call__(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Frames `[N, H, W, C]` and `[N]` strings -> `[N, D + 64]`."""
    return tf.concat(
      [
        self._frame_torso(observation['RGB_INTERLEAVED']),
        self._encoder(observation['INSTR']),
      ],
      axis=-1,
    )


def make_torso(
  config: config_lib.ImpalaConfig, observation_spec: Any
) -> snt.Module:
  """Build the torso of `config.network`: `[N, ...]` observations -> `[N, D]`.

  Raises:
    ValueError: See `config.check_observations`.
  """
  network = config.network
  config_lib.check_observations(network, observation_spec)
  if tree.is_nested(observation_spec):
    frame_spec = observation_spec['RGB_INTERLEAVED']
    return InstructedTorso(make_torso(config, frame_spec))
  if network == 'mlp':
    return MlpTorso()
  if network in ('deep', 'deep_atari'):
    return ResidualTorso(config)
  if network == 'benchmark':
    # The fork of the reference that was used for measuring throughput.
    convolutions = ((32, 8, 4), (64, 4, 2), (128, 3, 2))
    return ConvolutionTorso(config, convolutions, 'SAME', 512)
  # The paper's shallow model for DeepMind Lab (Figure 3); without padding it
  # has the 1.2 million parameters stated there. For Atari the paper's text says
  # three convolutions, but cites Mnih et al. 2016, whose network is this one
  # (https://arxiv.org/abs/1602.01783, section 5.1): so are its experts here.
  return ConvolutionTorso(config, ((16, 8, 4), (32, 4, 2)), 'VALID', 256)
