"""Everything Reverb: what an unroll is, the queue, writing and reading it.

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

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import reverb
import tensorflow as tf
import tree

from agents.impala import config as config_lib
from agents.impala import networks

QUEUE = 'queue'  # Name of the FIFO table.

_POLL_SECONDS = 0.2  # How soon a wait notices that the program stops.


class Unroll(NamedTuple):
  """One actor's T rows. In a batch: time-major, `[T, B, ...]` for `[T, ...]`.

  Attributes:
    inputs: `[T + 1, ...]` what the network sees.
    action: `[T]` int32.
    reward: `[T]` float32, unclipped.
    discount: `[T]` float32, the environment's.
    behaviour_logits: `[T, A]` float32 of the policy that acted.
    episode_return: `[T]` float32, the real return of the game that ended with
      o_t; NaN where none did.
    episode_steps: `[T]` int32, agent steps of that game; 0 where none ended.
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
  """The shapes and types of one unroll.

  Args:
    config: `unroll_length` is read.
    observation_spec: Of one environment, a nest of `dm_env.specs.Array`.
    num_actions: A.
    core_state: The network's initial state for a batch of 1.

  Returns:
    An `Unroll` of `tf.TensorSpec`.
  """
  length = config.unroll_length

  def rows(count: int, spec: Any) -> tf.TensorSpec:
    return tf.TensorSpec((count, *spec.shape), spec.dtype)

  scalar = {
    dtype: tf.TensorSpec((), dtype) for dtype in ('float32', 'int32', 'bool')
  }
  return Unroll(
    inputs=networks.NetworkInput(
      observation=tree.map_structure(
        lambda spec: rows(length + 1, spec), observation_spec
      ),
      last_action=rows(length + 1, scalar['int32']),
      last_reward=rows(length + 1, scalar['float32']),
      start_of_episode=rows(length + 1, scalar['bool']),
    ),
    action=rows(length, scalar['int32']),
    reward=rows(length, scalar['float32']),
    discount=rows(length, scalar['float32']),
    behaviour_logits=tf.TensorSpec((length, num_actions), 'float32'),
    episode_return=rows(length, scalar['float32']),
    episode_steps=rows(length, scalar['int32']),
    learner_step=tf.TensorSpec((), 'int64'),
    core_state=tree.map_structure(
      lambda part: tf.TensorSpec(part.shape[1:], part.dtype), core_state
    ),
  )


def make_queue(capacity: int, signature: Unroll) -> reverb.Table:
  """The FIFO table: each unroll is used once; writers wait while it is full."""
  return reverb.Table.queue(QUEUE, max_size=capacity, signature=signature)


class UnrollWriter:
  """Writes unrolls to the queue, each as one step of one chunk.

  An unroll is appended whole, so that a row costs no call of its own and the
  row two unrolls share costs no second chunk on the way to the learner.
  """

  def __init__(self, client: reverb.Client, stop: threading.Event) -> None:
    """Connects at the first write.

    Args:
      client: Of the server that holds the queue.
      stop: Ends a wait for room in the queue.
    """
    self._client = client
    self._stop = stop
    self._writer: reverb.TrajectoryWriter | None = None

  def write(self, unrolls: Iterable[Unroll]) -> None:
    """Sends unrolls; waits until all sent before these are in the queue.

    So at most the unrolls of one call are in flight, and an actor is at most
    that far ahead of a full queue. Returns early when the program stops.

    Args:
      unrolls: Arrays as in the signature; free to be reused afterwards.
    """
    if self._writer is None:
      self._writer = self._client.trajectory_writer(num_keep_alive_refs=1)
    count = 0
    for unroll in unrolls:
      self._writer.append(unroll)
      whole = tree.map_structure(
        lambda column: column[-1], self._writer.history
      )
      self._writer.create_item(QUEUE, 1.0, whole)
      count += 1
    while not self._stop.is_set():
      try:
        self._writer.flush(
          block_until_num_items=count, timeout_ms=int(1000 * _POLL_SECONDS)
        )
        return
      except reverb.errors.DeadlineExceededError:
        continue


def make_dataset(
  server_address: str, signature: Unroll, batch_size: int
) -> tf.data.Dataset:
  """Batches from the queue, time-major.

  Args:
    server_address: 'host:port' of the Reverb server.
    signature: Of one unroll.
    batch_size: B.

  Returns:
    A dataset of `Unroll`s, `[T (+ 1), B, ...]`; endless, blocks while the
    queue is empty.
  """
  dataset = reverb.TrajectoryDataset(
    server_address=server_address,
    table=QUEUE,
    dtypes=tree.map_structure(lambda spec: spec.dtype, signature),
    shapes=tree.map_structure(lambda spec: spec.shape, signature),
    # What is in flight waits as in the queue, but nobody sees it there: the
    # fewer, the fresher. Two are enough to keep the stream busy.
    max_in_flight_samples_per_worker=2,
    num_workers_per_iterator=1,  # More would break the order of a queue.
  )
  batches = dataset.map(lambda sample: sample.data).batch(
    batch_size, drop_remainder=True
  )
  return batches.map(_time_major)


def _time_major(batch: Unroll) -> Unroll:
  """Swaps `[B, T]` to `[T, B]` in all but the columns without rows."""

  def swap(tensor: tf.Tensor) -> tf.Tensor:
    return tf.transpose(tensor, [1, 0, *range(2, tensor.shape.rank)])

  swapped = tf.nest.map_structure(
    swap, batch._replace(learner_step=(), core_state=())
  )
  return swapped._replace(
    learner_step=batch.learner_step, core_state=batch.core_state
  )


class UnrollReader(Iterator[Unroll]):
  """Reads batches in a thread, one ahead of the learner.

  Reverb blocks in native code while the queue is empty, where no signal
  handler runs; here the learner waits in Python instead and ends with
  StopIteration when the program stops.
  """

  def __init__(self, dataset: tf.data.Dataset, stop: threading.Event) -> None:
    """Starts reading.

    Args:
      dataset: Of batches.
      stop: Ends the iteration.
    """
    self._stop = stop
    self._batches: queue.Queue[Unroll | BaseException] = queue.Queue(maxsize=1)
    threading.Thread(
      target=self._read, args=(dataset,), name='unroll_reader', daemon=True
    ).start()

  def __next__(self) -> Unroll:
    while not self._stop.is_set():
      try:
        batch = self._batches.get(timeout=_POLL_SECONDS)
      except queue.Empty:
        continue
      if isinstance(batch, BaseException):
        raise batch
      return batch
    raise StopIteration

  def _read(self, dataset: tf.data.Dataset) -> None:
    try:
      for batch in dataset:
        self._put(batch)
        if self._stop.is_set():
          return
    except BaseException as error:  # Belongs to the learner's thread.
      self._put(error)

  def _put(self, item: Unroll | BaseException) -> None:
    while not self._stop.is_set():
      try:
        return self._batches.put(item, timeout=_POLL_SECONDS)
      except queue.Full:
        continue


def empty_unrolls(num_unrolls: int, signature: Unroll) -> Unroll:
  """Room for `num_unrolls` unrolls: zeros, `[N, T (+ 1), ...]`."""
  return tree.map_structure(
    lambda spec: np.zeros(
      (num_unrolls, *spec.shape), spec.dtype.as_numpy_dtype
    ),
    signature,
  )
