import numpy as np
import pytest
import tensorflow as tf

from agents.impala import config as config_lib
from agents.impala import optimizers

STEPS = 100


def make_gradients(seed=0):
  rng = np.random.default_rng(seed)
  return [
    [
      (rng.normal(size=shape) * scale).astype(np.float32)
      for shape, scale in (((3, 4), 2.0), ((5,), 0.01))
    ]
    for _ in range(STEPS)
  ]


def run(optimizer, variables):
  for gradients in make_gradients():
    optimizer.apply(
      [tf.constant(g) for g in gradients], tf.constant(0.01, tf.float32)
    )
  return [variable.numpy() for variable in variables]


def make_variables():
  return [tf.Variable(value) for value in make_gradients(1)[0]]


@pytest.mark.parametrize('epsilon', [0.1, 0.01])
@pytest.mark.parametrize('momentum', [0.0, 0.9])
def test_steps_are_bit_for_bit_those_of_tensorflow_1(epsilon, momentum):
  ours, theirs = make_variables(), make_variables()
  run(optimizers.RMSProp(ours, 0.99, momentum, epsilon), ours)
  reference = tf.compat.v1.train.RMSPropOptimizer(0.01, 0.99, momentum, epsilon)
  for gradients in make_gradients():
    reference.apply_gradients(
      [(tf.constant(g), v) for g, v in zip(gradients, theirs, strict=True)]
    )
  for mine, other, first in zip(ours, theirs, make_variables(), strict=True):
    np.testing.assert_array_equal(mine, other)
    assert np.abs(mine - first).min() > 0


@pytest.mark.parametrize('epsilon', [0.1, 0.01])
def test_rmsprop_follows_the_formula(epsilon):
  variables = make_variables()
  found = run(optimizers.RMSProp(variables, 0.99, 0.0, epsilon), variables)
  for i, expected in enumerate(make_gradients(1)[0]):
    mean_square = 1.0
    for gradients in make_gradients():
      gradient = gradients[i].astype(float)
      mean_square = 0.99 * mean_square + 0.01 * gradient**2
      expected = expected - 0.01 * gradient / np.sqrt(mean_square + epsilon)
    np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-5)


def test_adam_follows_the_formula():
  variables = make_variables()
  found = run(optimizers.Adam(variables, 1e-3), variables)
  for i, expected in enumerate(make_gradients(1)[0]):
    mean = square = 0.0
    for t, gradients in enumerate(make_gradients(), start=1):
      gradient = gradients[i].astype(float)
      mean = 0.9 * mean + 0.1 * gradient
      square = 0.999 * square + 0.001 * gradient**2
      # The paper's more efficient order of computation, end of section 2.
      rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
      expected = expected - rate * mean / (np.sqrt(square) + 1e-3)
    np.testing.assert_allclose(found[i], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
  ('frames', 'expected'),
  [(0, 6e-4), (50_000_000, 4.5e-4), (200_000_000, 0.0), (200_000_640, 0.0)],
)
def test_learning_rate_falls_linearly_to_zero(frames, expected):
  rate = optimizers.linear_to_zero(
    6e-4, tf.constant(frames, tf.int64), 200_000_000
  )
  assert rate.dtype == tf.float32
  np.testing.assert_allclose(rate, expected, rtol=1e-6)


def test_learning_rate_tells_neighbouring_steps_of_a_long_run_apart():
  rates = [
    float(optimizers.linear_to_zero(1.0, tf.constant(frames, tf.int64), 10**10))
    for frames in (9_999_000_000, 9_999_012_800)
  ]
  np.testing.assert_allclose(rates, [1e-4, 0.9872e-4], rtol=1e-6)


@pytest.mark.parametrize('name', ['rmsprop', 'adam'])
def test_an_optimizer_is_made_by_name(name):
  config = config_lib.ImpalaConfig(
    optimizer=name, epsilon=0.5, adam_epsilon=0.5, momentum=0.3
  )
  variable = tf.Variable([1.0])
  optimizer = optimizers.make_optimizer(config, [variable])
  optimizer.apply([tf.constant([2.0])], tf.constant(0.1))
  moved = 1.0 - float(variable[0])
  expected = {
    # A mean square of 0.99 + 0.01 * 4, epsilon inside the root.
    'rmsprop': 0.1 * 2 / np.sqrt(1.03 + 0.5),
    'adam': 0.1 * np.sqrt(0.001) / 0.1 * 0.2 / (2 * np.sqrt(0.001) + 0.5),
  }
  np.testing.assert_allclose(moved, expected[name], rtol=1e-5)
