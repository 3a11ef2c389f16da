"""Unrolls: their columns, and how the tables store them.

One row, one convention. Row t of an unroll holds the observation o_t with what
else the network sees of it (`inputs`), the action a_t chosen there, and its
outcome: reward r_{t+1} and discount_{t+1}, the environment's (0 after a
termination, 1 after a truncation and within an episode).

An unroll is T rows and the inputs of one more, which gives the bootstrap value
and is the first row of the actor's next unroll; its action is chosen there,
with newer variables. Unrolls run across episode ends. The row that holds an
episode's last observation carries an action that was never executed; it stores
reward 0 and discount 0 and is known by `start_of_episode` of the row after it.
"""

import math
import typing
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import reverb
import tensorflow as tf
import tree

from agents.impala import config as config_lib
from agents.impala import networks, stacks

QUEUE = 'queue'  # Name of the FIFO table.
REPLAY = 'replay'  # Name of the uniform table, where there is one.


class Column(NamedTuple):
  """Type and shape of a column.

  Attributes:
    dtype: TensorFlow's name of the type.
    is_per_row: `[T, ...]`, or one value an unroll.
    is_per_action: `[T, A]`, or `[T]`.
  """

  dtype: str
  is_per_row: bool = True
  is_per_action: bool = False

  def spec(self, unroll_length: int, num_actions: int) -> tf.TensorSpec:
    """Return shape and type in one unroll."""
    shape = (unroll_length,) * self.is_per_row
    return tf.TensorSpec(
      shape + (num_actions,) * self.is_per_action, self.dtype
    )


class Unroll(NamedTuple):
  """One actor's T rows. In a batch: time-major, `[T, B, ...]` for `[T, ...]`.

  A new column is one line here; the actor writes it and the learner reads it
  by its name.

  Attributes:
    inputs: `[T + 1, ...]` what the network sees; outside of a batch, stacked
      images are stored as `stacks` says.
    action: `[T]`.
    reward: `[T]` unclipped.
    discount: `[T]` the environment's.
    behaviour_logits: `[T, A]` of the policy that acted.
    episode_return: `[T]` undiscounted, unclipped return of the episode that
      ended with o_t, over all lives; NaN where none ended.
    episode_steps: `[T]` agent steps of that episode; 0 where none ended.
    environment_restarts: How often the environment was restarted after a crash
      since the previous unroll; `[B]` in a batch.
    level: Index of the level played; `[B]` in a batch.
    learner_step: Of the variables that acted; `[B]` in a batch.
    core_state: `[...]` entering row 0; `[B, ...]` in a batch.
  """

  inputs: networks.NetworkInput
  action: Annotated[Any, Column('int32')]
  reward: Annotated[Any, Column('float32')]
  discount: Annotated[Any, Column('float32')]
  behaviour_logits: Annotated[Any, Column('float32', is_per_action=True)]
  episode_return: Annotated[Any, Column('float32')]
  episode_steps: Annotated[Any, Column('int32')]
  environment_restarts: Annotated[Any, Column('int32', is_per_row=False)]
  level: Annotated[Any, Column('int32', is_per_row=False)]
  learner_step: Annotated[Any, Column('int64', is_per_row=False)]
  core_state: networks.CoreState

  @property
  def executed(self) -> Any:
    """`[T, ...]` bool, false where the row's action was never executed."""
    return ~self.inputs.start_of_episode[1:]


COLUMNS: Mapping[str, Column] = {
  name: hint.__metadata__[0]
  for name, hint in typing.get_type_hints(Unroll, include_extras=True).items()
  if name not in ('inputs', 'core_state')
}


