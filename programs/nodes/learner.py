"""The learner node of a training run."""

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import courier
import launchpad as lp
import numpy as np
import reverb
from absl import logging

from agents.impala import data, learning, metrics, timing
from agents.impala import unrolls as unrolls_lib
from programs import nodes
from programs.monitoring import monitor
from programs.nodes import models, profiling
from programs.runs import checkpoints, metric_files, run_config

# Metrics of the last record that the monitor gets.
_REPORTED = ('frames', 'policy_lag_min', 'policy_lag_mean', 'policy_lag_max')


class LearnerNode:
  """The learner and its checkpoints; ends the program when it is done.

  Public methods are served by Courier.
  """

  def __init__(
    self,
    configuration: run_config.Configuration,
    queue: reverb.Client,
    monitoring: courier.Client | None = None,
  ) -> None:
    """Build the learner and restore the newest checkpoint, if any."""
    config, directory = configuration.agent, configuration.directory
    self._stop = lp.stop_event()
    self._configuration = configuration
    self._queue = queue
    self._monitoring = monitoring
    self._timer = timing.Timer()
    self._final_evaluation = threading.Event()
    network, signature = models.make_model(configuration)
    metric_files.write_hyperparameters(configuration)
    self._level_metrics = metric_files.LevelMetrics(configuration)
    self._metrics = metrics.LearnerMetrics(
      metric_files.make_logger(directory, 'learner'),
      configuration.run.log_period_seconds,
      self._queue_size,
      self._level_metrics.add,
      self._timer,
    )
    self._learner = learning.Learner(
      config,
      network,
      data.UnrollReader(
        data.make_dataset(queue.server_address, signature, config),
        self._stop,
      ),
      configuration.num_action_repeats,
      self._metrics,
      self._timer,
    )
    self._checkpoints = checkpoints.Checkpoints(
      directory.checkpoints, self._learner.state
    )
    path = self._checkpoints.restore()
    if path:
      self._learner.serve()
      logging.info('Resumed at frame %d from %s', self._learner.frames, path)

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    return self._learner.get_variables(names)

  def frames(self) -> int:
    """Return the frames learned so far."""
    return self._learner.frames

  def evaluated(self, frames: int) -> None:
    """Record that the variables at `frames` were evaluated."""
    if frames >= self._configuration.agent.total_environment_frames:
      self._final_evaluation.set()

  def step(self) -> None:
    """Take one learner step, for tests that step by hand."""
    self._learner.step()

  def run(self) -> None:
    """Learn to the last frame, wait for its evaluation, end the program."""
    with monitor.reporting(
      self._monitoring, f'{nodes.LEARNER}/0', self._report
    ):
      with self._timer.measure('learning'):
        try:
          with profiling.profiling(self._configuration, nodes.LEARNER):
            self._learn()
          self._save()
        finally:  # Records of a learner that diverged say how.
          self._learner.close()
          self._level_metrics.close()
      with self._timer.measure('nothing_to_do'):
        while not self._final_evaluation.wait(0.1):
          if self._stop.is_set():
            return
    self._configuration.directory.update_meta(
      finished_frames=self._learner.frames
    )
    lp.stop()

  def _report(self) -> dict[str, Any]:
    record = self._metrics.record
    gauges = {name: float(record[name]) for name in _REPORTED if name in record}
    return {**self._timer.read(), 'gauges': gauges}

  def _save(self) -> None:
    with self._timer.measure('saving_checkpoint'):
      self._checkpoints.save()

  def _queue_size(self) -> float:
    """Return the unrolls in the queue; NaN if it does not answer."""
    try:
      tables = self._queue.server_info(timeout=1)
    except (RuntimeError, reverb.errors.ReverbError):
      return math.nan
    return tables[unrolls_lib.QUEUE].current_size

  def _learn(self) -> None:
    period = self._configuration.run.checkpoint_period_seconds
    total = self._configuration.agent.total_environment_frames
    saved = time.monotonic()
    while self._learner.frames < total:
      try:
        self._learner.step()
      except StopIteration:
        logging.info('Stopped at frame %d', self._learner.frames)
        return
      if time.monotonic() - saved >= period:
        self._save()
        saved = time.monotonic()
