"""Episodes of an evaluation, played with fixed variables."""

import contextlib
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import acme
import dm_env
import numpy as np
import tensorflow as tf
import tree
from absl import logging
from acme.tf import variable_utils

import environments
from agents.impala import metrics, networks, policies
from programs.evaluation import schedule, videos
from programs.nodes import clients, models
from programs.runs import run_config

# Separates the seeds of evaluation from those of actors.
_SEED_STREAM = 1_000_003

_NUM_TRIES = 5  # Crashes of a simulator in a row before giving up.


class EvaluationActor(acme.Actor):
  """Actor of one environment, which inserts nothing into the queue.

  `rng` samples actions, so that episodes are reproducible; None takes the most
  likely ones.
  """

  def __init__(
    self,
    network: networks.ImpalaNetwork,
    policy: policies.Policy,
    rng: np.random.Generator | None,
  ) -> None:
    self._network = network
    self._policy = policy
    self._rng = rng

  def observe_first(self, timestep: dm_env.TimeStep) -> None:
    """Start an episode."""
    self._core_state = self._network.initial_state(1)
    self._last_action, self._last_reward = np.zeros((), np.int32), 0.0
    self._start = timestep.first()

  def select_action(self, observation: Any) -> np.ndarray:
    """Return an action, `[]` int32, for an unbatched observation."""
    inputs = networks.NetworkInput(
      # An instruction is a Python string, which NumPy would cut to a width.
      observation=tree.map_structure(
        lambda part: np.array(
          [part], object if isinstance(part, str) else None
        ),
        observation,
      ),
      last_action=np.array([self._last_action], np.int32),
      last_reward=np.array([self._last_reward], np.float32),
      start_of_episode=np.array([self._start]),
    )
    step = self._policy(inputs, self._core_state)
    self._core_state = step.core_state
    logits = step.logits.numpy()[0]
    if self._rng:
      # The largest logit under Gumbel noise is a sample of the softmax.
      logits = logits + self._rng.gumbel(size=logits.shape)
    return np.array(np.argmax(logits), np.int32)

  def observe(self, action: np.ndarray, next_timestep: dm_env.TimeStep) -> None:
    """Keep the last action and reward, which the network sees next."""
    self._last_action, self._last_reward = action, next_timestep.reward
    self._start = False

  def update(self, wait: bool = False) -> None:
    """Do nothing: `Player` updates the variables."""


class Player:
  """Player of work units, which fetches variables."""

  def __init__(
    self,
    configuration: run_config.Configuration,
    variable_source: acme.VariableSource,
    stop: threading.Event,
  ) -> None:
    self._configuration = configuration
    self._stop = stop
    self._network, _ = models.make_model(configuration)
    self._policy = policies.Policy(self._network)
    self._counts = metrics.Counts()
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    self._variables = variable_utils.VariableClient(
      variable_source,
      {
        'policy': [*self._network.variables, step],
        'counts': self._counts.variables,
      },
    )

  @property
  def state(self) -> dict[str, Any]:
    """State for a checkpoint, a part of `Learner.state`."""
    return {'network': self._network, 'counts': self._counts}

  def update(self) -> int:
    """Fetch the newest variables; return the frames they learned from."""
    self._variables.update_and_wait()
    return int(self._counts.frames.numpy())

  def play(
    self,
    unit: schedule.WorkUnit,
    evaluation: schedule.EvaluationConfig,
    video_folder: pathlib.Path = pathlib.Path(),
  ) -> Iterator[schedule.Episode]:
    """Play a work unit, with videos in `video_folder`.

    The same variables and seed repeat the episodes.

    Raises:
      clients.Stopped: The program stops.
      RuntimeError: The simulator crashes in each of several tries.
    """
    settings, level = self._configuration.environment_here, unit.level_name
    sequence = np.random.SeedSequence(
      (_SEED_STREAM, *evaluation.seeds, unit.level, unit.first)
    )
    environment_seed, action_seed = sequence.generate_state(2).tolist()
    actor = EvaluationActor(
      self._network,
      self._policy,
      None if evaluation.greedy else np.random.default_rng(action_seed),
    )
    environment = environments.make(
      level, environment_seed, evaluation=True, settings=settings
    )
    repeats = environments.action_repeats(level, settings)
    images_per_second = environments.frames_per_second(level) / repeats
    with contextlib.closing(environment):
      for index in range(unit.first, unit.first + unit.num_episodes):
        path = videos.path(video_folder, level, index + 1)
        camera = (
          videos.Camera(path, images_per_second)
          if index < evaluation.video
          else None
        )
        yield self._play_episode(environment, actor, camera)

  def _play_episode(
    self,
    environment: dm_env.Environment,
    actor: EvaluationActor,
    camera: videos.Camera | None,
  ) -> schedule.Episode:
    for _ in range(_NUM_TRIES):
      episode_return, steps = 0.0, 0
      with camera or contextlib.nullcontext():
        timestep = environment.reset()
        actor.observe_first(timestep)
        while True:
          if camera:
            camera.record(environment)
          if timestep.last():
            break
          if self._stop.is_set():
            raise clients.Stopped
          action = actor.select_action(timestep.observation)
          timestep = environment.step(action)
          actor.observe(action, timestep)
          episode_return += float(timestep.reward)
          steps += 1
      if not getattr(environment, 'has_crashed', False):
        return schedule.Episode(episode_return, steps)
      logging.warning('The simulator crashed: replaying the episode')
    raise RuntimeError(
      f'the simulator crashed in {_NUM_TRIES} episodes in a row'
    )
