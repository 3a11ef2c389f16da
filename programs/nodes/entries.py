"""What the processes of the nodes run: each imports its own there.

Who wires, draws or launches the program, and nodes of other roles, need none of
it: TensorFlow alone is 1.5 s of a core and 250 MB of memory for a process. So
here imports stand in functions, and nothing else does.
"""

from typing import Any

import courier

from programs.monitoring import graph
from programs.runs import run_config


def make_queue(
  configuration: run_config.Configuration,
  monitoring: courier.Client | None = None,
) -> Any:
  """Keeps unrolls until the learner takes them; see `queue_server`."""
  from programs.nodes import queue

  return queue.QueueServer(configuration, monitoring)


@graph.uses(queue='sample')
def make_learner(
  configuration: run_config.Configuration,
  queue: Any,
  monitoring: courier.Client | None = None,
) -> Any:
  """Learns, serves variables, writes checkpoints; see `learner`."""
  from programs.nodes import learner

  return learner.LearnerNode(configuration, queue, monitoring)


@graph.uses(learner='variables')
def make_inference(
  configuration: run_config.Configuration,
  learner: courier.Client,
  monitoring: courier.Client | None = None,
) -> Any:
  """Chooses actions for the actors; see `inference`."""
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
  """Acts until the program stops; see `actor`."""
  from programs.nodes import actor

  actor.run_actor(configuration, index, learner, queue, monitoring, inference)
