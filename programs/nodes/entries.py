"""Entry points of the nodes' processes.

Imports are inside the functions, so that a process imports its own role's code
only, and the launcher none: TensorFlow takes 1.5 s of a core and 250 MB of
memory in a process.
"""

from typing import Any

import courier

from programs.monitoring import graph
from programs.runs import run_config


def make_queue(
  configuration: run_config.Configuration,
  monitoring: courier.Client | None = None,
) -> Any:
  """Keep unrolls until the learner takes them."""
  from programs.nodes import queue

  return queue.QueueServer(configuration, monitoring)


@graph.uses(queue='sample')
def make_learner(
  configuration: run_config.Configuration,
  queue: Any,
  monitoring: courier.Client | None = None,
) -> Any:
  """Learn, serve variables, write checkpoints."""
  from programs.nodes import learner

  return learner.LearnerNode(configuration, queue, monitoring)


@graph.uses(learner='variables')
def make_inference(
  configuration: run_config.Configuration,
  learner: courier.Client,
  monitoring: courier.Client | None = None,
) -> Any:
  """Choose actions for the actors."""
  from programs.nodes import inference

  return inference.InferenceNode(configuration, learner, monitoring)


@graph.uses(learner='variables', queue='insert')
def run_actor(
  configuration: run_config.Configuration,
  index: int,
  learner: courier.Client | None,
  queue: Any,
  monitoring: courier.Client | None = None,
  inference: courier.Client | None = None,
) -> None:
  """Act until the program stops."""
  from programs.nodes import actor

  actor.run_actor(configuration, index, learner, queue, monitoring, inference)
