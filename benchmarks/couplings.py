"""Parts that lie between actors and learner: queue and variables."""

import os
import threading
from collections.abc import Mapping
from typing import Any

import courier
import numpy as np
import reverb
import tree
from acme.tf import variable_utils

from agents.impala import batches, metrics
from agents.impala import unrolls as unrolls_lib
from benchmarks import play
from programs import nodes, runs, variables


class Queue:
  """The queue's server."""

  def __init__(self, configuration: runs.Configuration) -> None:
    _, signature = play.make_model(configuration)
    self._server = reverb.Server(
      unrolls_lib.make_tables(configuration.agent, signature), None
    )

  def facts(self) -> Mapping[str, Any]:
    """Where it listens."""
    return {'address': f'localhost:{self._server.port}'}

  def work(self, variant: str) -> None:
    """Nothing of its own."""


class Writer:
  """The writer of an actor, with an unroll of each of its environments."""

  def __init__(self, configuration: runs.Configuration, address: str) -> None:
    network, signature = play.make_model(configuration)
    num = configuration.run.num_envs_per_actor
    self._unrolls = play.act(configuration, network, signature, num)[:num]
    self._writer = play.make_writer(configuration, reverb.Client(address))
    self._length = configuration.agent.unroll_length

  def facts(self) -> Mapping[str, Any]:
    """See `parts.Part`; and the size of an unroll."""
    return {
      'agent_steps': len(self._unrolls) * self._length,
      'unroll_bytes': sum(
        np.asarray(leaf).nbytes for leaf in tree.flatten(self._unrolls[0])
      ),
    }

  def work(self, variant: str) -> None:
    """Writes them; waits until they are in the queue."""
    self._writer.write(self._unrolls)


class Reader:
  """The learner's reader."""

  def __init__(self, configuration: runs.Configuration, address: str) -> None:
    _, signature = play.make_model(configuration)
    config = configuration.agent
    self._batches = batches.UnrollReader(
      batches.make_dataset(address, signature, config), threading.Event()
    )
    fresh = config.batch_size - config.num_replayed
    self._agent_steps = fresh * config.unroll_length

  def facts(self) -> Mapping[str, Any]:
    """See `parts.Part`."""
    return {'agent_steps': self._agent_steps}

  def work(self, variant: str) -> None:
    """Takes a batch."""
    next(self._batches)


class VariableServer:
  """Serves variables as the learner's node does."""

  def __init__(self, configuration: runs.Configuration) -> None:
    network, _ = play.make_model(configuration)
    self._server = courier.Server()
    self._server.Bind('get_variables', play.Source(network).get_variables)
    self._server.Start()

  def facts(self) -> Mapping[str, Any]:
    """Where it listens."""
    return {'address': f'localhost:{self._server.port}'}

  def work(self, variant: str) -> None:
    """Nothing of its own."""


class VariableClient:
  """Fetches variables as the first actor of a machine does."""

  def __init__(self, configuration: runs.Configuration, address: str) -> None:
    network, signature = play.make_model(configuration)
    stop = threading.Event()
    self._source = variables.SharedVariables(
      nodes.NodeClient(courier.Client(address), stop),
      variables.shared_path(f'benchmark {os.getpid()}'),
      stop,
    )
    self._client = variable_utils.VariableClient(
      self._source,
      {'policy': [*network.variables, metrics.Counts().learner_steps]},
    )
    num = configuration.run.num_envs_per_actor
    self._agent_steps = num * signature.action.shape[0]

  def facts(self) -> Mapping[str, Any]:
    """See `parts.Part`."""
    return {'agent_steps': self._agent_steps}

  def work(self, variant: str) -> None:
    """One fetch."""
    self._client.update(wait=True)

  def close(self) -> None:
    """Removes the file that actors of a machine share."""
    self._source.close()