def make_signature(
  config: config_lib.ImpalaConfig,
  observation_spec: Any,
  num_actions: int,
  core_state: networks.CoreState,
) -> Unroll:
  """Return the shapes and types of one unroll, as `tf.TensorSpec`.

  `core_state` is the network's initial state for a batch of 1.
  """
  num_rows = config.unroll_length + 1
  return Unroll(
    inputs=networks.NetworkInput(
      observation=tree.map_structure(
        lambda spec: stacks.column_spec(spec, num_rows), observation_spec
      ),
      last_action=tf.TensorSpec((num_rows,), 'int32'),
      last_reward=tf.TensorSpec((num_rows,), 'float32'),
      start_of_episode=tf.TensorSpec((num_rows,), 'bool'),
    ),
    core_state=tree.map_structure(
      lambda part: tf.TensorSpec(part.shape[1:], part.dtype), core_state
    ),
    **{
      name: column.spec(config.unroll_length, num_actions)
      for name, column in COLUMNS.items()
    },
  )


def empty_unrolls(num_unrolls: int, signature: Unroll) -> Unroll:
  """Allocate arrays of N unrolls: `[N, T (+ 1), ...]` zeros, empty strings."""

  def allocate(spec: tf.TensorSpec) -> np.ndarray:
    shape = (num_unrolls, *spec.shape)
    if spec.dtype == tf.string:
      return np.full(shape, b'', object)
    return np.zeros(shape, spec.dtype.as_numpy_dtype)

  return tree.map_structure(allocate, signature)


def make_tables(
  config: config_lib.ImpalaConfig, signature: Unroll
) -> list[reverb.Table]:
  """Return the queue and, if `config` asks for it, the replay.

  Each unroll in the queue is used once, and writers block while it is full. The
  replay holds the newest unrolls, samples them uniformly and never blocks.
  """
  packed = packed_signature(signature)
  tables = [
    reverb.Table.queue(QUEUE, max_size=config.queue_capacity, signature=packed)
  ]
  if config.num_replayed:
    tables.append(
      reverb.Table(
        REPLAY,
        sampler=reverb.selectors.Uniform(),
        remover=reverb.selectors.Fifo(),
        max_size=config.replay_capacity,
        rate_limiter=reverb.rate_limiters.MinSize(1),
        signature=packed,
      )
    )
  return tables


class PackedUnroll(NamedTuple):
  """An unroll as the tables store it.

  Reverb compresses, sends and stores every column of an item by itself, at a
  cost above that of most columns' bytes. So all but the observation, which may
  have strings, are one column of bytes in the order of the fields and in this
  machine's byte order: both ends are x86-64.
  """

  observation: Any
  others: Any  # `[bytes]` uint8; `[B, bytes]` in a batch.


def packed_signature(signature: Unroll) -> PackedUnroll:
  """Return the shapes and types of a packed unroll."""
  num_bytes = sum(_num_bytes(spec) for spec in _others(signature))
  return PackedUnroll(
    signature.inputs.observation, tf.TensorSpec((num_bytes,), tf.uint8)
  )


def pack(unroll: Unroll) -> PackedUnroll:
  """Pack one unroll of arrays; copies all but the observation."""
  parts = [
    np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for array in _others(unroll)
  ]
  return PackedUnroll(unroll.inputs.observation, np.concatenate(parts))


def unpack(packed: PackedUnroll, signature: Unroll) -> Unroll:
  """Unpack a batch to an `Unroll` of `[B, ...]`, in TensorFlow."""
  specs = _others(signature)
  parts = tf.split(packed.others, [_num_bytes(spec) for spec in specs], axis=1)
  unroll = tree.unflatten_as(
    _without_observation(signature), list(map(_from_bytes, parts, specs))
  )
  return unroll._replace(
    inputs=unroll.inputs._replace(observation=packed.observation)
  )


def _without_observation(unroll: Unroll) -> Any:
  return unroll._replace(inputs=unroll.inputs._replace(observation=()))


def _others(unroll: Unroll) -> list[Any]:
  return tree.flatten(_without_observation(unroll))


def _num_bytes(spec: tf.TensorSpec) -> int:
  return math.prod(spec.shape) * spec.dtype.size


def _from_bytes(part: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
  """`[B, bytes]` -> `[B, ...]` as of one column's spec."""
  if spec.dtype == tf.bool:
    return tf.cast(tf.reshape(part, [-1, *spec.shape]), tf.bool)
  shape = [-1, *spec.shape, spec.dtype.size]
  return tf.bitcast(tf.reshape(part, shape), spec.dtype)
