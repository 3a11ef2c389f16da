"""Entry points of the processes that evaluate.

TensorFlow is imported when it is needed; see `programs.nodes.entries`.
"""

from typing import Any

import courier
import launchpad as lp
from absl import logging

from agents.impala import timing
from programs import nodes
from programs.evaluation import schedule
from programs.monitoring import graph, monitor
from programs.nodes import clients, profiling
from programs.runs import run_config

_POLL_SECONDS = 1.0


@graph.uses(learner='variables')
def run_evaluator(
  configuration: run_config.Configuration,
  learner: courier.Client,
  monitoring: courier.Client | None = None,
) -> None:
  """Evaluate the learner's variables at each period and at the last frame."""
  stop = lp.stop_event()
  client = clients.NodeClient(learner, stop)
  period = configuration.run.evaluation_period_frames
  total = configuration.agent.total_environment_frames
  name = f'{nodes.EVALUATOR}/0'
  timer = timing.Timer()
  evaluator: Any = None
  is_first = True
  with monitor.reporting(monitoring, name, timer.read):
    try:
      with timer.measure('nothing_to_do'):
        frames = client.call('frames')
        due = min(_next_multiple(frames, period, total), total)
        half_way = (frames + due) / 2
        while not stop.wait(_POLL_SECONDS):
          frames = client.call('frames')
          if evaluator is None and frames >= half_way:
            # Not at the start, when all nodes need the cores, nor when the
            # evaluation is due.
            with timer.measure('starting'):
              from programs.evaluation import evaluator as evaluator_lib

              evaluator = evaluator_lib.Evaluator(
                configuration, client, stop, timer
              )
          if frames < due:
            continue
          with profiling.profiling(configuration, nodes.EVALUATOR, is_first):
            frames = evaluator.evaluate()
          is_first = False
          client.call('evaluated', frames)
          if frames >= total:
            return
          due = min(_next_multiple(frames, period, total), total)
    except clients.Stopped:
      logging.info('Stopped')
    finally:
      if evaluator is not None:
        evaluator.metrics.close()


def _next_multiple(frames: int, period: int, total: int) -> int:
  """Return the next multiple of `period`; `total` if there is no period."""
  return (frames // period + 1) * period if period else total


def make_evaluation_server(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  folder: str,
) -> Any:
  """Schedule an evaluation and write its results."""
  from programs.evaluation import evaluation_server

  return evaluation_server.EvaluationServer(configuration, evaluation, folder)


@graph.uses(server='variables')
def run_evaluation_worker(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  index: int,
  server: courier.Client,
) -> None:
  """Play work units of the evaluation server until the program stops."""
  from programs.evaluation import playing

  stop = lp.stop_event()
  client = clients.NodeClient(server, stop)
  player = playing.Player(configuration, client, stop)
  played_frames = None
  try:
    while True:
      answer: Any = client.call('next_unit', index)
      if answer is None:
        stop.wait(_POLL_SECONDS)
        continue
      frames, unit = answer[0], schedule.WorkUnit(*answer[1])
      if frames != played_frames:
        played_frames = player.update()
      folder = evaluation.folder(configuration, frames)
      episodes = player.play(unit, evaluation, folder / 'videos')
      for number, episode in enumerate(episodes):
        client.call('add_episode', index, frames, unit, number, episode)
  except clients.Stopped:
    logging.info('Stopped')
