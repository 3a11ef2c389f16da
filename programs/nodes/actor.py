"""The actor nodes of a training run."""

import functools

import courier
import launchpad as lp
import numpy as np
import reverb
import tensorflow as tf
from absl import logging

import environments
from agents.impala import acting, meter, networks, policies
from agents.impala import unrolls as unrolls_lib
from programs.monitoring import monitor
from programs.nodes import client as nodes
from programs.nodes import inference as inference_lib
from programs.nodes import model as models
from programs.nodes import profiling, variables
from programs.runs import runs


def run_actor(
  configuration: runs.Configuration,
  index: int,
  learner: courier.Client | None,
  queue: reverb.Client,
  monitoring: courier.Client | None = None,
  inference: courier.Client | None = None,
) -> None:
  """Acts until the program stops.

  It chooses its actions with the variables of `learner`, or has `inference`
  choose them, with `--inference=server`.
  """
  configuration = configuration.on_this_machine()
  name = f'{nodes.ACTOR}/{index}'
  actor_meter = meter.Meter()
  with monitor.reporting(monitoring, name, actor_meter.read):
    _act(configuration, index, inference or learner, queue, actor_meter)


def _act(
  configuration: runs.Configuration,
  index: int,
  server: courier.Client,
  queue: reverb.Client,
  actor_meter: meter.Meter,
) -> None:
  stop = lp.stop_event()
  seeds = np.random.SeedSequence((configuration.agent.seed, index))
  sampling, *each = seeds.generate_state(
    1 + configuration.run.num_envs_per_actor
  ).tolist()
  tf.random.set_seed(sampling)
  network, signature = models.make_model(configuration)
  batch = environments.make_batch(
    configuration.run.level_name,
    each,
    index * configuration.run.num_envs_per_actor,
    configuration.environment,
    configuration.run.env_processes,
  )
  client = nodes.NodeClient(server, stop)
  writer = unrolls_lib.UnrollWriter(
    queue, stop, actor_meter, configuration.agent.num_replayed > 0
  )
  try:
    policy = _make_policy(
      configuration, network, signature, sampling, client, actor_meter
    )
    actor = acting.Actor(policy, signature, batch.levels, writer, actor_meter)
    with profiling.profiling(configuration, nodes.ACTOR, index == 0):
      acting.run_environments(actor, batch, stop, actor_meter)
  except nodes.Stopped:
    logging.info('Stopped')
  finally:
    batch.close()


def _make_policy(
  configuration: runs.Configuration,
  network: networks.ImpalaNetwork,
  signature: unrolls_lib.Unroll,
  seed: int,
  client: nodes.NodeClient,
  actor_meter: meter.Meter,
) -> policies.ActingPolicy:
  """What the actor acts with; `client` is of the node that it asks."""
  if configuration.run.inference == 'server':
    ask = functools.partial(inference_lib.ask, client)
    return policies.RemotePolicy(ask, network, actor_meter)
  policy: policies.Policy | policies.UniformPolicy = policies.Policy(network)
  if configuration.run.benchmark_mode:
    policy = policies.UniformPolicy(signature.behaviour_logits.shape[-1], seed)
  source = variables.acting_variables(configuration, client)
  return policies.LocalPolicy(network, policy, source, actor_meter)
