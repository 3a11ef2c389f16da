"""From what the network says to actions: one forward pass for a batch.

Or, where only environments and pipeline are measured, none.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tree

from agents.impala import networks


class PolicyStep(NamedTuple):
  """What a policy gives for `[N]` environments.

  Attributes:
    action: `[N]` int32.
    logits: `[N, A]` float32.
    core_state: Leaving the step.
  """

  action: Any
  logits: Any
  core_state: networks.CoreState


class UniformPolicy:
  """Random actions, each as likely as the others, without a forward pass."""

  def __init__(self, num_actions: int, seed: int) -> None:
    """Seeds the choice.

    Args:
      num_actions: A.
      seed: The same seed repeats the same actions.
    """
    self._num_actions = num_actions
    self._rng = np.random.default_rng(seed)

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> PolicyStep:
    """One step for a batch.

    Args:
      inputs: `[N, ...]`.
      core_state: Leaves the step as it enters.

    Returns:
      The actions, and the logits that they are of: zeros.
    """
    num = len(inputs.start_of_episode)
    return PolicyStep(
      self._rng.integers(self._num_actions, size=num, dtype=np.int32),
      np.zeros((num, self._num_actions), np.float32),
      core_state,
    )


class Policy:
  """Forward pass and choice of actions as one TensorFlow function.

  The function runs as an endless dataset's, one pass an element, over variables
  that hold what is given. TensorFlow 2.8 keeps 400 bytes of each direct call of
  a `tf.function` for ever (https://github.com/tensorflow/tensorflow/issues/50765),
  2.5 GB a day of an actor's calls; of a dataset's it keeps nothing.
  """

  def __init__(self, network: networks.ImpalaNetwork) -> None:
    """Wraps a network whose variables are used as they are at each call."""
    self._network = network
    self._given: list[tf.Variable] = []  # The leaves of what a pass is given.
    self._passes: Iterator[PolicyStep] = iter(())

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> PolicyStep:
    """One step for a batch; see `networks.ImpalaNetwork.step`.

    Args:
      inputs: `[N, ...]`, of the same shapes in all calls.
      core_state: Entering the step.

    Returns:
      The actions and what led to them.
    """
    given = (inputs, core_state)
    if not self._given:
      self._given = [
        tf.Variable(value, trainable=False) for value in tree.flatten(given)
      ]
      options = tf.data.Options()
      options.autotune.enabled = False
      options.experimental_optimization.apply_default_optimizations = False
      passes = (
        tf.data.Dataset.range(1).repeat().map(lambda _: self._step(given))
      )
      self._passes = iter(passes.with_options(options))
    for variable, value in zip(self._given, tree.flatten(given), strict=True):
      # As `assign`, without what that costs in Python.
      tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
    return next(self._passes)

  def _step(self, structure: Any) -> PolicyStep:
    """Builds one pass; `structure` is that of what is given."""
    inputs, core_state = tree.unflatten_as(
      structure, [variable.read_value() for variable in self._given]
    )
    output, core_state = self._network.step(inputs, core_state)
    action = tf.squeeze(tf.random.categorical(output.logits, 1, tf.int32), -1)
    return PolicyStep(action, output.logits, core_state)
