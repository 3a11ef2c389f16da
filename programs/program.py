"""The program: its nodes, and the edges between them.

actor x N --unrolls--> queue --batches--> learner
    ^                                      |  |
    +-------------- variables -------------+  +--> evaluator

With `--inference=server` actors have no variables and call a node that has:

actor x N --observations--> inference <--variables-- learner
    ^                           |
    +--------- actions ---------+

Every node pushes its statistics to the monitor, which calls no node.

The evaluation of checkpoints is a program of its own:

evaluation_server --variables, work units--> evaluator x N
    ^                                            |
    +------------------ episodes ----------------+
"""

import os

import launchpad as lp
from launchpad.nodes.python import local_multi_processing

from programs import nodes
from programs.evaluation import entries as evaluation_entries
from programs.evaluation import schedule
from programs.monitoring import monitor
from programs.nodes import entries, reverb_node
from programs.runs import run_config

# Calls between nodes arrive on ever new threads: with an arena for each, malloc
# keeps pieces of past messages, and memory grows.
_COMMON = {
  'MALLOC_ARENA_MAX': '1',
  'TF_NUM_INTEROP_THREADS': '1',
  # NumPy's and OpenCV's: the roles share the cores out among them as it is.
  'OMP_NUM_THREADS': '1',
  'OPENBLAS_NUM_THREADS': '1',
  'OPENCV_FOR_THREADS_NUM': '1',
}
# For all but learners.
_SINGLE = {
  **_COMMON,
  'CUDA_VISIBLE_DEVICES': '',
  'TF_NUM_INTRAOP_THREADS': '1',
}

# A caller without an answer checks whether the program stops, and calls again.
_CALL_TIMEOUT_SECONDS = 10


def make_program(configuration: run_config.Configuration) -> lp.Program:
  """Wire a training run: a plain Launchpad program, for any launch type."""
  run = configuration.run
  program = lp.Program('impala')
  monitoring = None
  if run.monitor:
    with program.group(nodes.MONITOR):
      monitoring = program.add_node(
        lp.CourierNode(
          monitor.MonitorNode, run.logdir, run.watchdog, run.watchdog_seconds
        )
      )
    monitoring.set_client_kwargs(call_timeout=monitor.CALL_TIMEOUT_SECONDS)
  with program.group(nodes.QUEUE):
    queue = program.add_node(
      reverb_node.QueueNode(entries.make_queue, configuration, monitoring)
    )
  with program.group(nodes.LEARNER):
    learner = program.add_node(
      lp.CourierNode(entries.make_learner, configuration, queue, monitoring)
    )
  learner.set_client_kwargs(call_timeout=_CALL_TIMEOUT_SECONDS)
  to_learner, to_server = learner, {}
  if run.inference == 'server':
    server = _add_inference(program, configuration, learner, monitoring)
    to_learner, to_server = None, {'inference': server}
  with program.group(nodes.ACTOR):
    for index in range(run.num_actors):
      program.add_node(
        lp.PyNode(
          entries.run_actor,
          configuration,
          index,
          to_learner,
          queue,
          monitoring,
          **to_server,
        )
      )
  with program.group(nodes.EVALUATOR):
    program.add_node(
      lp.PyNode(
        evaluation_entries.run_evaluator, configuration, learner, monitoring
      )
    )
  return program


def _add_inference(
  program: lp.Program,
  configuration: run_config.Configuration,
  learner: lp.CourierHandle,
  monitoring: lp.CourierHandle | None,
) -> lp.CourierHandle:
  run = configuration.run
  with program.group(nodes.INFERENCE):
    server = program.add_node(
      lp.CourierNode(
        entries.make_inference,
        configuration,
        learner,
        monitoring,
        # All may wait for the same batch. (Courier calls it the number of
        # calls at once; Launchpad 0.5.0's was seen to serve more than that.)
        courier_kwargs={'thread_pool_size': run.num_actors},
      )
    )
  server.set_client_kwargs(
    call_timeout=_CALL_TIMEOUT_SECONDS + run.inference_timeout_ms / 1000
  )
  return server


def make_evaluation_program(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  folder: str,
) -> lp.Program:
  """Wire the evaluation of a run's checkpoints.

  The evaluation server writes its progress to `folder`; see `schedule`.
  """
  program = lp.Program('impala_evaluation')
  with program.group(nodes.EVALUATION_SERVER):
    server = program.add_node(
      lp.CourierNode(
        evaluation_entries.make_evaluation_server,
        configuration,
        evaluation,
        folder,
      )
    )
  server.set_client_kwargs(call_timeout=_CALL_TIMEOUT_SECONDS)
  with program.group(nodes.EVALUATOR):
    most = min(len(os.sched_getaffinity(0)), len(evaluation.work_units()))
    for index in range(evaluation.num_evaluators or most):
      program.add_node(
        lp.PyNode(
          evaluation_entries.run_evaluation_worker,
          configuration,
          evaluation,
          index,
          server,
        )
      )
  return program


def make_resources(
  configuration: run_config.Configuration, actors_here: int | None = None
) -> dict[str, local_multi_processing.PythonProcess]:
  """Return each group's environment variables: threads and visible GPUs.

  `actors_here` share the learner's machine; by default, all do.
  """
  run = configuration.run
  if actors_here is None:
    actors_here = run.num_actors
  cores_left = len(os.sched_getaffinity(0)) - actors_here
  threads = run.learner_threads or max(1, cores_left)
  computing = {**_COMMON, 'TF_NUM_INTRAOP_THREADS': str(threads)}
  variables = {
    nodes.QUEUE: _SINGLE,
    nodes.LEARNER: computing,
    nodes.ACTOR: _SINGLE,
    nodes.EVALUATOR: _SINGLE,
  }
  if run.monitor:
    variables[nodes.MONITOR] = _SINGLE
  if run.inference == 'server':
    # Two processes on one GPU: neither may take all of its memory.
    computing['TF_FORCE_GPU_ALLOW_GROWTH'] = 'true'
    variables[nodes.INFERENCE] = computing
  return {
    group: local_multi_processing.PythonProcess(env=each)
    for group, each in variables.items()
  }


# The same for `make_evaluation_program`.
EVALUATION_RESOURCES = {
  group: local_multi_processing.PythonProcess(env=_SINGLE)
  for group in (nodes.EVALUATION_SERVER, nodes.EVALUATOR)
}
