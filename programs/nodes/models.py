"""The run's network and the signature of its unrolls."""

import threading

import tensorflow as tf

from agents.impala import networks
from agents.impala import unrolls as unrolls_lib
from programs.runs import run_config

# TensorFlow's global seed belongs to all nodes that are threads of a process.
_SEEDING = threading.Lock()


def make_model(
  configuration: run_config.Configuration,
) -> tuple[networks.ImpalaNetwork, unrolls_lib.Unroll]:
  """Build the run's network and the signature of its unrolls."""
  spec = configuration.spec
  num_actions = spec.actions.num_values
  with _SEEDING:
    tf.random.set_seed(configuration.agent.seed)
    network = networks.make_network(
      configuration.agent, spec.observations, num_actions
    )
  signature = unrolls_lib.make_signature(
    configuration.agent,
    spec.observations,
    num_actions,
    network.initial_state(1),
  )
  return network, signature
