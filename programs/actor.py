"""The actor nodes of a training run."""

import acme
import courier
import launchpad as lp
import numpy as np
import reverb
import tensorflow as tf
from absl import logging

import environments
from agents.impala import acting, lag, meter, policies
from agents.impala import unrolls as unrolls_lib
from programs import nodes, runs, variables
from programs.inspection import graph, monitor


@graph.uses(learner='variables', queue='insert', monitoring='call')
def run_actor(
  configuration: runs.Configuration,
  index: int,
  learner: courier.Client,
  queue: reverb.Client,
  monitoring: courier.Client | None = None,
) -> None:
  """Acts until the program stops.

  Args:
    configuration: Of the run.
    index: Of this actor, from 0.
    learner: Serves variables.
    queue: Takes unrolls.
    monitoring: The monitor, if there is one.
  """
  stop = lp.stop_event()
  actor_meter = meter.Meter()
  name = f'{nodes.ACTOR}/{index}'
  with monitor.reporting(monitoring, name, actor_meter.read):
    _act(
      configuration, index, nodes.NodeClient(learner, stop), queue, actor_meter
    )


def _act(
  configuration: runs.Configuration,
  index: int,
  learner: nodes.NodeClient,
  queue: reverb.Client,
  actor_meter: meter.Meter,
) -> None:
  """Makes an actor and its environments; acts until the program stops."""
  stop = lp.stop_event()
  seeds = np.random.SeedSequence((configuration.agent.seed, index))
  sampling, *each = seeds.generate_state(
    1 + configuration.run.num_envs_per_actor
  )
  tf.random.set_seed(int(sampling))
  network, signature = nodes.make_model(configuration)
  policy = (
    policies.UniformPolicy(
      signature.behaviour_logits.shape[-1], seed=int(sampling)
    )
    if configuration.run.benchmark_mode
    else policies.Policy(network)
  )
  batch = environments.make_batch(
    configuration.run.level_name,
    [int(seed) for seed in each],
    index * configuration.run.num_envs_per_actor,
    configuration.environment,
    configuration.run.env_processes,
  )
  shared = variables.SharedVariables(
    learner, variables.shared_path(configuration.run.logdir), stop
  )
  variable_source: acme.VariableSource = shared
  if configuration.agent.extra_policy_lag:
    variable_source = lag.LaggedVariables(
      variable_source, configuration.agent.extra_policy_lag
    )
  try:
    actor = acting.Actor(
      network,
      policy,
      signature,
      batch.levels,
      variable_source,
      unrolls_lib.UnrollWriter(
        queue, stop, actor_meter, configuration.agent.num_replayed > 0
      ),
      actor_meter,
    )
    acting.run_environments(actor, batch, stop, actor_meter)
  except nodes.Stopped:
    logging.info('Stopped')
  finally:
    shared.close()
    batch.close()
