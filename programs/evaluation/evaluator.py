"""The evaluator node: plays with fresh variables while others learn."""

from typing import Any

import courier
import launchpad as lp
from absl import logging

from agents.impala import timing
from programs import nodes
from programs.monitoring import graph, monitor
from programs.nodes import clients, profiling
from programs.runs import run_config

_POLL_SECONDS = 1.0  # How often it asks how far learning is.


@graph.uses(learner='variables')
def run_evaluator(
  configuration: run_config.Configuration,
  learner: courier.Client,
  monitoring: courier.Client | None = None,
) -> None:
  """Evaluates fresh variables every so many frames, and the last ones."""
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
            # Not at first: TensorFlow is 250 MB, and cores that the start of
            # all others needs. Nor when it is due: nobody is to wait for it.
            with timer.measure('starting'):
              from programs.evaluation import playing

              evaluator = playing.Evaluator(configuration, client, stop, timer)
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
  """The next multiple of `period` above `frames`; `total` without a period."""
  return (frames // period + 1) * period if period else total
