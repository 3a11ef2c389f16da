"""What an unroll is, the tables it goes through, and how it is written.

One row, one convention. Row t of an unroll holds the observation o_t with what
else the network sees of it (`inputs`), the action a_t chosen there, and what
came of it: reward r_{t+1} and discount_{t+1}, the environment's (0 after a
termination, 1 after a truncation and within an episode).

An unroll is T rows and the inputs of one more, which gives the bootstrap value
and is the first row of the actor's next unroll; its action is chosen there,
with newer variables. Unrolls run across episode ends. The row that holds an
episode's last observation carries an action that was never executed; it stores
reward 0 and discount 0 and is known by `start_of_episode` of the row after it.
"""

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import reverb
import tensorflow as tf
import tree

from agents.impala import config as config_lib
from agents.impala import networks, packing, stacks, timing

QUEUE = 'queue'  # Name of the FIFO table.
REPLAY = 'replay'  # Name of the uniform table, where there is one.

POLL_SECONDS = 0.2  # How soon a wait notices that the program stops.


class Unroll(NamedTuple):
  """One actor's T rows. In a batch: time-major, `[T, B, ...]` for `[T, ...]`.

  Attributes:
    inputs: `[T + 1, ...]` what the network sees; outside of a batch, stacks of
      pictures are kept as `stacks` says.
    action: `[T]` int32.
    reward: `[T]` float32, unclipped.
    discount: `[T]` float32, the environment's.
    behaviour_logits: `[T, A]` float32 of the policy that acted.
    episode_return: `[T]` float32, the real return of the game that ended with
      o_t; NaN where none did.
    episode_steps: `[T]` int32, agent steps of that game; 0 where none ended.
    environment_restarts: `[]` int32, how often the environment was started
      again after a crash since the unroll before; `[B]` in a batch.
    level: `[]` int32, index of the level played; `[B]` in a batch.
    learner_step: `[]` int64, of the variables that acted; `[B]` in a batch.
    core_state: `[...]` entering row 0; `[B, ...]` in a batch.
  """

  inputs: networks.NetworkInput
  action: Any
  reward: Any
  discount: Any
  behaviour_logits: Any
  episode_return: Any
  episode_steps: Any
  environment_restarts: Any
  level: Any
  learner_step: Any
  core_state: networks.CoreState

  @property
  def executed(self) -> Any:
    """`[T, ...]` bool: whether the row's action was executed."""
    return ~self.inputs.start_of_episode[1:]


def make_signature(
  config: config_lib.ImpalaConfig,
  observation_spec: Any,
  num_actions: int,
  core_state: networks.CoreState,
) -> Unroll:
  """The shapes and types of one unroll, as `tf.TensorSpec`.

  `core_state` is the network's initial state for a batch of 1.
  """
  length = config.unroll_length

  def rows(dtype: str, more: int = 0) -> tf.TensorSpec:
    return tf.TensorSpec((length + more,), dtype)

  return Unroll(
    inputs=networks.NetworkInput(
      observation=tree.map_structure(
        lambda spec: stacks.column_spec(spec, length + 1), observation_spec
      ),
      last_action=rows('int32', 1),
      last_reward=rows('float32', 1),
      start_of_episode=rows('bool', 1),
    ),
    action=rows('int32'),
    reward=rows('float32'),
    discount=rows('float32'),
    behaviour_logits=tf.TensorSpec((length, num_actions), 'float32'),
    episode_return=rows('float32'),
    episode_steps=rows('int32'),
    environment_restarts=tf.TensorSpec((), 'int32'),
    level=tf.TensorSpec((), 'int32'),
    learner_step=tf.TensorSpec((), 'int64'),
    core_state=tree.map_structure(
      lambda part: tf.TensorSpec(part.shape[1:], part.dtype), core_state
    ),
  )


def make_tables(
  config: config_lib.ImpalaConfig, signature: Unroll
) -> list[reverb.Table]:
  """The queue and, if `config` asks for it, the replay.

  Each unroll in the queue is used once, and writers wait while it is full. The
  replay holds the newest unrolls, samples them uniformly and never makes a
  writer wait.
  """
  packed = packing.packed_signature(signature)
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


class UnrollWriter:
  """Writes unrolls to the queue, each as one step of one chunk.

  An unroll is appended whole and packed, so that neither a row nor a column
  costs a call of its own, and the row two unrolls share costs no second chunk
  on the way to the learner. With a replay the data is written once for both.
  `client` connects at the first write; `stop` ends a wait for room.
  """

  def __init__(
    self,
    client: reverb.Client,
    stop: threading.Event,
    timer: timing.Timer,
    has_replay: bool = False,
  ) -> None:
    self._client = client
    # The replay never waits; first, so that it has what the queue waits with.
    self._tables = (REPLAY, QUEUE) if has_replay else (QUEUE,)
    self._stop = stop
    self._timer = timer
    self._writer: reverb.TrajectoryWriter | None = None

  def write(self, unrolls: Iterable[Unroll]) -> None:
    """Sends unrolls; waits until all sent before these are in the queue.

    So at most the unrolls of one call are in flight, and an actor is at most
    that far ahead of a full queue. Returns early when the program stops. The
    arrays are free to be reused afterwards.
    """
    if self._writer is None:
      self._writer = self._client.trajectory_writer(num_keep_alive_refs=1)
    with self._timer.measure('writing'):
      count = self._send(self._writer, unrolls)
    with self._timer.measure('waiting_for_queue'):
      while not self._stop.is_set():
        try:
          self._writer.flush(
            block_until_num_items=count, timeout_ms=int(1000 * POLL_SECONDS)
          )
          return
        except reverb.errors.DeadlineExceededError:
          continue

  def _send(
    self, writer: reverb.TrajectoryWriter, unrolls: Iterable[Unroll]
  ) -> int:
    """Makes items of unrolls, without waiting; returns how many."""
    count = 0
    for unroll in unrolls:
      writer.append(packing.pack(unroll))
      whole = tree.map_structure(lambda column: column[-1], writer.history)
      for table in self._tables:
        writer.create_item(table, 1.0, whole)
      count += len(self._tables)
    return count


def empty_unrolls(num_unrolls: int, signature: Unroll) -> Unroll:
  """Room for unrolls: zeros or empty strings, `[N, T (+ 1), ...]`."""

  def room(spec: tf.TensorSpec) -> np.ndarray:
    shape = (num_unrolls, *spec.shape)
    if spec.dtype == tf.string:
      return np.full(shape, b'', object)
    return np.zeros(shape, spec.dtype.as_numpy_dtype)

  return tree.map_structure(room, signature)
