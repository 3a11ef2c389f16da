"""Runs the program, as threads, with one part slowed down.

launch_slow.py SIDE DIRECTORY: of a run on Catch, SIDE is 'environment'
(steps take long), 'learner' (learner steps do) or 'queue' (actors and learner
are as fast as each other, but actors come in bursts and the queue holds a
single unroll).
"""

import time

import launchpad as lp
from absl import app

import environments
from agents.impala import learning
from programs import program as impala
from programs.monitoring import wiring
from programs.runs import flags
from programs.views import markup

T, N = 5, 32
NUM_STEPS = {'learner': 30, 'queue': 96}
BURST = 24  # Unrolls between an actor's pauses.
STEP_SECONDS = {'environment': 0.02, 'learner': 0.0, 'queue': 0.0}
# Much more than what the work takes on a slow machine.
LEARNER_SECONDS = {'environment': 0.0, 'learner': 0.25, 'queue': 0.2}


def slow_down(side):
  """Makes parts of the program sleep."""
  step = environments.batch.EnvironmentBatch.step
  learn = learning.Learner._learn_from
  taken = 0

  def slow_step(self, actions):
    nonlocal taken
    taken += 1
    time.sleep(STEP_SECONDS[side])
    if side == 'queue' and taken % (BURST * T) == 0:
      time.sleep(BURST * LEARNER_SECONDS[side])
    return step(self, actions)

  def slow_learn(self, batch):
    time.sleep(LEARNER_SECONDS[side])
    learn(self, batch)

  environments.batch.EnvironmentBatch.step = slow_step
  learning.Learner._learn_from = slow_learn


def main(arguments):
  side, directory = arguments[1:]
  slow_down(side)
  configuration = flags.resolve(
    {
      'logdir': directory,
      'total_environment_frames': NUM_STEPS.get(side, 60) * N * T,
      'evaluation_period_frames': 0,
      'test_num_episodes': 1,
      'unroll_length': T,
      'batch_size': N,
      'num_actors': 1,
      'num_envs_per_actor': N,
      'queue_capacity': 1 if side == 'queue' else N,
    }
  )
  configuration.directory.write_config(configuration.to_dict())
  program = impala.make_program(configuration)
  markup.write_files(wiring.make_graph(program), configuration.directory)
  lp.launch(program, 'local_mt').wait()


if __name__ == '__main__':
  app.run(main)
