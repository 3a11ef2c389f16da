"""Environments played with random actions."""

import numpy as np
from dm_env import test_utils


class Conformance(test_utils.EnvironmentTestMixin):
  """dm_env's own tests, for a test case with `make_object_under_test`."""

  num_steps = 100

  def make_action_sequence(self):
    spec = self.environment.action_spec()
    for action in random_actions(self.environment, self.num_steps):
      yield spec.dtype.type(action)


def random_actions(environment, num_steps, seed=0):
  num_actions = environment.action_spec().num_values
  return np.random.default_rng(seed).integers(num_actions, size=num_steps)


def play(environment, num_steps):
  """Return the timesteps of a reset and of random actions after it."""
  timesteps = [environment.reset()]
  for action in random_actions(environment, num_steps):
    timesteps.append(environment.step(int(action)))
  return timesteps


def are_equal(left, right):
  """Return whether timesteps are equal; observations may be nested."""
  try:
    np.testing.assert_equal(left, right)
  except AssertionError:
    return False
  return True


def check_seeds(make, num_steps):
  """Check that the same seed and actions repeat the same episodes."""
  first, again, other = (play(make(seed), num_steps) for seed in (1, 1, 2))
  assert sum(timestep.last() for timestep in first) >= 1
  assert are_equal(first, again)
  assert not are_equal(first, other)
