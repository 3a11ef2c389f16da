"""The run's network and the signature of its unrolls."""

from agents.impala import networks
from agents.impala import unrolls as unrolls_lib
from programs.runs import run_config


def make_model(
  configuration: run_config.Configuration,
) -> tuple[networks.ImpalaNetwork, unrolls_lib.Unroll]:
  """Build the run's network and the signature of its unrolls."""
  spec = configuration.spec
  num_actions = spec.actions.num_values
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
