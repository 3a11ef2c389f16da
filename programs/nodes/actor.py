"""The actor nodes of a training run."""

import functools

import courier
import launchpad as lp
import numpy as np
import reverb
from absl import logging

import environments
from agents.impala import acting, data, networks, policies, timing
from agents.impala import unrolls as unrolls_lib
from programs import nodes
from programs.monitoring import monitor
from programs.nodes import clients, models, profiling
from programs.nodes import inference as inference_lib
from programs.runs import run_config


def run_actor(
  configuration: run_config.Configuration,
  index: int,
  learner: courier.Client | None,
  queue: reverb.Client,
  monitoring: courier.Client | None = None,
  inference: courier.Client | None = None,
) -> None:
  """Act until the program stops.

  It chooses actions with the variables of `learner` or, with
  `--inference=server`, asks `inference`.
  """
  name = f'{nodes.ACTOR}/{index}'
  actor_timer = timing.Timer()
  with monitor.reporting(monitoring, name, actor_timer.read):
    _act(configuration, index, inference or learner, queue, actor_timer)


def _act(
  configuration: run_config.Configuration,
  index: int,
  server: courier.Client,
  queue: reverb.Client,
  actor_timer: timing.Timer,
) -> None:
  stop = lp.stop_event()
  seeds = np.random.SeedSequence((configuration.agent.seed, index))
  sampling, *each = seeds.generate_state(
    1 + configuration.run.num_envs_per_actor
  ).tolist()
  network, signature = models.make_model(configuration)
  batch = environments.make_batch(
    configuration.run.level_name,
    each,
    index * configuration.run.num_envs_per_actor,
    configuration.environment_here,
    configuration.run.env_processes,
  )
  client = clients.NodeClient(server, stop)
  writer = data.UnrollWriter(
    queue, stop, actor_timer, configuration.agent.num_replayed > 0
  )
  try:
    policy = _make_policy(
      configuration, network, signature, sampling, client, actor_timer
    )
    actor = acting.Actor(policy, signature, batch.levels, writer, actor_timer)
    with profiling.profiling(configuration, nodes.ACTOR, index == 0):
      acting.run_environments(actor, batch, stop, actor_timer)
  except clients.Stopped:
    logging.info('Stopped')
  finally:
    batch.close()


def _make_policy(
  configuration: run_config.Configuration,
  network: networks.ImpalaNetwork,
  signature: unrolls_lib.Unroll,
  seed: int,
  client: clients.NodeClient,
  actor_timer: timing.Timer,
) -> policies.ActingPolicy:
  """Build the policy; `client` calls the learner or the inference server."""
  if configuration.run.inference == 'server':
    ask = functools.partial(inference_lib.ask, client)
    return policies.RemotePolicy(ask, network, actor_timer)
  policy: policies.Policy | policies.UniformPolicy = policies.Policy(
    network, seed
  )
  if configuration.run.benchmark_mode:
    policy = policies.UniformPolicy(signature.behaviour_logits.shape[-1], seed)
  source = clients.ActingVariables(client, configuration.agent.extra_policy_lag)
  return policies.LocalPolicy(network, policy, source, actor_timer)
