import dataclasses

import numpy as np
import oracle
import pytest
import tensorflow as tf

from agents.impala import config as config_lib
from agents.impala import losses

T, B, A = oracle.T, oracle.B, oracle.A
CONFIG = config_lib.ImpalaConfig(
  discounting=0.97, baseline_cost=0.5, entropy_cost=0.03
)


@pytest.mark.parametrize('reduction', ['sum', 'mean'])
@pytest.mark.parametrize('seed', range(3))
def test_every_term_equals_the_slow_oracle(seed, reduction):
  inputs = oracle.make_inputs(seed)
  config = dataclasses.replace(CONFIG, loss_reduction=reduction)
  terms = losses.impala_loss(config, **oracle.as_tensors(inputs))
  expected, rhos, _ = oracle.slow_loss(config, inputs)
  assert rhos.min() < 0.1
  assert rhos.max() > 8
  for name, value in expected.items():
    count = T * B if reduction == 'mean' else 1
    np.testing.assert_allclose(
      getattr(terms, name), value / count, rtol=1e-4, err_msg=name
    )


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize(
  ('clips', 'lambda_'),
  [
    ((3.7, 2.2, 1), 1),  # By trfl; those of the reference's own test.
    ((3.7, 2.2, 1.5), 1),
    ((1, 1, 1), 0.7),
    ((2, 0.5, 0.3), 0.9),
    ((0, 0, 1), 1),  # 0: never clipped.
    ((0, 0, 0), 0.95),
  ],
)
def test_targets_equal_the_slow_oracle_with_any_clips(seed, clips, lambda_):
  config = config_lib.ImpalaConfig(
    rho_threshold=clips[0],
    pg_rho_threshold=clips[1],
    c_threshold=clips[2],
    trace_lambda=lambda_,
  )
  rng = np.random.default_rng(seed)
  rhos = np.exp(rng.uniform(np.log(0.08), np.log(12), size=(T, B)))
  rhos[2, 1] = 0.0
  inputs = oracle.make_inputs(seed)
  given = {
    'discounts': inputs['discounts'] * 0.9,
    **{name: inputs[name] for name in ('rewards', 'values', 'bootstrap_value')},
  }
  vs, advantages = oracle.slow_vtrace(
    rhos, **given, clips=[c or np.inf for c in clips], lambda_=lambda_
  )
  with np.errstate(divide='ignore'):
    log_rhos = np.log(rhos)
  found = losses.vtrace_targets(
    config, **oracle.as_tensors({'log_rhos': log_rhos, **given})
  )
  np.testing.assert_allclose(found.vs, vs, rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(
    found.pg_advantages, advantages, rtol=1e-3, atol=1e-3
  )


def test_no_gradient_flows_through_targets():
  values = tf.Variable(oracle.make_inputs()['values'].astype(np.float32))
  given = oracle.as_tensors(
    {
      name: oracle.make_inputs()[name]
      for name in ('discounts', 'rewards', 'bootstrap_value')
    }
  )
  for config in (CONFIG, dataclasses.replace(CONFIG, trace_lambda=0.5)):
    with tf.GradientTape() as tape:
      targets = losses.vtrace_targets(
        config, log_rhos=tf.zeros((T, B)), values=values, **given
      )
      total = tf.reduce_sum(targets.vs) + tf.reduce_sum(targets.pg_advantages)
    assert tape.gradient(total, values) is None


@pytest.mark.parametrize(
  'clips', [{}, {'rho_threshold': 0.5, 'c_threshold': 0.4}]
)
@pytest.mark.parametrize('correction', ['one_step', 'epsilon', 'none'])
def test_ablations_equal_the_slow_oracle(correction, clips):
  """Whatever the thresholds of V-trace, which they have nothing to do with."""
  config = dataclasses.replace(
    CONFIG, correction=correction, trace_lambda=0.8, **clips
  )
  inputs = oracle.make_inputs(4)
  t, b = np.argwhere(inputs['executed'])[0]
  inputs['target_logits'][t, b, inputs['actions'][t, b]] -= 40
  terms = losses.impala_loss(config, **oracle.as_tensors(inputs))
  expected, _, _ = oracle.slow_loss(config, inputs)
  policy_gradient = expected['policy_gradient']
  np.testing.assert_allclose(terms.policy_gradient, policy_gradient, rtol=1e-4)
  np.testing.assert_allclose(terms.baseline, expected['baseline'], rtol=1e-4)
  # A clip of one_step's own weight.
  clipped = losses.impala_loss(
    dataclasses.replace(config, pg_rho_threshold=0.3),
    **oracle.as_tensors(inputs),
  )
  is_other = abs(float(clipped.policy_gradient) - policy_gradient) > 1e-2
  assert is_other == (correction == 'one_step')


def one_step(config=CONFIG, reward=1.0, **given):
  """The loss of one on-policy step that ends an episode."""
  logits = tf.constant([[[0.5, -0.3]]])
  inputs = {
    'target_logits': logits,
    'behaviour_logits': logits,
    'values': tf.zeros((1, 1)),
    'bootstrap_value': tf.constant([5.0]),
    'actions': tf.constant([[1]]),
    'rewards': tf.constant([[reward]]),
    'discounts': tf.zeros((1, 1)),
    'executed': tf.constant([[True]]),
  }
  return losses.impala_loss(config, **inputs | given)


@pytest.mark.parametrize(
  ('correction', 'expected'), [('epsilon', [0, 0]), ('none', [1, -1])]
)
def test_epsilon_keeps_the_gradient_of_an_unlikely_action_finite(
  correction, expected
):
  config = dataclasses.replace(CONFIG, correction=correction)
  logits = tf.Variable([[[60.0, -60.0]]])
  with tf.GradientTape() as tape:
    terms = one_step(
      config, target_logits=logits, behaviour_logits=tf.zeros((1, 1, 2))
    )
  gradient = tape.gradient(terms.policy_gradient, logits)
  np.testing.assert_allclose(gradient, [[expected]], atol=1e-5)


def test_figures_to_watch():
  inputs = oracle.make_inputs(6)
  terms = losses.impala_loss(CONFIG, **oracle.as_tensors(inputs))
  executed = inputs['executed']
  _, rhos, vs = oracle.slow_loss(CONFIG, inputs)
  np.testing.assert_allclose(
    terms.mean_entropy,
    np.mean(oracle.entropies(inputs)[executed]),
    rtol=1e-5,
  )
  left = np.var((vs - inputs['values'])[executed])
  np.testing.assert_allclose(
    terms.explained_variance, 1 - left / np.var(vs[executed]), rtol=1e-4
  )
  for threshold in (1.0, 3.0):
    config = dataclasses.replace(CONFIG, rho_threshold=threshold)
    np.testing.assert_allclose(
      losses.impala_loss(config, **oracle.as_tensors(inputs)).clipped_rho_share,
      np.mean(rhos[executed] > threshold),
      rtol=1e-5,
    )


def test_on_policy_targets_are_n_step_returns():
  inputs = oracle.make_inputs(1, executed_share=1.0)
  inputs['behaviour_logits'] = inputs['target_logits']
  inputs['rewards'] = np.clip(inputs['rewards'], -1, 1)
  target = np.copy(inputs['bootstrap_value'])
  returns = np.zeros((T, B))
  for t in reversed(range(T)):
    target = (
      inputs['rewards'][t]
      + inputs['discounts'][t] * CONFIG.discounting * target
    )
    returns[t] = target
  terms = losses.impala_loss(CONFIG, **oracle.as_tensors(inputs))
  np.testing.assert_allclose(
    terms.baseline, 0.5 * np.sum((returns - inputs['values']) ** 2), rtol=1e-4
  )


def test_a_truncated_episode_bootstraps_from_its_last_observation():
  # One step of reward 1 before the truncation, whose last observation is worth
  # 9 at a discount of 1: the step before it is worth 10, whatever comes after.
  config = config_lib.ImpalaConfig(discounting=1.0)
  logits = tf.zeros((3, 1, 2))
  values = tf.Variable([[10.0], [9.0], [123.0]])
  with tf.GradientTape() as tape:
    terms = losses.impala_loss(
      config,
      target_logits=logits,
      behaviour_logits=logits,
      values=values,
      bootstrap_value=tf.constant([77.0]),
      actions=tf.zeros((3, 1), tf.int32),
      rewards=tf.constant([[1.0], [0.0], [0.0]]),
      discounts=tf.constant([[1.0], [0.0], [0.0]]),
      executed=tf.constant([[True], [False], [True]]),
    )
  gradient = tape.gradient(terms.baseline, values).numpy()[:, 0]
  np.testing.assert_allclose(gradient, [0.0, 0.0, 123.0], atol=1e-5)


def test_a_row_that_was_not_executed_teaches_nothing():
  inputs = oracle.as_tensors(oracle.make_inputs(2))
  logits, values = (
    tf.Variable(inputs['target_logits']),
    tf.Variable(inputs['values']),
  )
  with tf.GradientTape() as tape:
    terms = losses.impala_loss(
      CONFIG, **{**inputs, 'target_logits': logits, 'values': values}
    )
  by_logits, by_values = tape.gradient(terms.total, [logits, values])
  masked = ~inputs['executed'].numpy()
  assert masked.any()
  assert not by_logits.numpy()[masked].any()
  assert not by_values.numpy()[masked].any()
  assert by_logits.numpy()[~masked].any(axis=-1).all()
  assert by_values.numpy()[~masked].all()


def test_rewards_are_clipped_by_the_formulas_of_the_reference():
  rewards = np.array([-20.0, -1.5, -0.2, 0.0, 0.3, 2.0, 50.0], np.float32)
  np.testing.assert_allclose(
    losses.clip_rewards(rewards, 'abs_one'), np.clip(rewards, -1, 1)
  )
  squeezed = np.tanh(rewards / 5)
  np.testing.assert_allclose(
    losses.clip_rewards(rewards, 'soft_asymmetric'),
    np.where(rewards < 0, 0.3 * squeezed, squeezed) * 5,
    rtol=1e-6,
  )


def test_rewards_are_scaled_before_they_are_clipped():
  scaled = dataclasses.replace(CONFIG, reward_scale=0.01)
  for raw, reward in ((40.0, 0.4), (400.0, 1.0)):
    assert float(one_step(scaled, raw).total) == pytest.approx(
      float(one_step(reward=reward).total)
    )
