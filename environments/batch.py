"""Several environments stepped together in one process, for one actor."""

import contextlib
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

import dm_env
import numpy as np
import numpy.typing as npt
import tree
from dm_env import specs


class BatchTimeStep(NamedTuple):
  """The timesteps of N environments; all fields but the first are `[N]`.

  The batch's next step overwrites the arrays: the caller copies what it keeps.

  Attributes:
    observation: `[N, ...]` structure of the environments' observations.
    reward: Unclipped reward that led here; 0 where an episode starts.
    discount: Discount of the transition that led here: 0 after a termination
      and where an episode starts, 1 after a truncation.
    start_of_episode: Whether an episode starts.
    episode_return: Unclipped return of the whole episode (of Atari the game,
      over all its lives) that ended here; NaN where none ended.
    episode_steps: Agent steps of the same episode; 0 where none ended.
    environment_restarts: Number of restarts of the environment after a crash.
  """

  observation: Any
  reward: npt.NDArray[np.float32]
  discount: npt.NDArray[np.float32]
  start_of_episode: npt.NDArray[np.bool_]
  episode_return: npt.NDArray[np.float32]
  episode_steps: npt.NDArray[np.int32]
  environment_restarts: npt.NDArray[np.int32]

  def clear_ends(self) -> None:
    """Clear the columns of ended episodes, before the next step."""
    self.episode_return.fill(np.nan)
    self.episode_steps.fill(0)


# Data type of each field but the observation, taken from its annotation.
DTYPES = {
  name: np.dtype(typing.get_args(typing.get_args(array)[1])[0])
  for name, array in BatchTimeStep.__annotations__.items()
  if name != 'observation'
}


class EnvironmentBatch:
  """N environments that are reset automatically when their episodes end.

  An episode's LAST observation is returned like any other. The action chosen
  for it is never executed: the following step resets that environment and
  returns its FIRST observation.

  Optional attributes of an environment:
    game_over: False at a LAST timestep after which the same Atari game goes on
      (a lost life): `episode_return` and `episode_steps` then accumulate.
    num_restarts: How often a reset has restarted it after a crash.
    has_crashed: True at the LAST timestep of an episode that a crash cut short;
      that episode is not reported.

  Attributes:
    levels: `[N]` int32, index of the level that each environment plays.
    observation_spec: Spec of one environment, without the batch dimension.
    action_spec: Spec of one environment.
    needs_reset: For each environment, whether its next step is a reset.

  Raises:
    ValueError: There is no environment, the specs differ, or they are not of
      one discrete action and a scalar reward.
  """

  def __init__(
    self,
    environments: Sequence[dm_env.Environment],
    levels: Sequence[int] | None = None,
  ) -> None:
    _check_specs(environments)
    self._environments = list(environments)
    self.observation_spec = environments[0].observation_spec()
    self.action_spec = environments[0].action_spec()
    num = len(environments)
    self.levels = np.array(levels or [0] * num, np.int32)
    self.needs_reset = [True] * num
    self._leaves = [
      np.zeros((num, *spec.shape), spec.dtype)
      for spec in tree.flatten(self.observation_spec)
    ]
    self._is_nested = tree.is_nested(self.observation_spec)
    self._timestep = BatchTimeStep(
      tree.unflatten_as(self.observation_spec, self._leaves),
      **{name: np.zeros(num, dtype) for name, dtype in DTYPES.items()},
    )
    self._game_continues = [False] * num
    self._returns = [0.0] * num
    self._steps = [0] * num
    self._restarts = [0] * num

  def write_to(self, timestep: BatchTimeStep) -> None:
    """Write all following timesteps into other arrays."""
    self._timestep = timestep
    self._leaves = tree.flatten(timestep.observation)

  def reset(self, indices: Sequence[int] | None = None) -> BatchTimeStep:
    """Reset environments, by default all, also in the middle of an episode."""
    self._timestep.clear_ends()
    for index in range(len(self.levels)) if indices is None else indices:
      self._reset_one(index)
    return self._timestep

  def step(self, actions: np.ndarray) -> BatchTimeStep:
    """Take one agent step in each environment; `actions` must be `[N]`."""
    actions = check_actions(actions, self.action_spec, len(self.levels))
    self._timestep.clear_ends()
    for index, action in enumerate(actions):
      if self.needs_reset[index]:
        self._reset_one(index)
      else:
        self._step_one(index, action)
    return self._timestep

  def close(self) -> None:
    """Close every environment, also when closing one of them fails."""
    with contextlib.ExitStack() as stack:
      for environment in self._environments:
        stack.callback(environment.close)

  def _reset_one(self, index: int) -> None:
    timestep = self._environments[index].reset()
    self._write_observation(index, timestep.observation)
    self._timestep.reward[index] = 0.0
    self._timestep.discount[index] = 0.0
    self._timestep.start_of_episode[index] = True
    self.needs_reset[index] = False
    self._count_restarts(index)
    if not self._game_continues[index]:
      self._returns[index] = 0.0
      self._steps[index] = 0
    self._game_continues[index] = False

  def _count_restarts(self, index: int) -> None:
    restarts = getattr(self._environments[index], 'num_restarts', 0)
    # Added, as the parent counts the restarts of this process there too.
    added = restarts - self._restarts[index]
    self._timestep.environment_restarts[index] += added
    self._restarts[index] = restarts

  def _step_one(self, index: int, action: np.integer) -> None:
    environment = self._environments[index]
    timestep = environment.step(action)
    self._write_observation(index, timestep.observation)
    self._timestep.reward[index] = timestep.reward
    self._timestep.discount[index] = timestep.discount
    self._timestep.start_of_episode[index] = False
    self._returns[index] += timestep.reward
    self._steps[index] += 1
    if not timestep.last():
      return
    self.needs_reset[index] = True
    self._game_continues[index] = not getattr(environment, 'game_over', True)
    has_crashed = getattr(environment, 'has_crashed', False)
    if not self._game_continues[index] and not has_crashed:
      self._timestep.episode_return[index] = self._returns[index]
      self._timestep.episode_steps[index] = self._steps[index]

  def _write_observation(self, index: int, observation: Any) -> None:
    if not self._is_nested:
      self._leaves[0][index] = observation
      return
    parts = tree.flatten_up_to(self.observation_spec, observation)
    for leaf, part in zip(self._leaves, parts, strict=True):
      leaf[index] = part


def check_actions(
  actions: np.ndarray, spec: specs.DiscreteArray, num: int
) -> np.ndarray:
  """Return actions in the type of their spec; ValueError if not `num`."""
  actions = np.asarray(actions, spec.dtype)
  if actions.shape != (num,):
    raise ValueError(f'actions must have shape ({num},), got {actions.shape}')
  return actions


def _check_specs(environments: Sequence[dm_env.Environment]) -> None:
  if not environments:
    raise ValueError('environments must hold at least one, got none')
  first = environments[0]
  if not isinstance(first.action_spec(), specs.DiscreteArray):
    raise ValueError(
      f'action_spec must be a DiscreteArray, got {first.action_spec()}'
    )
  if first.reward_spec().shape:
    raise ValueError(f'reward must be a scalar, got {first.reward_spec()}')
  for index, other in enumerate(environments):
    for name in ('observation_spec', 'action_spec', 'reward_spec'):
      wanted, found = getattr(first, name)(), getattr(other, name)()
      if wanted != found:
        raise ValueError(
          f'{name} must be equal in every environment, got {found} in '
          f'environment {index} and {wanted} in environment 0'
        )
