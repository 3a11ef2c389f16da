"""The evaluator node: plays with fresh variables while others learn."""

import math
import threading
import time

import courier
import launchpad as lp
import tensorflow as tf
from absl import logging
from acme.tf import variable_utils

from programs import evaluation, metric_files, nodes, runs

_POLL_SECONDS = 1.0  # How often it asks how far learning is.


def run_evaluator(
  configuration: runs.Configuration, learner: courier.Client
) -> None:
  """Evaluates fresh variables every so many frames, and the last ones.

  Args:
    configuration: Of the run.
    learner: Serves variables.
  """
  stop = lp.stop_event()
  client = nodes.LearnerClient(learner, stop)
  period = configuration.run.evaluation_period_frames
  total = configuration.agent.total_environment_frames
  evaluate = _Evaluator(configuration, client, stop)
  due = None
  try:
    while not stop.wait(_POLL_SECONDS):
      frames = int(client.get_variables(['frames'])[0][0])
      if due is None:
        due = _next_multiple(frames, period, total)
      if frames < min(due, total):
        continue
      frames = evaluate()
      if frames >= total:
        return
      due = _next_multiple(frames, period, total)
  except evaluation.Stopped:
    logging.info('Stopped')


def _next_multiple(frames: int, period: int, total: int) -> int:
  """The next multiple of `period` above `frames`; `total` without a period."""
  return (frames // period + 1) * period if period else total


class _Evaluator:
  """Fetches variables, plays, writes results, tells the learner."""

  def __init__(
    self,
    configuration: runs.Configuration,
    client: nodes.LearnerClient,
    stop: threading.Event,
  ) -> None:
    self._configuration = configuration
    self._client = client
    self._stop = stop
    self._network, _ = nodes.make_model(configuration)
    self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
    self._frames = tf.Variable(0, dtype=tf.int64, trainable=False)
    self._variables = variable_utils.VariableClient(
      client,
      {
        'policy': [*self._network.variables, self._step],
        'frames': [self._frames],
      },
    )
    self._logger = metric_files.make_logger(
      configuration.directory, 'evaluator'
    )

  def __call__(self) -> int:
    """Evaluates the newest variables; returns the frames they learned from."""
    self._variables.update_and_wait()
    frames, config = int(self._frames.numpy()), self._configuration
    results = evaluation.play(
      config,
      config.run.level_name,
      self._network,
      num_episodes=config.run.test_num_episodes,
      seed=config.agent.seed,
      greedy=False,
      stop=self._stop,
    )
    evaluation.write_results(
      config.directory.evaluations / str(frames),
      results,
      trained_frames=frames,
      seed=config.agent.seed,
      greedy=False,
    )
    row = evaluation.summarise(results)
    if row['standard_error'] is None:
      row['standard_error'] = math.nan
    self._logger.write({'time': time.time(), 'frames': frames, **row})
    self._client.evaluated(frames)
    return frames
