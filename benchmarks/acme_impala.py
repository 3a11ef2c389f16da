"""Launchpad program of dm-acme 0.4.0's IMPALA.

Wrappers, adder, actor, environment loop, dataset and learner are Acme's; the
network's modules and the records of progress are ours. It has the flags of
`train`.
"""

import csv
import functools
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import acme
import courier
import dm_env
import launchpad as lp
import numpy as np
import reverb
import sonnet as snt
import tensorflow as tf
from absl import flags as absl_flags
from acme import datasets, specs, wrappers
from acme.adders import reverb as adders
from acme.agents.tf import impala
from acme.tf import utils as tf_utils
from acme.tf import variable_utils
from acme.utils import loggers
from launchpad.nodes.python import local_multi_processing

import environments
from agents.impala import networks
from benchmarks import trial
from environments import suites
from programs import nodes
from programs import program as our_impala
from programs.launching import local, supervisor
from programs.nodes import clients
from programs.runs import flags, run_config

_RECORD_SECONDS = 0.2


class _OldApi:
  """Adapter of gym 0.26 to `reset` and `step` of gym 0.21, as Acme needs."""

  def __init__(self, environment: Any) -> None:
    self._environment = environment

  def reset(self) -> np.ndarray:
    observation, _ = self._environment.reset()
    return observation

  def step(self, action: int) -> tuple[np.ndarray, float, bool, Any]:
    observation, reward, *ends, info = self._environment.step(action)
    return observation, reward, any(ends), info

  def __getattr__(self, name: str) -> Any:
    return getattr(self._environment, name)


class _FeedForward(snt.RNNCore):
  """Our network without a core, as a network of Acme."""

  def __init__(
    self,
    configuration: run_config.Configuration,
    spec: specs.EnvironmentSpec,
  ) -> None:
    super().__init__(name='feed_forward')
    self._network = networks.make_network(
      configuration.agent, spec.observations, spec.actions.num_values
    )

  def initial_state(self, *args: Any, **kwargs: Any) -> tuple[()]:
    return ()

  def __call__(
    self, observation: tf.Tensor, state: tuple[()]
  ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[()]]:
    inputs = networks.NetworkInput(
      observation, last_action=(), last_reward=(), start_of_episode=()
    )
    output, _ = self._network.step(inputs, ())
    return (output.logits, output.values), state


def _make_environment(
  configuration: run_config.Configuration, seed: int
) -> dm_env.Environment:
  """Make an Atari game as Acme's examples do; other levels are ours.

  Images stay bytes, a quarter of the size of floats. The discount is 0 at a
  lost life, as in the paper.
  """
  level = configuration.run.level_name
  settings = configuration.environment
  if not level.startswith(suites.ATARI_PREFIX):
    return wrappers.SinglePrecisionWrapper(environments.make(level, seed))
  import gym  # Prints a banner.

  words = level.removeprefix(suites.ATARI_PREFIX).split('_')
  game = ''.join(word.capitalize() for word in words)
  environment = gym.make(f'{game}NoFrameskip-v4', disable_env_checker=True)
  environment.reset(seed=seed)
  return wrappers.wrap_all(
    _OldApi(environment),
    [
      wrappers.GymAtariAdapter,
      functools.partial(
        wrappers.AtariWrapper,
        action_repeats=settings.num_action_repeats,
        max_episode_len=settings.max_episode_frames,
        zero_discount_on_life_loss=True,
      ),
      wrappers.SinglePrecisionWrapper,
    ],
  )


def _make_model(
  configuration: run_config.Configuration,
) -> tuple[specs.EnvironmentSpec, _FeedForward]:
  environment = _make_environment(configuration, seed=0)
  spec = specs.make_environment_spec(environment)
  environment.close()
  network = _FeedForward(configuration, spec)
  tf_utils.create_variables(network, [spec.observations])
  return spec, network


def _make_tables(
  configuration: run_config.Configuration,
) -> list[reverb.Table]:
  """Return the queue, as `acme.agents.tf.impala.IMPALA` does."""
  spec, _ = _make_model(configuration)
  logits = tf.TensorSpec((spec.actions.num_values,), tf.float32)
  return [
    reverb.Table.queue(
      adders.DEFAULT_PRIORITY_TABLE,
      configuration.agent.queue_capacity,
      signature=adders.SequenceAdder.signature(
        spec,
        extras_spec={'core_state': (), 'logits': logits},
        sequence_length=configuration.agent.unroll_length + 1,
      ),
    )
  ]


