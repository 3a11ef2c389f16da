"""The learner: a batch of unrolls -> gradients -> variables."""

import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import acme
import numpy as np
import tensorflow as tf

from agents.impala import config as config_lib
from agents.impala import losses, metrics, networks, optimizers, timing
from agents.impala import unrolls as unrolls_lib


class Learner(acme.Learner):
  """Applies V-trace actor-critic gradients; serves the variables.

  Its counts begin at zero: restore `state` to continue. The end of `batches`,
  which are time-major, ends `step` with StopIteration.
  """

  def __init__(
    self,
    config: config_lib.ImpalaConfig,
    network: networks.ImpalaNetwork,
    batches: Iterator[unrolls_lib.Unroll],
    num_action_repeats: int,
    learner_metrics: metrics.LearnerMetrics,
    timer: timing.Timer,
  ) -> None:
    self._config = config
    self._network = network
    self._batches = batches
    self._num_action_repeats = num_action_repeats
    self._optimizer = optimizers.make_optimizer(
      config, network.trainable_variables
    )
    self._counts = metrics.Counts()
    self._metrics = learner_metrics
    self._timer = timer
    self._identity = np.array(secrets.randbits(63), np.int64)
    self._served: Mapping[str, Sequence[np.ndarray]] = {}
    self.serve()

  @property
  def state(self) -> dict[str, Any]:
    """Content of a checkpoint: network, optimiser and counts."""
    return {
      'network': self._network,
      'optimizer': self._optimizer,
      'counts': self._counts,
    }

  @property
  def frames(self) -> int:
    """Number of frames that the served variables learned from."""
    return self._frames

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """Return variables as of one learner step, by name.

    Names are 'policy' (the network's variables, then the learner step they are
    of), 'counts' (those of `metrics.Counts`) and 'version' (a number that is
    this learner's alone, and the learner step).
    """
    served = self._served
    return [served[name] for name in names]

  def step(self) -> None:
    """Learn from one batch.

    Raises:
      StopIteration: The batches ended.
      FloatingPointError: The loss or a variable is not finite.
    """
    with self._timer.measure('waiting_for_data'):
      batch = next(self._batches)
    with self._timer.measure('learner_step'):
      self._learn_from(batch)

  def _learn_from(self, batch: unrolls_lib.Unroll) -> None:
    statistics, episodes = tf.nest.map_structure(
      lambda tensor: tensor.numpy(), self._update(batch)
    )
    try:
      self._check_finite(statistics)
      self.serve()
    finally:  # The records of a step that diverged are its evidence.
      self._metrics.add(statistics, episodes, self._counts)

  def _check_finite(self, statistics: Mapping[str, np.ndarray]) -> None:
    for name in ('loss', 'variable_norm'):
      if not math.isfinite(statistics[name]):
        raise FloatingPointError(
          f'{name} must be finite, got {statistics[name]} at learner step '
          f'{self._counts.learner_steps.numpy()}; try a lower learning_rate '
          'or a max_gradient_norm'
        )

  def close(self) -> None:
    """Write the metrics that are not yet logged."""
    self._metrics.close(self._counts)

  def serve(self) -> None:
    """Copy the variables for `get_variables`, whose thread is another.

    Called by `step`; call it after restoring `state`.
    """
    served = served_variables(self._network, self._counts)
    version = [self._identity, np.array(self._counts.learner_steps)]
    self._served = {**served, 'version': version}
    # Set last: who sees these frames must not get older variables.
    self._frames = int(self._counts.frames.numpy())

  @tf.function(autograph=False)
  def _update(
    self, batch: unrolls_lib.Unroll
  ) -> tuple[dict[str, tf.Tensor], metrics.Episodes]:
    """Apply one gradient; return statistics and the episodes that ended."""
    config, counts = self._config, self._counts
    gradients, terms = self._gradients(batch)
    gradient_norm = tf.linalg.global_norm(gradients)
    if config.max_gradient_norm:
      gradients, _ = tf.clip_by_global_norm(
        gradients, config.max_gradient_norm, use_norm=gradient_norm
      )
    learning_rate = optimizers.linear_to_zero(
      config.learning_rate, counts.frames, config.total_environment_frames
    )
    self._optimizer.apply(gradients, learning_rate)

    # What came from the replay stands behind, and was counted before.
    num_fresh = config.batch_size - config.num_replayed
    fresh = batch.executed[:, :num_fresh]
    policy_lag = counts.learner_steps - batch.learner_step[:num_fresh]
    statistics = {
      'loss': terms.total,
      'policy_gradient_loss': terms.policy_gradient,
      'baseline_loss': terms.baseline,
      'entropy_loss': terms.entropy,
      'entropy': terms.mean_entropy,
      'explained_variance': terms.explained_variance,
      'gradient_norm': gradient_norm,
      'variable_norm': tf.linalg.global_norm(self._network.trainable_variables),
      'learning_rate': learning_rate,
      'clipped_rho_share': terms.clipped_rho_share,
      'policy_lag_min': tf.reduce_min(policy_lag),
      'policy_lag_mean': tf.reduce_mean(tf.cast(policy_lag, tf.float32)),
      'policy_lag_max': tf.reduce_max(policy_lag),
    }
    repeats = self._num_action_repeats
    episodes = _ended_episodes(batch, num_fresh)
    counts.frames.assign_add(tf.size(fresh, tf.int64) * repeats)
    counts.executed_frames.assign_add(tf.math.count_nonzero(fresh) * repeats)
    counts.learner_steps.assign_add(1)
    counts.episodes.assign_add(tf.size(episodes.episode_return, tf.int64))
    restarts = batch.environment_restarts[:num_fresh]
    counts.environment_restarts.assign_add(
      tf.cast(tf.reduce_sum(restarts), tf.int64)
    )
    return statistics, episodes

  def _gradients(
    self, batch: unrolls_lib.Unroll
  ) -> tuple[list[tf.Tensor], losses.LossTerms]:
    with tf.GradientTape() as tape:
      output, _ = self._network.unroll(batch.inputs, batch.core_state)
      terms = losses.impala_loss(
        self._config,
        target_logits=output.logits[:-1],
        behaviour_logits=batch.behaviour_logits,
        values=output.values[:-1],
        bootstrap_value=output.values[-1],
        actions=batch.action,
        rewards=batch.reward,
        discounts=batch.discount,
        executed=batch.executed,
      )
    gradients = [
      tf.convert_to_tensor(gradient)  # That of an embedding is sparse.
      for gradient in tape.gradient(
        terms.total, self._network.trainable_variables
      )
    ]
    return gradients, terms


def served_variables(
  network: networks.ImpalaNetwork, counts: metrics.Counts
) -> dict[str, list[np.ndarray]]:
  """Copy what actors and evaluators fetch; see `Learner.get_variables`."""
  policy = (*network.variables, counts.learner_steps)
  return {
    'policy': [np.array(variable) for variable in policy],
    'counts': [np.array(count) for count in counts.variables],
  }


def _ended_episodes(
  batch: unrolls_lib.Unroll, num_fresh: int
) -> metrics.Episodes:
  """Return the episodes that ended in the first `num_fresh` unrolls."""
  returns = batch.episode_return[:, :num_fresh]
  ended = tf.logical_not(tf.math.is_nan(returns))
  return metrics.Episodes(
    level=tf.gather(batch.level, tf.where(ended)[:, 1]),
    episode_return=tf.boolean_mask(returns, ended),
    episode_steps=tf.boolean_mask(batch.episode_steps[:, :num_fresh], ended),
  )
