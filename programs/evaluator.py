"""The evaluator node: plays with fresh variables while others learn."""

import contextlib
import math
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import courier
import launchpad as lp
import tensorflow as tf
from absl import logging

from agents.impala import meter as meter_lib
from programs import (
  checkpoints,
  evaluation,
  examinations,
  metric_files,
  nodes,
  profiling,
  results,
  runs,
)
from programs.inspection import graph, milestones, monitor

_POLL_SECONDS = 1.0  # How often it asks how far learning is.


@graph.uses(learner='variables', monitoring='call')
def run_evaluator(
  configuration: runs.Configuration,
  learner: courier.Client,
  monitoring: courier.Client | None = None,
) -> None:
  """Evaluates fresh variables every so many frames, and the last ones.

  Args:
    configuration: Of the run.
    learner: Serves variables.
    monitoring: The monitor, if there is one.
  """
  stop = lp.stop_event()
  client = nodes.NodeClient(learner, stop)
  period = configuration.run.evaluation_period_frames
  total = configuration.agent.total_environment_frames
  notes = milestones.Notes(configuration.directory.path, f'{nodes.EVALUATOR}/0')
  notes.begin()
  meter, due = meter_lib.Meter(notes.reach), None
  with monitor.reporting(monitoring, f'{nodes.EVALUATOR}/0', meter.read):
    evaluator = _Evaluator(configuration, client, stop, meter)
    notes.reach('network_made')
    try:
      with meter.measure('nothing_to_do'):
        while not stop.wait(_POLL_SECONDS):
          frames = evaluator.player.newest_frames()
          if due is None:
            due = _next_multiple(frames, period, total)
          if frames < min(due, total):
            continue
          with profiling.profiling(
            configuration, nodes.EVALUATOR, is_first=not evaluator.has_played
          ):
            frames = evaluator.evaluate()
          client.call('evaluated', frames)
          if frames >= total:
            return
          due = _next_multiple(frames, period, total)
    except nodes.Stopped:
      logging.info('Stopped')
    finally:
      evaluator.metrics.close()


def _next_multiple(frames: int, period: int, total: int) -> int:
  """The next multiple of `period` above `frames`; `total` without a period."""
  return (frames // period + 1) * period if period else total


class _Evaluator:
  """Plays, writes results, keeps the best variables."""

  def __init__(
    self,
    configuration: runs.Configuration,
    client: nodes.NodeClient,
    stop: threading.Event,
    meter: meter_lib.Meter,
  ) -> None:
    self._configuration = configuration
    self._meter = meter
    self.has_played = False
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
    self.has_played = True
    return frames

  def _evaluate(self, frames: int) -> None:
    config = self._configuration
    examination = examinations.Examination(
      level_name=config.run.level_name,
      test_num_episodes=config.run.test_num_episodes,
      seed=config.agent.seed,
    )
    turns = evaluation.deal(
      examination.level_name, examination.test_num_episodes
    )
    levels = evaluation.collect(
      config,
      {turn: [*self.player.play(turn, examination.seeds)] for turn in turns},
    )
    results.write_results(
      examination.folder(config, frames),
      levels,
      trained_frames=frames,
      seed=examination.seed,
      greedy=examination.greedy,
    )
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
