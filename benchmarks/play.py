"""Real unrolls to measure with: acted here, by the real actor."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import acme
import dm_env
import numpy as np
import tree
from dm_env import specs

import environments
from agents.impala import acting, learning, meter, metrics, networks, policies
from agents.impala import unrolls as unrolls_lib
from environments import batch as batch_lib
from environments import suites
from programs import models, runs

_PICTURE = (72, 96, 3)  # Of DeepMind Lab, as it is by default.
_NUM_LAB_ACTIONS = 9
_INSTRUCTION = 'find the red object in the corridor'


class _Lab(dm_env.Environment):
  """What DeepMind Lab shows, by its size: pictures are those of ViZDoom.

  No package index has the simulator, and neither zeros nor noise are compressed
  as pictures of rooms are.
  """

  def __init__(self, seed: int) -> None:
    self._doom = environments.make('doom_basic', seed)

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode."""
    return self._cut(self._doom.reset())

  def step(self, action: int) -> dm_env.TimeStep:
    """Takes one of nine actions, which mean fewer."""
    num_actions = self._doom.action_spec().num_values
    return self._cut(self._doom.step(int(action) % num_actions))

  def observation_spec(self) -> dict[str, specs.Array]:
    """As `environments.dmlab`'s."""
    return {
      'RGB_INTERLEAVED': specs.BoundedArray(_PICTURE, np.uint8, 0, 255),
      'INSTR': specs.StringArray((), str),
    }

  def action_spec(self) -> specs.DiscreteArray:
    """As `environments.dmlab`'s."""
    return specs.DiscreteArray(_NUM_LAB_ACTIONS)

  def close(self) -> None:
    """Ends the engine."""
    self._doom.close()

  def _cut(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    height, width, _ = _PICTURE
    picture = timestep.observation[:height, :width]
    return timestep._replace(
      observation={'RGB_INTERLEAVED': picture, 'INSTR': _INSTRUCTION}
    )


class Batch(acting.EnvironmentBatch, Protocol):
  """Of `environments.make_batch`, whichever engine it has."""

  @property
  def levels(self) -> np.ndarray:
    """`[N]` int32, index of the level that each environment plays."""

  def close(self) -> None:
    """Ends the simulators."""


class Source(acme.VariableSource):
  """Serves a network's variables as a learner does that never pauses.

  Whoever asks for the version alone is told of a newer one each time.
  """

  def __init__(self, network: networks.ImpalaNetwork) -> None:
    self._served = learning.served_variables(network, metrics.Counts())
    self._step = 0

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    self._step += list(names) == ['version']
    version = [np.array(1), np.array(self._step)]
    served = {**self._served, 'version': version}
    return [served[name] for name in names]


class _Keeper(unrolls_lib.UnrollWriter):
  """Keeps unrolls in place of writing them."""

  def __init__(self) -> None:
    self.unrolls: list[unrolls_lib.Unroll] = []

  def write(self, unrolls: Iterable[unrolls_lib.Unroll]) -> None:
    """Copies them."""
    self.unrolls += [tree.map_structure(np.copy, unroll) for unroll in unrolls]


class _Tap:
  """A policy that keeps what it is given."""

  def __init__(self, policy: policies.UniformPolicy) -> None:
    self._policy = policy
    self.given: tuple[Any, Any] = ((), ())

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> policies.PolicyStep:
    self.given = (inputs, core_state)
    return self._policy(inputs, core_state)


def is_stand_in(configuration: runs.Configuration) -> bool:
  """Whether the level is played by `_Lab`."""
  return suites.is_dmlab30(configuration.run.level_name)


def make_model(
  configuration: runs.Configuration,
) -> tuple[networks.ImpalaNetwork, unrolls_lib.Unroll]:
  """As `models.make_model`, for levels without a simulator too."""
  if not is_stand_in(configuration):
    return models.make_model(configuration)
  environment = _Lab(seed=0)
  observations = environment.observation_spec()
  environment.close()
  network = networks.make_network(
    configuration.agent, observations, _NUM_LAB_ACTIONS
  )
  return network, unrolls_lib.make_signature(
    configuration.agent,
    observations,
    _NUM_LAB_ACTIONS,
    network.initial_state(1),
  )


def make_batch(configuration: runs.Configuration, num: int) -> Batch:
  """Environments of the run's level, in this process."""
  if is_stand_in(configuration):
    return batch_lib.EnvironmentBatch([_Lab(seed) for seed in range(num)])
  return environments.make_batch(
    configuration.run.level_name,
    range(num),
    settings=configuration.environment,
  )


def act(
  configuration: runs.Configuration,
  network: networks.ImpalaNetwork,
  signature: unrolls_lib.Unroll,
  num_unrolls: int,
) -> list[unrolls_lib.Unroll]:
  """Acts unrolls with random actions.

  Args:
    configuration: Of the run whose actor acts.
    network: See `make_model`.
    signature: See `make_model`.
    num_unrolls: At least so many.

  Returns:
    Arrays as in the signature.
  """
  writer = _Keeper()
  num = min(configuration.run.num_envs_per_actor, num_unrolls)
  batch = make_batch(configuration, num)
  actor = _make_actor(network, signature, _uniform(signature), batch, writer)
  try:
    timestep = batch.reset()
    actor.observe_first(timestep)
    while len(writer.unrolls) < num_unrolls:
      action = actor.select_action(timestep.observation)
      timestep = batch.step(action)
      actor.observe(action, timestep)
  finally:
    batch.close()
  return writer.unrolls


def first_inputs(
  configuration: runs.Configuration,
  network: networks.ImpalaNetwork,
  signature: unrolls_lib.Unroll,
  num: int,
) -> tuple[networks.NetworkInput, networks.CoreState]:
  """What the policy of an actor with `num` environments is given first."""
  batch = make_batch(configuration, num)
  try:
    tap = _Tap(_uniform(signature))
    actor = _make_actor(network, signature, tap, batch, _Keeper())
    timestep = batch.reset()
    actor.observe_first(timestep)
    actor.select_action(timestep.observation)
    return tree.map_structure(np.array, tap.given)
  finally:
    batch.close()


def _uniform(signature: unrolls_lib.Unroll) -> policies.UniformPolicy:
  return policies.UniformPolicy(signature.behaviour_logits.shape[-1], seed=1)


def _make_actor(
  network: networks.ImpalaNetwork,
  signature: unrolls_lib.Unroll,
  policy: Any,
  batch: Batch,
  writer: unrolls_lib.UnrollWriter,
) -> acting.Actor:
  a_meter = meter.Meter()
  return acting.Actor(
    policies.LocalPolicy(network, policy, Source(network), a_meter),
    signature,
    batch.levels,
    writer,
    a_meter,
  )


def make_writer(
  configuration: runs.Configuration, client: Any
) -> unrolls_lib.UnrollWriter:
  """The writer of an actor."""
  return unrolls_lib.UnrollWriter(
    client,
    threading.Event(),
    meter.Meter(),
    configuration.agent.num_replayed > 0,
  )
