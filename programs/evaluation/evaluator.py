"""Evaluation while training: results, metrics and the best checkpoint."""

import contextlib
import math
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from agents.impala import timing
from programs.evaluation import playing, results, schedule
from programs.nodes import clients
from programs.runs import checkpoints, metric_files, run_config, run_directory


class Evaluator:
  """Evaluator of a learner's variables."""

  def __init__(
    self,
    configuration: run_config.Configuration,
    client: clients.NodeClient,
    stop: threading.Event,
    timer: timing.Timer,
  ) -> None:
    """Restore the best score of earlier starts of the run."""
    self._configuration = configuration
    self._timer = timer
    self._player = playing.Player(configuration, client, stop)
    self._best = BestCheckpoint(
      configuration.directory.best_checkpoint, self._player.state
    )
    self.metrics = metric_files.EvaluationMetrics(configuration.directory)

  def evaluate(self) -> int:
    """Evaluate the newest variables; return their frames."""
    config = self._configuration
    evaluation = schedule.EvaluationConfig.of_run(config)
    with self._timer.measure('fetching_variables'):
      frames = self._player.update()
    with self._timer.measure('playing'):
      played = {
        unit: [*self._player.play(unit, evaluation)]
        for unit in evaluation.work_units()
      }
      levels = results.write_episodes(config, evaluation, frames, played)
      summary = results.summarise(levels)
      self._best.offer(frames, summary, num_levels=len(levels))
      self.metrics.add(frames, [level.summary() for level in levels], summary)
    self._timer.count(
      evaluations=1, episodes=sum(len(level.returns) for level in levels)
    )
    return frames


class BestCheckpoint:
  """Checkpoint with the best score of all evaluations of a run."""

  def __init__(self, folder: pathlib.Path, state: Mapping[str, Any]) -> None:
    self._file = folder / 'best.json'  # For people.
    self._score = tf.Variable(-math.inf, trainable=False)
    with contextlib.suppress(ValueError):  # Damaged: start anew.
      checkpoints.Checkpoints(folder, {'score': self._score}).restore()
    self._checkpoints = checkpoints.Checkpoints(
      folder, {**state, 'score': self._score}, keep=1
    )

  def offer(
    self, frames: int, summary: Mapping[str, Any], num_levels: int
  ) -> None:
    """Save the current variables if none scored better.

    The score of several levels is their capped mean human-normalised score if
    there is one, so that no level outweighs the others; else the mean return.
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
