"""Unrolls on their way from actors through Reverb to the learner."""

import collections
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import reverb
import tensorflow as tf
import tree
from absl import logging

from agents.impala import config as config_lib
from agents.impala import stacks, timing, unrolls

POLL_SECONDS = 0.2  # How soon a wait notices that the program stops.
# Minutes of unrolls: how long a broken connection may take to send again.
_NUM_KEYS = 1 << 16


class UnrollWriter:
  """Writes unrolls to the queue, each as one step of one chunk.

  An unroll is appended whole and packed: one call an unroll, not one a row or
  column. With a replay the data is written once for both tables. `client`
  connects at the first write; `stop` ends a wait for a full queue.
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
    self._tables = (
      (unrolls.REPLAY, unrolls.QUEUE) if has_replay else (unrolls.QUEUE,)
    )
    self._stop = stop
    self._timer = timer
    self._writer: reverb.TrajectoryWriter | None = None

  def write(self, batch: Iterable[unrolls.Unroll]) -> None:
    """Send unrolls; wait until all sent before these are in the queue.

    So at most the unrolls of one call are in flight while the queue is full.
    Returns early when the program stops. The arrays may be reused afterwards.
    """
    if self._writer is None:
      self._writer = self._client.trajectory_writer(num_keep_alive_refs=1)
    with self._timer.measure('writing'):
      count = self._send(self._writer, batch)
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
    self, writer: reverb.TrajectoryWriter, batch: Iterable[unrolls.Unroll]
  ) -> int:
    """Create an item of each unroll, without waiting; return their number."""
    count = 0
    for unroll in batch:
      writer.append(unrolls.pack(unroll))
      whole = tree.map_structure(lambda column: column[-1], writer.history)
      for table in self._tables:
        writer.create_item(table, 1.0, whole)
      count += len(self._tables)
    return count


class Batch(NamedTuple):
  """A time-major batch, replayed unrolls last.

  `keys` are `[B - replayed]` uint64 of the items from the queue. A writer whose
  connection breaks sends unconfirmed items again, with the same keys.
  """

  keys: Any
  unroll: unrolls.Unroll


def make_dataset(
  server_address: str,
  signature: unrolls.Unroll,
  config: config_lib.ImpalaConfig,
) -> tf.data.Dataset:
  """Return an endless dataset of `Batch`es, blocking while there are none."""
  packed = unrolls.packed_signature(signature)

  def sample(table: str, count: int) -> tf.data.Dataset:
    return reverb.TrajectoryDataset(
      server_address=server_address,
      table=table,
      dtypes=tree.map_structure(lambda spec: spec.dtype, packed),
      shapes=tree.map_structure(lambda spec: spec.shape, packed),
      # What is in flight waits as in the queue, but nobody sees it there: the
      # fewer, the fresher. Two are enough to keep the stream busy.
      max_in_flight_samples_per_worker=2,
      num_workers_per_iterator=1,  # More would break the order of a queue.
    ).batch(count, drop_remainder=True)

  def unpack(batch: unrolls.PackedUnroll) -> unrolls.Unroll:
    return _time_major(unrolls.unpack(batch, signature))

  replayed = config.num_replayed
  fresh = sample(unrolls.QUEUE, config.batch_size - replayed)
  if not replayed:
    return fresh.map(lambda batch: Batch(batch.info.key, unpack(batch.data)))

  def join(first: Any, second: Any) -> Batch:
    both = tf.nest.map_structure(
      lambda *parts: tf.concat(parts, 0), first.data, second.data
    )
    return Batch(first.info.key, unpack(both))

  return tf.data.Dataset.zip((fresh, sample(unrolls.REPLAY, replayed))).map(
    join
  )


def _time_major(batch: unrolls.Unroll) -> unrolls.Unroll:
  """Swap `[B, T]` to `[T, B]`; rebuild the stacked images that actors saw."""

  def swap(tensor: tf.Tensor) -> tf.Tensor:
    return tf.transpose(tensor, [1, 0, *range(2, tensor.shape.rank)])

  inputs = tf.nest.map_structure(swap, batch.inputs._replace(observation=()))
  observation = tf.nest.map_structure(
    lambda column: stacks.read(column, batch.inputs.start_of_episode),
    batch.inputs.observation,
  )
  return batch._replace(
    inputs=inputs._replace(observation=observation),
    **{
      name: swap(getattr(batch, name))
      for name, column in unrolls.COLUMNS.items()
      if column.is_per_row
    },
  )


class UnrollReader(Iterator[unrolls.Unroll]):
  """Reads batches in a thread, one ahead of the learner.

  A batch with an unroll that was seen before is dropped, so that the learner
  uses none twice: its writer's connection broke, and it was sent again.

  Reverb blocks in native code while the queue is empty, where no signal
  handler runs; the learner waits in Python instead, and gets StopIteration
  when `stop` is set.
  """

  def __init__(self, dataset: tf.data.Dataset, stop: threading.Event) -> None:
    self._stop = stop
    self._seen: set[int] = set()
    self._in_order: collections.deque[int] = collections.deque()
    self._batches: queue.Queue[unrolls.Unroll | BaseException] = queue.Queue(
      maxsize=1
    )
    threading.Thread(
      target=self._read, args=(dataset,), name='unroll_reader', daemon=True
    ).start()

  def __next__(self) -> unrolls.Unroll:
    while not self._stop.is_set():
      try:
        batch = self._batches.get(timeout=POLL_SECONDS)
      except queue.Empty:
        continue
      if isinstance(batch, BaseException):
        raise batch
      return batch
    raise StopIteration

  def _read(self, dataset: tf.data.Dataset) -> None:
    try:
      for keys, unroll in dataset:
        if self._is_new(keys.numpy()):
          self._put(unroll)
        if self._stop.is_set():
          return
    except BaseException as error:  # Belongs to the learner's thread.
      self._put(error)

  def _is_new(self, keys: np.ndarray) -> bool:
    """Return true if no unroll of a batch was seen before; remember them."""
    count = len(self._seen)
    self._seen.update(keys.tolist())
    num_again = len(keys) - (len(self._seen) - count)
    self._in_order.extend(keys.tolist())
    while len(self._in_order) > _NUM_KEYS:
      self._seen.discard(self._in_order.popleft())
    if num_again:
      logging.warning(
        'Dropped a batch: %d of its %d unrolls were received before, as after '
        'a broken connection',
        num_again,
        len(keys),
      )
    return not num_again

  def _put(self, item: unrolls.Unroll | BaseException) -> None:
    while not self._stop.is_set():
      try:
        return self._batches.put(item, timeout=POLL_SECONDS)
      except queue.Full:
        continue
