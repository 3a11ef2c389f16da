"""What the processes of an evaluation run; see `programs.nodes.entries`."""

from typing import Any

import courier

from programs.evaluation import schedule
from programs.monitoring import graph
from programs.runs import run_config


def make_evaluation_server(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  folder: str,
) -> Any:
  """Hands out work units, writes results; see `evaluation_server`."""
  from programs.evaluation import evaluation_server

  return evaluation_server.EvaluationServer(configuration, evaluation, folder)


@graph.uses(server='variables')
def run_evaluation_worker(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  index: int,
  server: courier.Client,
) -> None:
  """Plays work units until the program stops; see `evaluation_server`."""
  from programs.evaluation import evaluation_server

  evaluation_server.run_evaluator(configuration, evaluation, index, server)
