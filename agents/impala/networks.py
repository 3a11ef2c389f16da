"""The agent's network: a torso, optionally an LSTM core, policy and value.

One network has two verbs: `step` for actors (`[B, ...]`) and `unroll` for the
learner (`[T, B, ...]`). Torso and heads see time and batch folded into one;
only the core runs along time, and starts anew where an episode starts.
"""

from typing import Any, NamedTuple

import numpy as np
import sonnet as snt
import tensorflow as tf
import tree

from agents.impala import config as config_lib
from agents.impala import torsos

CoreState = Any  # snt.LSTMState of `[B, size]`, or () without a core.


class NetworkInput(NamedTuple):
  """The network's input at step t; leading dimensions `[B]` or `[T, B]`.

  Attributes:
    observation: The environment's observation o_t.
    last_action: `int32` a_{t-1}; 0 where an episode starts.
    last_reward: `float32` r_t, unclipped; 0 where an episode starts.
    start_of_episode: `bool`, whether o_t is an episode's first observation.
  """

  observation: Any
  last_action: Any
  last_reward: Any
  start_of_episode: Any


class NetworkOutput(NamedTuple):
  """The network's output at step t; leading dimensions as the input's."""

  logits: tf.Tensor  # `[..., A]` unnormalised log-probabilities of the actions.
  values: tf.Tensor  # `[...]` estimate V(o_t) of the discounted return.


class ResettableLstm(snt.RNNCore):
  """An LSTM whose state is set to zeros where an episode starts."""

  def __init__(self, size: int) -> None:
    super().__init__(name='resettable_lstm')
    self._lstm = snt.LSTM(size)

  def initial_state(self, batch_size: int, **kwargs: Any) -> CoreState:
    """Return zeros, `[batch_size, size]` each."""
    return self._lstm.initial_state(batch_size, **kwargs)

  def __call__(
    self, inputs: tuple[tf.Tensor, tf.Tensor], state: CoreState
  ) -> tuple[tf.Tensor, CoreState]:
    """Compute one step of features `[B, D]` and start_of_episode `[B]`."""
    features, start_of_episode = inputs
    keep = tf.expand_dims(tf.logical_not(start_of_episode), -1)
    state = tf.nest.map_structure(
      lambda part: part * tf.cast(keep, part.dtype), state
    )
    return self._lstm(features, state)


class ImpalaNetwork(snt.Module):
  """Torso, optional core, and linear policy and value heads.

  With a core, the last reward clipped to [-1, 1] and the one-hot last action
  stand beside the torso's output, as in the reference. Without one the
  network is the paper's feed-forward Atari expert and sees the observation
  alone; `lstm_size` is 0. Variables come with the first call.
  """

  def __init__(
    self, num_actions: int, torso: snt.Module, lstm_size: int
  ) -> None:
    super().__init__(name='impala_network')
    self._num_actions = num_actions
    self._torso = torso
    self._core = ResettableLstm(lstm_size) if lstm_size else None
    self._policy = snt.Linear(num_actions, name='policy')
    self._value = snt.Linear(1, name='value')

  def initial_state(self, batch_size: int) -> CoreState:
    """Return the core state before any step: zeros `[B, ...]`, or ()."""
    return self._core.initial_state(batch_size) if self._core else ()

  def step(
    self, inputs: NetworkInput, core_state: CoreState
  ) -> tuple[NetworkOutput, CoreState]:
    """Compute one step of `[B]`; return the output and the next core state."""
    features = self._features(inputs)
    if self._core:
      features, core_state = self._core(
        (features, inputs.start_of_episode), core_state
      )
    return self._heads(features), core_state

  def unroll(
    self, inputs: NetworkInput, core_state: CoreState
  ) -> tuple[NetworkOutput, CoreState]:
    """Compute `step` along the first dimension of `[T, B]`."""
    inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
    rows = inputs.start_of_episode
    folded = tf.nest.map_structure(_fold, inputs)
    features = self._features(folded)
    if self._core:
      features, core_state = snt.dynamic_unroll(
        self._core, (_unfold(features, rows), rows), core_state
      )
      features = _fold(features)
    outputs = self._heads(features)
    outputs = NetworkOutput(*(_unfold(part, rows) for part in outputs))
    return outputs, core_state

  def _features(self, inputs: NetworkInput) -> tf.Tensor:
    features = self._torso(inputs.observation)
    if not self._core:
      return features
    reward = tf.clip_by_value(inputs.last_reward, -1.0, 1.0)
    action = tf.one_hot(inputs.last_action, self._num_actions)
    return tf.concat([features, reward[:, tf.newaxis], action], axis=-1)

  def _heads(self, features: tf.Tensor) -> NetworkOutput:
    return NetworkOutput(
      self._policy(features), tf.squeeze(self._value(features), -1)
    )


def _fold(tensor: tf.Tensor) -> tf.Tensor:
  """`[T, B, ...]` -> `[T * B, ...]`."""
  return snt.merge_leading_dims(tensor, 2)


def _unfold(tensor: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
  """`[T * B, ...]` -> `[T, B, ...]`, T and B as of `rows`."""
  return snt.split_leading_dim(tensor, rows, 2)


def make_network(
  config: config_lib.ImpalaConfig, observation_spec: Any, num_actions: int
) -> ImpalaNetwork:
  """Build the network that `config` names, with its variables.

  Raises:
    ValueError: The torso cannot take such observations.
  """
  torso = torsos.make_torso(config, observation_spec)
  lstm_size = 512 if config.network == 'benchmark' else 256
  network = ImpalaNetwork(num_actions, torso, lstm_size if config.lstm else 0)
  zeros = NetworkInput(
    observation=tree.map_structure(
      lambda spec: tf.zeros((1, *spec.shape), spec.dtype), observation_spec
    ),
    last_action=np.zeros(1, np.int32),
    last_reward=np.zeros(1, np.float32),
    start_of_episode=np.ones(1, bool),
  )
  network.step(zeros, network.initial_state(1))
  return network
