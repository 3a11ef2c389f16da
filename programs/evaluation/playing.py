"""Evaluation: whole episodes with fixed variables."""

import contextlib
import math
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import acme
import dm_env
import numpy as np
import tensorflow as tf
import tree
from absl import logging
from acme.tf import variable_utils

import environments
from agents.impala import metrics, networks, policies, timing
from programs.evaluation import results, schedule, videos
from programs.nodes import clients, models
from programs.runs import checkpoints, metric_files, run_config, run_directory

# Keeps evaluation's seeds apart from those of the actors.
_SEED_STREAM = 1_000_003

# A simulator that crashes so often in a row is broken.
_NUM_TRIES = 5


def write_results(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  frames: int,
  played: Mapping[schedule.WorkUnit, Sequence[schedule.Episode]],
) -> list[results.LevelResult]:
  """Writes the results of an evaluation; returns them by level."""
  by_level: dict[str, list[schedule.Episode]] = {}
  for unit in sorted(played):
    by_level.setdefault(unit.level_name, []).extend(played[unit])
  levels = [
    results.LevelResult(
      name,
      [episode.episode_return for episode in episodes],
      [episode.steps for episode in episodes],
      sum(episode.steps for episode in episodes)
      * environments.action_repeats(name, configuration.environment),
    )
    for name, episodes in by_level.items()
  ]
  results.write_results(
    evaluation.folder(configuration, frames),
    levels,
    trained_frames=frames,
    seed=evaluation.seed,
    greedy=evaluation.greedy,
  )
  return levels


class EvaluationActor(acme.Actor):
  """Plays one environment, to evaluate; learns nothing.

  Somebody else keeps the variables fresh. `rng` samples actions, so that
  episodes can be repeated; None takes the most likely ones.
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
    """Starts an episode."""
    self._core_state = self._network.initial_state(1)
    self._last_action, self._last_reward = np.zeros((), np.int32), 0.0
    self._start = timestep.first()

  def select_action(self, observation: Any) -> np.ndarray:
    """An action, `[]` int32, for an observation without a batch dimension."""
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
    """Remembers what the network sees of the step before."""
    self._last_action, self._last_reward = action, next_timestep.reward
    self._start = False

  def update(self, wait: bool = False) -> None:
    """Nothing: the variables are somebody else's to update."""


class Player:
  """Fetches variables and plays turns with them."""

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
    """What is played, for a checkpoint: a part of `Learner.state`."""
    return {'network': self._network, 'counts': self._counts}

  def update(self) -> int:
    """Fetches the newest variables; returns the frames they learned from."""
    self._variables.update_and_wait()
    return int(self._counts.frames.numpy())

  def play(
    self,
    unit: schedule.WorkUnit,
    evaluation: schedule.EvaluationConfig,
    video_folder: pathlib.Path = pathlib.Path(),
  ) -> Iterator[schedule.Episode]:
    """Plays a turn; videos go to `video_folder`.

    With the same variables the same seeds repeat the episodes.

    Raises:
      clients.Stopped: The program stops.
      RuntimeError: The simulator crashes again and again.
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
    pictures_per_second = environments.frames_per_second(level) / repeats
    with contextlib.closing(environment):
      for index in range(unit.first, unit.first + unit.num_episodes):
        path = videos.path(video_folder, level, index + 1)
        camera = (
          videos.Camera(path, pictures_per_second)
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
            camera.film(environment)
          if timestep.last():
            break
          if self._stop.is_set():  # An episode may last half an hour.
            raise clients.Stopped
          action = actor.select_action(timestep.observation)
          timestep = environment.step(action)
          actor.observe(action, timestep)
          episode_return += float(timestep.reward)
          steps += 1
      if not getattr(environment, 'has_crashed', False):
        return schedule.Episode(episode_return, steps)
      logging.warning('The simulator crashed; its episode is played again')
    raise RuntimeError(
      f'the simulator crashed in {_NUM_TRIES} episodes in a row'
    )


class Evaluator:
  """Plays, writes results, keeps the best variables."""

  def __init__(
    self,
    configuration: run_config.Configuration,
    client: clients.NodeClient,
    stop: threading.Event,
    timer: timing.Timer,
  ) -> None:
    """Takes what scored best in earlier starts for the best."""
    self._configuration = configuration
    self._timer = timer
    self._player = Player(configuration, client, stop)
    self._best = _BestCheckpoint(
      configuration.directory.best_checkpoint, self._player.state
    )
    self.metrics = metric_files.EvaluationMetrics(configuration.directory)

  def evaluate(self) -> int:
    """Evaluates the newest variables; returns the frames they learned from."""
    config = self._configuration
    evaluation = schedule.EvaluationConfig.of_run(config)
    with self._timer.measure('fetching_variables'):
      frames = self._player.update()
    with self._timer.measure('playing'):
      played = {
        unit: [*self._player.play(unit, evaluation)]
        for unit in evaluation.work_units()
      }
      levels = write_results(config, evaluation, frames, played)
      summary = results.summarise(levels)
      self._best.offer(frames, summary, num_levels=len(levels))
      self.metrics.add(frames, [level.summary() for level in levels], summary)
    self._timer.count(
      evaluations=1, episodes=sum(len(level.returns) for level in levels)
    )
    return frames


class _BestCheckpoint:
  """What scored best of all evaluations, those of earlier starts too."""

  def __init__(self, folder: pathlib.Path, state: Mapping[str, Any]) -> None:
    self._file = folder / 'best.json'  # For people.
    self._score = tf.Variable(-math.inf, trainable=False)
    with contextlib.suppress(ValueError):  # Damaged: others may be the best.
      checkpoints.Checkpoints(folder, {'score': self._score}).restore()
    self._checkpoints = checkpoints.Checkpoints(
      folder, {**state, 'score': self._score}, keep=1
    )

  def offer(
    self, frames: int, summary: Mapping[str, Any], num_levels: int
  ) -> None:
    """Keeps the present variables if none were better.

    Levels are compared by their capped mean where they have human scores, so
    that none of them outweighs the others; a single one by its mean return.
    """
    name = 'mean_return'
    if num_levels > 1 and 'cap_100' in summary:
      name = 'cap_100'
    score = summary[name]
    if score < self._score:
      return
    self._score.assign(score)
    self._checkpoints.save(frames)
    run_directory.write_json(
      self._file, {'frames': frames, 'score_name': name, 'score': score}
    )
