"""The loss of IMPALA: pure tensors in, `LossTerms` out."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import trfl

from agents.impala import config as config_lib

# With weights of 1 and these V-trace's targets are n-step returns.
_UNCORRECTED: Mapping[str, Any] = {
  'rho_threshold': 1.0,
  'pg_rho_threshold': 1.0,
  'c_threshold': 1.0,
  'trace_lambda': 1.0,
}

# What the paper's epsilon-correction adds to the probability of the action.
_EPSILON = 1e-6


class LossTerms(NamedTuple):
  """Scalars, summed over time and batch unless `loss_reduction` is 'mean'.

  Attributes:
    total: What is minimised: policy_gradient + baseline_cost * baseline +
      entropy_cost * entropy.
    policy_gradient: -sum log pi(a_t | o_t) * pg_advantages_t.
    baseline: 0.5 * sum (vs_t - V(o_t))^2.
    entropy: -sum H(pi(. | o_t)).
    mean_entropy: H over executed rows, in nats; not a loss.
    clipped_rho_share: Share of executed rows whose importance weight is above
      `rho_threshold`, from 0 to 1; not a loss.
    explained_variance: Of the targets vs by the values, over executed rows: 1
      is perfect, 0 no better than a constant; not a loss.
  """

  total: tf.Tensor
  policy_gradient: tf.Tensor
  baseline: tf.Tensor
  entropy: tf.Tensor
  mean_entropy: tf.Tensor
  clipped_rho_share: tf.Tensor
  explained_variance: tf.Tensor


def clip_rewards(rewards: tf.Tensor, reward_clipping: str) -> tf.Tensor:
  """Transform rewards for learning, by the formulas of the reference's code.

  'abs_one' clips to [-1, 1]; 'soft_asymmetric' squeezes with 5 tanh(r / 5), and
  negative rewards by a further factor of 0.3.
  """
  if reward_clipping == 'abs_one':
    return tf.clip_by_value(rewards, -1.0, 1.0)
  squeezed = tf.tanh(rewards / 5.0)
  return tf.where(rewards < 0.0, 0.3 * squeezed, squeezed) * 5.0


class Targets(NamedTuple):
  """Targets of values and policy; no gradient flows into them.

  Attributes:
    vs: `[T, B]` targets of the values.
    pg_advantages: `[T, B]` weights of the policy gradient.
  """

  vs: tf.Tensor
  pg_advantages: tf.Tensor


def vtrace_targets(
  config: config_lib.ImpalaConfig,
  *,
  log_rhos: tf.Tensor,
  discounts: tf.Tensor,
  rewards: tf.Tensor,
  values: tf.Tensor,
  bootstrap_value: tf.Tensor,
) -> Targets:
  """Compute V-trace (equation 1 of the paper), with lambda of its Remark 2.

  trfl computes it where c-bar and lambda are 1, the only ones that it has.

  Args:
    config: The thresholds and lambda are read.
    log_rhos: `[T, B]` of the importance weights; -inf for weight 0.
    discounts: `[T, B]` environment's discount x discount factor.
    rewards: `[T, B]`, clipped.
    values: `[T, B]` V(o_t).
    bootstrap_value: `[B]` V(o_T).
  """
  if config.c_threshold == 1.0 and config.trace_lambda == 1.0:
    returns = trfl.vtrace_from_importance_weights(
      log_rhos=log_rhos,
      discounts=discounts,
      rewards=rewards,
      values=values,
      bootstrap_value=bootstrap_value,
      clip_rho_threshold=config.rho_threshold or None,
      clip_pg_rho_threshold=config.pg_rho_threshold or None,
    )
    return Targets(returns.vs, returns.pg_advantages)
  rhos = tf.exp(log_rhos)
  clipped_rhos = _clip(rhos, config.rho_threshold)
  cs = config.trace_lambda * _clip(rhos, config.c_threshold)
  next_values = tf.concat([values[1:], bootstrap_value[tf.newaxis]], 0)
  deltas = clipped_rhos * (rewards + discounts * next_values - values)

  excess = tf.scan(  # vs_t - V(o_t), from the same of t + 1.
    lambda later, row: row[0] + row[1] * later,
    (deltas, discounts * cs),
    initializer=tf.zeros_like(bootstrap_value),
    reverse=True,
  )
  vs = values + excess
  next_vs = tf.concat([vs[1:], bootstrap_value[tf.newaxis]], 0)
  pg_advantages = _clip(rhos, config.pg_rho_threshold) * (
    rewards + discounts * next_vs - values
  )
  return Targets(tf.stop_gradient(vs), tf.stop_gradient(pg_advantages))


def _clip(rhos: tf.Tensor, threshold: float) -> tf.Tensor:
  return tf.minimum(rhos, threshold) if threshold else rhos


def corrected_targets(
  config: config_lib.ImpalaConfig,
  *,
  log_rhos: tf.Tensor,
  executed: tf.Tensor,
  discounts: tf.Tensor,
  rewards: tf.Tensor,
  values: tf.Tensor,
  bootstrap_value: tf.Tensor,
) -> Targets:
  """Compute targets by the correction that `config` names.

  The corrections are those of the paper's section 5.2.2. 'one_step' has the
  n-step returns of the behaviour policy as targets and weights each advantage;
  'epsilon' and 'none' have the same targets and no weights.

  A row that holds an episode's last observation carries an action that was
  never executed: `executed` is false. Its importance weight is 0: its target is
  V(o_t), so that it has no loss, and the row before it bootstraps from V(o_t),
  which matters where the episode was truncated.
  """
  is_vtrace = config.correction == 'vtrace'
  targets = vtrace_targets(
    config if is_vtrace else dataclasses.replace(config, **_UNCORRECTED),
    log_rhos=tf.where(executed, log_rhos if is_vtrace else 0.0, -float('inf')),
    discounts=discounts * config.discounting,
    rewards=clip_rewards(config.reward_scale * rewards, config.reward_clipping),
    values=values,
    bootstrap_value=bootstrap_value,
  )
  if config.correction != 'one_step':
    return targets
  weights = _clip(tf.exp(log_rhos), config.pg_rho_threshold)
  return targets._replace(pg_advantages=weights * targets.pg_advantages)


def impala_loss(
  config: config_lib.ImpalaConfig,
  *,
  target_logits: tf.Tensor,
  behaviour_logits: tf.Tensor,
  actions: tf.Tensor,
  executed: tf.Tensor,
  values: tf.Tensor,
  **rest: tf.Tensor,
) -> LossTerms:
  """Compute the actor-critic loss by the correction that `config` names.

  Args:
    config: Costs, discounting, rewards, correction and reduction are read.
    target_logits: `[T, B, A]` of the policy being learned.
    behaviour_logits: `[T, B, A]` of the policy that acted.
    actions: `[T, B]` int32.
    executed: `[T, B]` bool, false where the action was never executed.
    values: `[T, B]` V(o_t).
    **rest: For `corrected_targets`: `[T, B]` unclipped `rewards`, `[T, B]`
      `discounts` of the environment, `[B]` `bootstrap_value` V(o_T).

  Returns:
    The terms; gradients flow into `target_logits` and `values` only.
  """
  log_prob = trfl.vtrace_ops.log_probs_from_logits_and_actions
  log_probs = log_prob(target_logits, actions)
  log_rhos = tf.stop_gradient(log_probs - log_prob(behaviour_logits, actions))
  targets = corrected_targets(
    config, log_rhos=log_rhos, executed=executed, values=values, **rest
  )
  if config.correction == 'epsilon':
    log_probs = tf.math.log(tf.exp(log_probs) + _EPSILON)  # Stays finite.
  entropies = -tf.reduce_sum(
    tf.nn.softmax(target_logits) * tf.nn.log_softmax(target_logits), -1
  )
  mask = tf.cast(executed, tf.float32)
  is_mean = config.loss_reduction == 'mean'
  count = tf.cast(tf.size(executed), tf.float32) if is_mean else 1.0
  policy_gradient = -tf.reduce_sum(log_probs * targets.pg_advantages) / count
  baseline = 0.5 * tf.reduce_sum(tf.square(targets.vs - values)) / count
  entropy = -tf.reduce_sum(mask * entropies) / count
  rhos = tf.exp(log_rhos)
  is_clipped = _clip(rhos, config.rho_threshold) < rhos
  return LossTerms(
    policy_gradient
    + config.baseline_cost * baseline
    + config.entropy_cost * entropy,
    policy_gradient,
    baseline,
    entropy,
    mean_entropy=_mean(entropies, mask),
    clipped_rho_share=_mean(tf.cast(is_clipped, tf.float32), mask),
    explained_variance=_explained_variance(targets.vs, values, mask),
  )


def _mean(numbers: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
  """Over the rows where `mask` is 1; 0 without any."""
  return tf.reduce_sum(mask * numbers) / tf.maximum(tf.reduce_sum(mask), 1.0)


def _explained_variance(
  vs: tf.Tensor, values: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
  """1 - Var(vs - V) / Var(vs) over executed rows; 0 where vs is constant."""

  def variance(numbers: tf.Tensor) -> tf.Tensor:
    return _mean(tf.square(numbers - _mean(numbers, mask)), mask)

  spread = variance(vs)
  left = tf.math.divide_no_nan(variance(vs - values), spread)
  return tf.where(spread > 0.0, 1.0 - left, 0.0)