class LearnerNode:
  """Acme's learner. Public methods are served by Courier."""

  def __init__(
    self, configuration: run_config.Configuration, queue: reverb.Client
  ) -> None:
    config = configuration.agent
    spec, network = _make_model(configuration)
    self._stop = lp.stop_event()
    self._rows = configuration.directory.metrics / 'learner.csv'
    frames = config.unroll_length * configuration.num_action_repeats
    self._frames_of_step = config.batch_size * frames
    self._learner = impala.IMPALALearner(
      spec,
      network,
      datasets.make_reverb_dataset(
        queue.server_address,
        batch_size=config.batch_size,
        prefetch_size=1,
        num_parallel_calls=1,
      ),
      learning_rate=config.learning_rate,
      discount=config.discounting,
      entropy_cost=config.entropy_cost,
      baseline_cost=config.baseline_cost,
      max_abs_reward=1.0,
      max_gradient_norm=config.max_gradient_norm or None,
      logger=loggers.NoOpLogger(),
    )

  def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
    """Return variables; see `learning.Learner.get_variables`."""
    return self._learner.get_variables(list(names))

  def run(self) -> None:
    """Learn and write metric records until the program stops."""
    self._rows.parent.mkdir(exist_ok=True)
    steps, written = 0, 0.0
    with open(self._rows, 'w', newline='', encoding='utf-8') as file:
      rows = csv.writer(file)
      rows.writerow(('time', 'frames', 'learner_steps'))
      while not self._stop.is_set():
        self._learner.step()
        steps += 1
        if time.monotonic() - written >= _RECORD_SECONDS:
          written = time.monotonic()
          rows.writerow((time.time(), steps * self._frames_of_step, steps))
          file.flush()


def run_actor(
  configuration: run_config.Configuration,
  index: int,
  learner: courier.Client,
  queue: reverb.Client,
) -> None:
  """Run Acme's actor in its loop until it is killed."""
  length = configuration.agent.unroll_length
  _, network = _make_model(configuration)
  client = variable_utils.VariableClient(
    clients.NodeClient(learner, lp.stop_event()),
    {'policy': network.variables},
    update_period=length,  # In the background; as often as ours.
  )
  actor = impala.IMPALAActor(
    network,
    adders.SequenceAdder(queue, sequence_length=length + 1, period=length),
    client,
  )
  seed = configuration.agent.seed * 1000 + index
  environment = _make_environment(configuration, seed)
  client.update_and_wait()
  acme.EnvironmentLoop(environment, actor, logger=loggers.NoOpLogger()).run()


def _make_program(configuration: run_config.Configuration) -> lp.Program:
  program = lp.Program('acme_impala')
  with program.group(nodes.QUEUE):
    queue = program.add_node(
      lp.ReverbNode(functools.partial(_make_tables, configuration))
    )
  with program.group(nodes.LEARNER):
    learner = program.add_node(
      lp.CourierNode(LearnerNode, configuration, queue)
    )
  learner.set_client_kwargs(call_timeout=10)
  with program.group(nodes.ACTOR):
    for index in range(configuration.run.num_actors):
      program.add_node(
        lp.PyNode(run_actor, configuration, index, learner, queue)
      )
  return program


def _make_resources(
  configuration: run_config.Configuration,
) -> dict[str, local_multi_processing.PythonProcess]:
  """Return our resources, with a HOME for the snapshots of Acme's learner."""
  own = {'HOME': configuration.run.logdir}
  return {
    group: local_multi_processing.PythonProcess(env={**resources.env, **own})
    for group, resources in our_impala.make_resources(configuration).items()
    if group in (nodes.QUEUE, nodes.LEARNER, nodes.ACTOR)
  }


def main() -> None:
  """Run the program until it is interrupted."""
  absl_flags.FLAGS([sys.argv[0]])  # Launchpad reads its defaults there.
  configuration = flags.resolve(trial.parse(sys.argv[1:]))
  directory = configuration.directory

  def name_processes(running: supervisor.Supervisor) -> None:
    processes = dict(running.processes())
    if processes != directory.read_meta().get('processes'):
      directory.update_meta(processes=processes)

  outcome = local.launch(
    _make_program(configuration),
    _make_resources(configuration),
    pathlib.Path(configuration.run.logdir),
    name_processes,
    notice_seconds=3.0,  # Acme's loops do not check for a stop.
  )
  sys.exit(outcome.describe())


if __name__ == '__main__':
  # Nodes are pickled by the name of their module, not as __main__.
  from benchmarks import acme_impala

  acme_impala.main()
