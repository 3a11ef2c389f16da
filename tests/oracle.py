"""The loss in slow NumPy, and inputs for it."""

import numpy as np
import tensorflow as tf

T, B, A = 7, 5, 4


def log_softmax(logits):
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def take(log_probs, actions):
  return np.take_along_axis(log_probs, actions[..., None], -1)[..., 0]


def make_inputs(seed=0, executed_share=0.8):
  """A batch whose importance weights lie on both sides of every clip."""
  rng = np.random.default_rng(seed)
  executed = rng.random((T, B)) < executed_share
  discounts = np.where(rng.random((T, B)) < 0.2, 0.0, 1.0)
  rewards = rng.normal(size=(T, B)) * 2
  return {
    'target_logits': rng.normal(size=(T, B, A)) * 1.3,
    'behaviour_logits': rng.normal(size=(T, B, A)) * 1.3,
    'values': rng.normal(size=(T, B)) * 3,
    'bootstrap_value': rng.normal(size=B) * 3,
    'actions': rng.integers(A, size=(T, B)).astype(np.int32),
    'rewards': np.where(executed, rewards, 0.0),
    'discounts': np.where(executed, discounts, 0.0),
    'executed': executed,
  }


def as_tensors(inputs):
  return {
    name: tf.constant(value, tf.float32 if value.dtype == np.float64 else None)
    for name, value in inputs.items()
  }


def slow_vtrace(
  rhos, discounts, rewards, values, bootstrap_value, clips=(1, 1, 1), lambda_=1
):
  """Equation 1 of the paper as it is printed: a sum of products for each s.

  `clips` are rho-bar, that of the policy gradient, and c-bar.
  """
  steps = len(rhos)
  all_values = np.concatenate([values, bootstrap_value[None]])
  clipped, pg_clipped, cs = (np.minimum(rhos, clip) for clip in clips)
  cs = lambda_ * cs
  vs = np.zeros_like(values)
  for s in range(steps):
    vs[s] = values[s]
    for t in range(s, steps):
      product = np.prod(discounts[s:t] * cs[s:t], axis=0)
      delta = clipped[t] * (
        rewards[t] + discounts[t] * all_values[t + 1] - values[t]
      )
      vs[s] += product * delta
  vs_next = np.concatenate([vs[1:], bootstrap_value[None]])
  return vs, pg_clipped * (rewards + discounts * vs_next - values)


def slow_loss(config, inputs):
  """The terms of the loss, importance weights, and targets of the values."""
  target = take(log_softmax(inputs['target_logits']), inputs['actions'])
  behaviour = take(log_softmax(inputs['behaviour_logits']), inputs['actions'])
  executed, rhos = inputs['executed'], np.exp(target - behaviour)
  vs, advantages = slow_vtrace(
    np.where(executed, rhos if config.correction == 'vtrace' else 1.0, 0.0),
    inputs['discounts'] * config.discounting,
    np.clip(inputs['rewards'], -1, 1),
    inputs['values'],
    inputs['bootstrap_value'],
  )
  if config.correction == 'one_step':
    advantages = advantages * np.minimum(rhos, 1.0)
  if config.correction == 'epsilon':
    target = np.log(np.exp(target) + 1e-6)
  terms = {
    'policy_gradient': -np.sum(target * advantages),
    'baseline': 0.5 * np.sum((vs - inputs['values']) ** 2),
    'entropy': -np.sum(entropies(inputs)[executed]),
  }
  terms['total'] = (
    terms['policy_gradient']
    + config.baseline_cost * terms['baseline']
    + config.entropy_cost * terms['entropy']
  )
  return terms, rhos, vs


def entropies(inputs):
  logs = log_softmax(inputs['target_logits'])
  return -np.sum(np.exp(logs) * logs, -1)
