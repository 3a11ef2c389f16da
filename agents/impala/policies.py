"""Policies: how a batch of inputs becomes actions.

An actor has a local policy, with variables that it fetches from the learner, or
a remote one, which asks the inference server.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import acme
import numpy as np
import tensorflow as tf
import tree
from acme.tf import variable_utils

from agents.impala import networks, timing


class PolicyStep(NamedTuple):
  """Output of a policy for `[N]` environments."""

  action: Any  # `[N]` int32.
  logits: Any  # `[N, A]` float32.
  core_state: networks.CoreState  # Leaving the step.


class UniformPolicy:
  """Uniformly random actions, without a forward pass."""

  def __init__(self, num_actions: int, seed: int) -> None:
    self._num_actions = num_actions
    self._rng = np.random.default_rng(seed)

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> PolicyStep:
    """Return random actions, and logits of zeros."""
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
  2.5 GB a day of an actor's calls; of a dataset's it keeps nothing. The
  network's variables are used as they are at each call.
  """

  def __init__(self, network: networks.ImpalaNetwork, seed: int = 0) -> None:
    self._network = network
    # A stream of its own: TensorFlow's global seed is shared by all threads.
    self._seed = tf.Variable([seed, 0], trainable=False, dtype=tf.int64)
    self._given: list[tf.Variable] = []  # The leaves of what a pass is given.
    self._passes: Iterator[PolicyStep] = iter(())

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> PolicyStep:
    """Compute one step of `[N, ...]`; shapes other than N may not change."""
    given = (inputs, core_state)
    if not self._given:
      # An open first dimension costs nothing measurable, and no new trace for
      # each number of environments that a server sees.
      self._given = [
        tf.Variable(value, trainable=False, shape=[None, *value.shape[1:]])
        for value in tree.flatten(given)
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
    """Build the graph of one forward pass; inputs have this `structure`."""
    inputs, core_state = tree.unflatten_as(
      structure, [variable.read_value() for variable in self._given]
    )
    output, core_state = self._network.step(inputs, core_state)
    action = tf.random.stateless_categorical(
      output.logits, 1, self._seed.assign_add([0, 1]), tf.int32
    )
    return PolicyStep(tf.squeeze(action, -1), output.logits, core_state)


class LocalPolicy:
  """Acts in this process, with variables fetched from the learner."""

  def __init__(
    self,
    network: networks.ImpalaNetwork,
    policy: Policy | UniformPolicy,
    variable_source: acme.VariableSource,
    timer: timing.Timer,
  ) -> None:
    self._network = network
    self._policy = policy
    self._timer = timer
    self._learner_step = tf.Variable(0, dtype=tf.int64, trainable=False)
    self._variables = variable_utils.VariableClient(
      variable_source, {'policy': [*network.variables, self._learner_step]}
    )

  @property
  def learner_step(self) -> int:
    """Learner step of the variables that were fetched last."""
    return int(self._learner_step.numpy())

  def initial_state(self, num_environments: int) -> networks.CoreState:
    """Return the core state before any step, `[num_environments, ...]`."""
    return self._network.initial_state(num_environments)

  def update(self, wait: bool = False) -> None:
    """Fetch the newest variables and the learner step they are of."""
    with self._timer.measure('fetching_variables'):
      self._variables.update(wait=wait)

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> PolicyStep:
    """See `Policy`."""
    with self._timer.measure('forward_pass'):
      return self._policy(inputs, core_state)


class RemotePolicy:
  """Asks the inference server, which fetches the variables.

  Every request holds the core state, 2 KB for an LSTM of 256 units: so the
  server keeps no state by environment, and a request may be sent twice.

  `step` calls the server with the arrays of inputs and core state; it returns
  those of a `PolicyStep` and `[N]` learner steps.
  """

  def __init__(
    self,
    step: Callable[..., Sequence[np.ndarray]],
    network: networks.ImpalaNetwork,
    timer: timing.Timer,
  ) -> None:
    self._step = step
    self._network = network
    self._timer = timer
    # Of the variables that the server chose the last actions with.
    self.learner_step = 0

  def initial_state(self, num_environments: int) -> networks.CoreState:
    """See `LocalPolicy.initial_state`."""
    return tree.map_structure(
      np.asarray, self._network.initial_state(num_environments)
    )

  def update(self, wait: bool = False) -> None:
    """Do nothing: the server has the variables."""

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> PolicyStep:
    """See `Policy`."""
    with self._timer.measure('waiting_for_inference'):
      *leaves, learner_step = self._step(*tree.flatten((inputs, core_state)))
    self.learner_step = int(learner_step[0])
    return tree.unflatten_as(PolicyStep(0, 0, core_state), leaves)


ActingPolicy = LocalPolicy | RemotePolicy  # What an actor acts with.
