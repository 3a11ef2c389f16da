"""The loss of IMPALA: pure tensors in, `LossTerms` out."""

from typing import NamedTuple

import tensorflow as tf
import trfl

from agents.impala import config as config_lib


class LossTerms(NamedTuple):
  """Scalars, each summed over time and batch before its weight is applied.

  Attributes:
    total: What is minimised: policy_gradient + baseline_cost * baseline +
      entropy_cost * entropy.
    policy_gradient: -sum log pi(a_t | o_t) * pg_advantages_t.
    baseline: 0.5 * sum (vs_t - V(o_t))^2.
    entropy: -sum H(pi(. | o_t)).
    clipped_rho_share: Share of executed rows whose importance weight is
      clipped, from 0 to 1; a figure to watch, not a loss.
  """

  total: tf.Tensor
  policy_gradient: tf.Tensor
  baseline: tf.Tensor
  entropy: tf.Tensor
  clipped_rho_share: tf.Tensor


def clip_rewards(rewards: tf.Tensor, reward_clipping: str) -> tf.Tensor:
  """Rewards as the learner sees them, formulas of the reference's code.

  Args:
    rewards: Any shape.
    reward_clipping: 'abs_one' clips to [-1, 1]; 'soft_asymmetric' squeezes
      with 5 tanh(r / 5), and negative rewards by a further factor of 0.3.

  Returns:
    The same shape.
  """
  if reward_clipping == 'abs_one':
    return tf.clip_by_value(rewards, -1.0, 1.0)
  squeezed = tf.tanh(rewards / 5.0)
  return tf.where(rewards < 0.0, 0.3 * squeezed, squeezed) * 5.0


def impala_loss(
  config: config_lib.ImpalaConfig,
  *,
  target_logits: tf.Tensor,
  behaviour_logits: tf.Tensor,
  values: tf.Tensor,
  bootstrap_value: tf.Tensor,
  actions: tf.Tensor,
  rewards: tf.Tensor,
  discounts: tf.Tensor,
  executed: tf.Tensor,
) -> LossTerms:
  """V-trace actor-critic loss, summed over time and batch (never averaged).

  A row that holds an episode's last observation carries an action that nobody
  executed. Its importance weight is 0, so that its target is its own value:
  it teaches nothing itself, and the row before it bootstraps from it, which
  matters where the episode was truncated.

  Args:
    config: Costs, discounting and reward clipping are read.
    target_logits: `[T, B, A]` of the policy being learned.
    behaviour_logits: `[T, B, A]` of the policy that acted.
    values: `[T, B]` V(o_t).
    bootstrap_value: `[B]` V(o_T).
    actions: `[T, B]` int32.
    rewards: `[T, B]` unclipped.
    discounts: `[T, B]` the environment's, before `discounting`.
    executed: `[T, B]` bool, false where the action was never executed.

  Returns:
    The terms; gradients flow into `target_logits` and `values` only.
  """
  mask = tf.cast(executed, tf.float32)
  target_log_probs = trfl.vtrace_ops.log_probs_from_logits_and_actions(
    target_logits, actions
  )
  log_rhos = (
    target_log_probs
    - trfl.vtrace_ops.log_probs_from_logits_and_actions(
      behaviour_logits, actions
    )
  )
  log_rhos = tf.where(executed, log_rhos, -float('inf'))
  vtrace = trfl.vtrace_from_importance_weights(
    log_rhos=log_rhos,
    discounts=discounts * config.discounting,
    rewards=clip_rewards(rewards, config.reward_clipping),
    values=values,
    bootstrap_value=bootstrap_value,
  )
  policy_gradient = -tf.reduce_sum(target_log_probs * vtrace.pg_advantages)
  baseline = 0.5 * tf.reduce_sum(tf.square(vtrace.vs - values))
  probs, log_probs = (
    tf.nn.softmax(target_logits),
    tf.nn.log_softmax(target_logits),
  )
  entropy = tf.reduce_sum(mask * tf.reduce_sum(probs * log_probs, -1))
  total = (
    policy_gradient
    + config.baseline_cost * baseline
    + config.entropy_cost * entropy
  )
  clipped = tf.reduce_sum(tf.cast(log_rhos > 0.0, tf.float32))
  return LossTerms(
    total=total,
    policy_gradient=policy_gradient,
    baseline=baseline,
    entropy=entropy,
    clipped_rho_share=clipped / tf.maximum(tf.reduce_sum(mask), 1.0),
  )
