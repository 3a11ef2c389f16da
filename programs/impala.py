"""The program: which nodes there are and who talks to whom.

actor x N --unrolls--> queue --batches--> learner
    ^                                      |  |
    +-------------- variables -------------+  +--> evaluator
"""

import functools
import os

import launchpad as lp
from launchpad.nodes.python import local_multi_processing

from programs import evaluator, nodes, runs

QUEUE, LEARNER, ACTOR, EVALUATOR = 'queue', 'learner', 'actor', 'evaluator'

# After so long without an answer a caller of the learner looks whether the
# program stops, and asks again.
_CALL_TIMEOUT_SECONDS = 10


def make_program(configuration: runs.Configuration) -> lp.Program:
  """Wires the run's nodes.

  Args:
    configuration: Of the run; its directory is where nodes write.

  Returns:
    A plain Launchpad program, for `lp.launch` of any type.
  """
  program = lp.Program('impala')
  with program.group(QUEUE):
    queue = program.add_node(
      lp.ReverbNode(functools.partial(nodes.make_tables, configuration))
    )
  with program.group(LEARNER):
    learner = program.add_node(
      lp.CourierNode(nodes.LearnerNode, configuration, queue)
    )
  learner.set_client_kwargs(call_timeout=_CALL_TIMEOUT_SECONDS)
  with program.group(ACTOR):
    for index in range(configuration.run.num_actors):
      program.add_node(
        lp.PyNode(nodes.run_actor, configuration, index, learner, queue)
      )
  with program.group(EVALUATOR):
    program.add_node(lp.PyNode(evaluator.run_evaluator, configuration, learner))
  return program


def make_resources(
  configuration: runs.Configuration,
) -> dict[str, local_multi_processing.PythonProcess]:
  """What each group's processes get: threads, and whether they see a GPU.

  Args:
    configuration: Of the run.

  Returns:
    Group -> launch configuration, for `lp.launch(local_resources=...)`.
  """
  cores = len(os.sched_getaffinity(0))
  learner_threads = configuration.run.learner_threads or max(
    1, cores - configuration.run.num_actors
  )
  # Calls between nodes come on ever other threads: with an arena for each of
  # them malloc keeps pieces of past messages, and memory creeps.
  common = {'MALLOC_ARENA_MAX': '1', 'TF_NUM_INTEROP_THREADS': '1'}
  single = {
    **common,
    'CUDA_VISIBLE_DEVICES': '',
    'TF_NUM_INTRAOP_THREADS': '1',
  }
  return {
    QUEUE: local_multi_processing.PythonProcess(env=single),
    LEARNER: local_multi_processing.PythonProcess(
      env={**common, 'TF_NUM_INTRAOP_THREADS': str(learner_threads)}
    ),
    ACTOR: local_multi_processing.PythonProcess(env=single),
    EVALUATOR: local_multi_processing.PythonProcess(env=single),
  }
