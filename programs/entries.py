"""What the processes of the nodes run: each imports its own there.

Who wires, draws or launches the program, and nodes of other roles, need none of
it: TensorFlow alone is 1.5 s of a core and 250 MB of memory for a process. So
here imports stand in functions, and nothing else does.
"""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import courier

from programs import examinations, runs
from programs.inspection import graph


@contextlib.contextmanager
def _importing() -> Iterator[None]:
  """Looks for no garbage meanwhile, a fifth of the time that imports take.

  What is there at the end stays, and is never looked through again.
  """
  gc.disable()
  try:
    yield
  finally:
    gc.freeze()
    gc.enable()


@graph.uses(monitoring='call')
def make_queue(
  configuration: runs.Configuration, monitoring: courier.Client | None = None
) -> Any:
  """Keeps unrolls until the learner takes them; see `queue_server`."""
  with _importing():
    from programs import queue_server

  return queue_server.QueueServer(configuration, monitoring)


@graph.uses(queue='sample', monitoring='call')
def make_learner(
  configuration: runs.Configuration,
  queue: Any,
  monitoring: courier.Client | None = None,
) -> Any:
  """Learns, serves variables, writes checkpoints; see `learner`."""
  with _importing():
    from programs import learner

  return learner.LearnerNode(configuration, queue, monitoring)


@graph.uses(learner='variables', monitoring='call')
def make_inference(
  configuration: runs.Configuration,
  learner: courier.Client,
  monitoring: courier.Client | None = None,
) -> Any:
  """Chooses actions for the actors; see `inference`."""
  with _importing():
    from programs import inference

  return inference.InferenceNode(configuration, learner, monitoring)


@graph.uses(
  learner='variables', queue='insert', monitoring='call', inference='call'
)
def run_actor(
  configuration: runs.Configuration,
  index: int,
  learner: courier.Client | None,
  queue: Any,
  monitoring: courier.Client | None = None,
  inference: courier.Client | None = None,
) -> None:
  """Acts until the program stops; see `actor`."""
  with _importing():
    from programs import actor

  actor.run_actor(configuration, index, learner, queue, monitoring, inference)


def make_examiner(
  configuration: runs.Configuration,
  examination: examinations.Examination,
  folder: str,
) -> Any:
  """Deals out turns, writes results; see `examiner`."""
  with _importing():
    from programs import examiner

  return examiner.ExaminerNode(configuration, examination, folder)


@graph.uses(examiner='variables')
def run_examined(
  configuration: runs.Configuration,
  examination: examinations.Examination,
  index: int,
  examiner: courier.Client,
) -> None:
  """Plays turns until the program stops; see `examiner`."""
  with _importing():
    from programs import examiner as examiner_lib

  examiner_lib.run_evaluator(configuration, examination, index, examiner)
