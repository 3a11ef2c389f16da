"""The learner: a batch of unrolls -> gradients -> variables."""

import collections
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import acme
import numpy as np
import sonnet as snt
import tensorflow as tf
from acme.utils import loggers

from agents.impala import config as config_lib
from agents.impala import losses, networks, optimizers
from agents.impala import unrolls as unrolls_lib

_RECENT_EPISODES = 100  # Episodes that the logged return is the mean of.


class Counts(snt.Module):
  """How far learning is; saved with the variables, so never apart from them.

  Attributes:
    frames: Rows of unrolls taken from the queue x action repeats.
    executed_frames: The same without rows of episodes' last observations.
    learner_steps: Gradients applied.
    episodes: Games that ended in those rows.
  """

  def __init__(self) -> None:
    super().__init__(name='counts')
    self.frames = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.executed_frames = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.learner_steps = tf.Variable(0, dtype=tf.int64, trainable=False)
    self.episodes = tf.Variable(0, dtype=tf.int64, trainable=False)


class Learner(acme.Learner):
  """Applies V-trace actor-critic gradients; serves the variables."""

  def __init__(
    self,
    config: config_lib.ImpalaConfig,
    network: networks.ImpalaNetwork,
    batches: Iterator[unrolls_lib.Unroll],
    num_action_repeats: int,
    logger: loggers.Logger,
    log_period_seconds: float,
    queue_size: Callable[[], float],
  ) -> None:
    """Makes optimiser and counts at zero; restore `state` to continue.

    Args:
      config: Hyperparameters.
      network: With its variables.
      batches: Time-major; its end ends `step` with StopIteration.
      num_action_repeats: Frames in an agent step.
      logger: Takes a row of means every `log_period_seconds`.
      log_period_seconds: Of wall-clock time.
      queue_size: Tells how many unrolls wait, or NaN; called once a row.
    """
    self._config = config
    self._network = network
    self._batches = batches
    self._num_action_repeats = num_action_repeats
    self._optimizer = optimizers.RMSProp(
      network.trainable_variables,
      decay=config.decay,
      momentum=config.momentum,
      epsilon=config.epsilon,
    )
    self._counts = Counts()
    self._log = _StepLog(logger, log_period_seconds, queue_size)
    self._served: Mapping[str, Sequence[np.ndarray]] = {}
    self.serve()

  @property
  def state(self) -> dict[str, Any]:
    """What a checkpoint holds: network, optimiser and counts."""
    return {
      'network': self._network,
      'optimizer': self._optimizer,
      'counts': self._counts,
    }

  @property
  def frames(self) -> int:
    """Frames learned from."""
    return int(self._counts.frames.numpy())

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """A consistent copy from between two learner steps.

    Args:
      names: Of 'policy' (the network's variables, then the learner step they
        are of) and 'frames' (one int64).

    Returns:
      A list of arrays for each name.
    """
    served = self._served
    return [served[name] for name in names]

  def step(self) -> None:
    """Learns from one batch.

    Raises:
      StopIteration: The batches ended.
      FloatingPointError: The loss is not finite.
    """
    started = time.monotonic()
    batch = next(self._batches)
    waited = time.monotonic() - started
    terms, returns, lengths = self._update(batch)
    figures = {name: term.numpy() for name, term in terms.items()}
    if not math.isfinite(figures['loss']):
      raise FloatingPointError(
        f'loss must be finite, got {figures["loss"]} at learner step '
        f'{self._counts.learner_steps.numpy()}; try a lower learning_rate or '
        'a max_gradient_norm'
      )
    self.serve()
    self._log.add(
      figures, returns.numpy(), lengths.numpy(), self._counts, waited
    )

  def close(self) -> None:
    """Writes what is not yet logged."""
    self._log.close(self._counts)

  def serve(self) -> None:
    """Copies the variables for `get_variables`, whose thread is another.

    Called by `step`; call it after restoring `state`.
    """
    step = self._counts.learner_steps
    self._served = {
      'policy': [np.array(v) for v in (*self._network.variables, step)],
      'frames': [np.array(self._counts.frames)],
    }

  @tf.function(autograph=False)
  def _update(
    self, batch: unrolls_lib.Unroll
  ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """One gradient; returns figures, and returns and steps of ended games."""
    config, counts = self._config, self._counts
    executed = tf.logical_not(batch.inputs.start_of_episode[1:])
    with tf.GradientTape() as tape:
      output, _ = self._network.unroll(batch.inputs, batch.core_state)
      terms = losses.impala_loss(
        config,
        target_logits=output.logits[:-1],
        behaviour_logits=batch.behaviour_logits,
        values=output.values[:-1],
        bootstrap_value=output.values[-1],
        actions=batch.action,
        rewards=batch.reward,
        discounts=batch.discount,
        executed=executed,
      )
    gradients = tape.gradient(terms.total, self._network.trainable_variables)
    gradient_norm = tf.linalg.global_norm(gradients)
    if config.max_gradient_norm:
      gradients, _ = tf.clip_by_global_norm(
        gradients, config.max_gradient_norm, use_norm=gradient_norm
      )
    learning_rate = optimizers.linear_to_zero(
      config.learning_rate, counts.frames, config.total_environment_frames
    )
    self._optimizer.apply(gradients, learning_rate)

    ended = tf.logical_not(tf.math.is_nan(batch.episode_return))
    num_executed = tf.math.count_nonzero(executed)
    policy_lag = counts.learner_steps - batch.learner_step
    figures = {
      'loss': terms.total,
      'policy_gradient_loss': terms.policy_gradient,
      'baseline_loss': terms.baseline,
      # Mean over executed rows, in nats: easier to read than the sum.
      'entropy': -terms.entropy
      / tf.cast(tf.maximum(num_executed, 1), tf.float32),
      'gradient_norm': gradient_norm,
      'learning_rate': learning_rate,
      'clipped_rho_share': terms.clipped_rho_share,
      'policy_lag_min': tf.reduce_min(policy_lag),
      'policy_lag_mean': tf.reduce_mean(tf.cast(policy_lag, tf.float32)),
      'policy_lag_max': tf.reduce_max(policy_lag),
    }
    repeats = self._num_action_repeats
    counts.frames.assign_add(tf.size(executed, tf.int64) * repeats)
    counts.executed_frames.assign_add(num_executed * repeats)
    counts.learner_steps.assign_add(1)
    counts.episodes.assign_add(tf.math.count_nonzero(ended))
    return (
      figures,
      tf.boolean_mask(batch.episode_return, ended),
      tf.boolean_mask(batch.episode_steps, ended),
    )


class _StepLog:
  """Means of the learner steps' figures, a row every few seconds."""

  def __init__(
    self,
    logger: loggers.Logger,
    period_seconds: float,
    queue_size: Callable[[], float],
  ) -> None:
    self._logger = logger
    self._period = period_seconds
    self._queue_size = queue_size
    self._returns: collections.deque[float] = collections.deque(
      maxlen=_RECENT_EPISODES
    )
    self._lengths: collections.deque[int] = collections.deque(
      maxlen=_RECENT_EPISODES
    )
    self._begin_row()

  def _begin_row(self) -> None:
    self._row_started = time.monotonic()
    self._figures: dict[str, list[float]] = collections.defaultdict(list)
    self._waited = 0.0

  def add(
    self,
    figures: Mapping[str, float],
    returns: np.ndarray,
    lengths: np.ndarray,
    counts: Counts,
    waited_seconds: float,
  ) -> None:
    """Takes one learner step; writes a row when the last is old enough."""
    self._returns.extend(returns.tolist())
    self._lengths.extend(lengths.tolist())
    self._waited += waited_seconds
    for name, value in figures.items():
      self._figures[name].append(value)
    if time.monotonic() - self._row_started >= self._period:
      self._write(counts)

  def close(self, counts: Counts) -> None:
    """Writes the rest and closes the logger."""
    if self._figures:
      self._write(counts)
    self._logger.close()

  def _write(self, counts: Counts) -> None:
    elapsed = time.monotonic() - self._row_started
    reduce = {'policy_lag_min': min, 'policy_lag_max': max}
    self._logger.write(
      {
        'time': time.time(),
        'frames': int(counts.frames),
        'executed_frames': int(counts.executed_frames),
        'learner_steps': int(counts.learner_steps),
        'episodes': int(counts.episodes),
        'episode_return': _mean(self._returns),
        'episode_steps': _mean(self._lengths),
        'learner_steps_per_second': len(self._figures['loss']) / elapsed,
        'learner_wait_share': min(self._waited / elapsed, 1.0),
        'queue_size': self._queue_size(),
        **{
          name: reduce.get(name, _mean)(values)
          for name, values in self._figures.items()
        },
      }
    )
    self._begin_row()


def _mean(values: Sequence[float] | collections.deque) -> float:
  """NaN without values, and no warning."""
  return sum(values) / len(values) if values else math.nan
