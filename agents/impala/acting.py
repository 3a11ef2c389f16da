"""Actors: many environments stepped with one forward pass."""

import threading
from typing import Any, Protocol

import acme
import numpy as np
import tree

from agents.impala import data, policies, stacks, timing
from agents.impala import unrolls as unrolls_lib

# A `BatchTimeStep` of `environments.batch`, where its fields are described:
# agents import no environments.
BatchTimeStep = Any


class EnvironmentBatch(Protocol):
  """N environments that restart by themselves."""

  def reset(self) -> BatchTimeStep:
    """Start an episode in each."""

  def step(self, actions: np.ndarray) -> BatchTimeStep:
    """Apply `[N]` actions; restart those whose episode has ended."""


class Actor(acme.Actor):
  """Acme actor over a batch of environments.

  Every T steps the unrolls go to the queue and the newest variables are
  fetched, so that one set of variables acts an unroll. Where a server chooses
  the actions, its variables may change within an unroll, whose learner step is
  that of its first row. `levels` are `[N]` int32, the index
  of the level that each environment plays.
  """

  def __init__(
    self,
    policy: policies.ActingPolicy,
    signature: unrolls_lib.Unroll,
    levels: np.ndarray,
    writer: data.UnrollWriter,
    timer: timing.Timer,
  ) -> None:
    self._timer = timer
    self._policy = policy
    self._core_state = policy.initial_state(len(levels))
    self._writer = writer
    self._length = signature.action.shape[0]
    self._unrolls = unrolls_lib.empty_unrolls(len(levels), signature)
    self._unrolls.level[:] = levels
    self._restarts_sent = np.zeros(len(levels), np.int32)
    self._row = 0
    self.update(wait=True)

  def observe_first(self, timestep: BatchTimeStep) -> None:
    """Take the first observations; the first unroll starts here."""
    self._enter_row(
      timestep, np.zeros(len(timestep.reward), np.int32), timestep.reward
    )
    self._enter_unroll()

  def select_action(self, observation: Any) -> np.ndarray:
    """Choose `[N]` int32 actions for the observation of the last timestep."""
    inputs = tree.map_structure(
      lambda column: column[:, self._row],
      self._unrolls.inputs._replace(observation=()),
    )._replace(observation=observation)
    step = self._policy(inputs, self._core_state)
    if self._row == 0:
      self._unrolls.learner_step[:] = self._policy.learner_step
    self._core_state = step.core_state
    self._unrolls.behaviour_logits[:, self._row] = step.logits
    return np.asarray(step.action)

  def observe(self, action: np.ndarray, next_timestep: BatchTimeStep) -> None:
    """Store the outcome of `[N]` actions; send unrolls that are complete."""
    row = self._row
    self._unrolls.action[:, row] = action
    self._unrolls.reward[:, row] = next_timestep.reward
    self._unrolls.discount[:, row] = next_timestep.discount
    self._row += 1
    self._enter_row(
      next_timestep,
      np.where(next_timestep.start_of_episode, 0, action),
      next_timestep.reward,
    )
    if self._row == self._length:
      self._finish_unroll(next_timestep)

  def update(self, wait: bool = False) -> None:
    """Fetch the newest variables, unless a server has them."""
    self._policy.update(wait)

  def _enter_row(
    self,
    timestep: BatchTimeStep,
    last_action: np.ndarray,
    last_reward: np.ndarray,
  ) -> None:
    row, inputs = self._row, self._unrolls.inputs

    def store(column: np.ndarray, observation: np.ndarray) -> None:
      stacks.write(column, row, self._length + 1, observation)

    tree.map_structure(store, inputs.observation, timestep.observation)
    inputs.last_action[:, row] = last_action
    inputs.last_reward[:, row] = last_reward
    inputs.start_of_episode[:, row] = timestep.start_of_episode
    if row < self._length:
      self._unrolls.episode_return[:, row] = timestep.episode_return
      self._unrolls.episode_steps[:, row] = timestep.episode_steps

  def _enter_unroll(self) -> None:
    tree.map_structure(np.copyto, self._unrolls.core_state, self._core_state)

  def _finish_unroll(self, timestep: BatchTimeStep) -> None:
    """Send the unrolls; the last row becomes the first of the next ones."""
    inputs = self._unrolls.inputs
    restarts = timestep.environment_restarts
    self._unrolls.environment_restarts[:] = restarts - self._restarts_sent
    self._restarts_sent[:] = restarts
    self._timer.count(
      agent_steps=self._row * len(restarts),
      unrolls=len(restarts),
      environment_restarts=int(self._unrolls.environment_restarts.sum()),
    )
    self._writer.write(
      tree.map_structure(lambda column, i=i: column[i], self._unrolls)
      for i in range(len(inputs.last_reward))
    )
    self.update(wait=True)
    self._row = 0
    self._enter_row(
      timestep, inputs.last_action[:, -1], inputs.last_reward[:, -1]
    )
    self._enter_unroll()


def run_environments(
  actor: Actor,
  environments: EnvironmentBatch,
  stop: threading.Event,
  timer: timing.Timer,
) -> None:
  """Step the environments with the actor until `stop` is set."""
  timestep = environments.reset()
  actor.observe_first(timestep)
  with timer.measure('acting'):
    while not stop.is_set():
      action = actor.select_action(timestep.observation)
      with timer.measure('environment'):
        timestep = environments.step(action)
      actor.observe(action, timestep)
