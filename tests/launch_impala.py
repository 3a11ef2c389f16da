"""Launches the program with Launchpad's own launchers, on a small Catch.

launch_impala.py TYPE DIRECTORY [INFERENCE]: `test_mt` steps the learner by hand
and writes what it served to facts.json; other types run to the last frame.
"""

import itertools
import pathlib

import launchpad as lp
import numpy as np
import reverb
from absl import app
from absl.testing import absltest

from agents.impala import metrics, unrolls
from programs import nodes
from programs import program as impala
from programs.runs import flags, run_directory

NUM_STEPS = 3


def make_configuration(directory, inference='local'):
  """Catch with a budget of a few learner steps."""
  return flags.resolve(
    {
      'logdir': str(directory),
      'total_environment_frames': 4000,
      'batch_size': 8,
      'unroll_length': 10,
      'queue_capacity': 8,
      'num_actors': 1,
      'num_envs_per_actor': 8,
      'inference': inference,
      'evaluation_period_frames': 0,
      'test_num_episodes': 3,
    }
  )


def read_frames(values):
  counts = metrics.Counts()
  for variable, value in zip(counts.variables, values, strict=True):
    variable.assign(value)
  return int(counts.frames.numpy())


def step_by_hand(program):
  """Launches under test_mt; returns facts about the learner and the queue."""
  (queue_node,) = program.groups[nodes.QUEUE]
  (learner_node,) = program.groups[nodes.LEARNER]
  learner_node.disable_run()
  handle = learner_node.create_handle()
  test_case = absltest.TestCase()
  lp.launch(program, 'test_mt', test_case=test_case)
  learner = handle.dereference()
  served = [learner.get_variables(['policy', 'counts'])]
  for _ in range(NUM_STEPS):
    learner.step()
    served.append(learner.get_variables(['policy', 'counts']))
  client = reverb.Client(queue_node.reverb_address.resolve())
  table = client.server_info(timeout=10)[unrolls.QUEUE]
  return {
    'frames': [read_frames(counts) for _, counts in served],
    'learner_steps': [int(policy[-1]) for policy, _ in served],
    'is_changed': [
      [not np.array_equal(old, new) for old, new in zip(*pair, strict=True)]
      for pair in itertools.pairwise(policy[:-1] for policy, _ in served)
    ],
    'inserted': table.rate_limiter_info.insert_stats.completed,
    'is_clean': test_case.doCleanups(),
  }


def main(arguments):
  launch_type, directory = arguments[1], pathlib.Path(arguments[2])
  configuration = make_configuration(directory, *arguments[3:])
  program = impala.make_program(configuration)
  if launch_type == 'test_mt':
    run_directory.write_json(directory / 'facts.json', step_by_hand(program))
  elif launch_type == 'local_mt':
    lp.launch(program, launch_type).wait()
  else:
    lp.launch(
      program,
      launch_type,
      local_resources=impala.make_resources(configuration),
      terminal='output_to_files',
    ).wait()


if __name__ == '__main__':
  app.run(main)
