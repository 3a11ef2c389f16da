"""What the evaluator node does: plays, writes results, keeps the best."""

import contextlib
import math
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from agents.impala import meter as meter_lib
from programs import (
  checkpoints,
  evaluation,
  examinations,
  metric_files,
  nodes,
  results,
  runs,
)


class Evaluator:
  """Plays, writes results, keeps the best variables."""

  def __init__(
    self,
    configuration: runs.Configuration,
    client: nodes.NodeClient,
    stop: threading.Event,
    meter: meter_lib.Meter,
  ) -> None:
    """Takes what scored best in earlier starts for the best."""
    self._configuration = configuration
    self._meter = meter
    self.player = evaluation.Player(configuration, client, stop)
    self._best = _BestCheckpoint(
      configuration.directory.best_checkpoint, self.player.state
    )
    self.metrics = metric_files.EvaluationMetrics(configuration.directory)

  def evaluate(self) -> int:
    """Evaluates the newest variables; returns the frames they learned from."""
    with self._meter.measure('fetching_variables'):
      frames = self.player.update()
    with self._meter.measure('playing'):
      self._evaluate(frames)
    return frames

  def _evaluate(self, frames: int) -> None:
    config = self._configuration
    examination = examinations.Examination.of_run(config)
    played = {
      turn: [*self.player.play(turn, examination)]
      for turn in examination.turns()
    }
    levels = evaluation.write_results(config, examination, frames, played)
    summary = results.summarise(levels)
    self._best.offer(frames, summary, num_levels=len(levels))
    self.metrics.add(frames, [level.summary() for level in levels], summary)
    self._meter.count(
      evaluations=1, episodes=sum(len(level.returns) for level in levels)
    )


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
    runs.write_json(
      self._file, {'frames': frames, 'score_name': name, 'score': score}
    )
