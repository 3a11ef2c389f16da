"""What a component of the program does, alone: a generator for each.

It yields when it is ready, and then after each unit of work, what is to know of
a unit: its 'agent_steps' at least.
"""

import contextlib
import dataclasses
import itertools
import math
import multiprocessing
import threading
from collections.abc import (
  Callable,
  Generator,
  Iterable,
  Mapping,
  Sequence,
)
from concurrent import futures
from typing import Any

import acme
import courier
import numpy as np
import reverb
import tree
from acme.tf import variable_utils
from acme.utils import loggers

import environments
from agents.impala import (
  acting,
  batches,
  learning,
  meter,
  metrics,
  networks,
  policies,
)
from agents.impala import unrolls as unrolls_lib
from benchmarks import isolated
from programs import models, nodes, runs

_Units = Generator[Mapping[str, Any], None, None]


def _environment(configuration: runs.Configuration) -> _Units:
  """Steps each environment of an actor once, with random actions."""
  run = configuration.run
  batch = environments.make_batch(
    run.level_name,
    range(run.num_envs_per_actor),
    settings=configuration.environment,
    num_processes=run.env_processes,
  )
  with contextlib.closing(batch):
    batch.reset()
    facts = {'agent_steps': run.num_envs_per_actor}
    yield facts
    actions = np.random.default_rng(1).integers(
      batch.action_spec.num_values,
      size=(1000, run.num_envs_per_actor),
      dtype=np.int32,
    )
    for chosen in itertools.cycle(actions):
      batch.step(chosen)
      yield facts


def _forward_pass(configuration: runs.Configuration) -> _Units:
  """Chooses an action for each environment of an actor."""
  num_envs = configuration.run.num_envs_per_actor
  network, signature = models.make_model(configuration)
  _, given = _act(configuration, network, signature, num_envs, 0)
  policy = policies.Policy(network)
  facts = {'agent_steps': num_envs}
  yield facts
  while True:
    np.asarray(policy(*given).action)
    yield facts


def _learner(configuration: runs.Configuration) -> _Units:
  """Takes a learner step, of two batches that went through a real queue."""
  config = configuration.agent
  network, signature = models.make_model(configuration)
  num_unrolls = 2 * config.batch_size
  num_envs = min(configuration.run.num_envs_per_actor, num_unrolls)
  unrolls, _ = _act(configuration, network, signature, num_envs, num_unrolls)
  # Larger than the run's own, for all to fit.
  roomy = dataclasses.replace(config, queue_capacity=len(unrolls))
  server = reverb.Server(unrolls_lib.make_tables(roomy, signature), None)
  queue_address = f'localhost:{server.port}'
  # Kept: what it has not yet sent would be lost with it.
  writer = _make_writer(configuration, queue_address)
  writer.write(unrolls)
  reader = batches.UnrollReader(
    batches.make_dataset(queue_address, signature, config), threading.Event()
  )
  a_meter = meter.Meter()
  learner = learning.Learner(
    config,
    network,
    itertools.cycle([next(reader), next(reader)]),
    configuration.num_action_repeats,
    metrics.LearnerMetrics(
      loggers.NoOpLogger(), math.inf, lambda: 0.0, lambda *_: None, a_meter
    ),
    a_meter,
  )
  fresh = config.batch_size - config.num_replayed
  facts = {'agent_steps': fresh * config.unroll_length}
  yield facts
  while True:
    learner.step()
    yield facts


def _unrolls(configuration: runs.Configuration) -> _Units:
  """Writes unrolls of an actor's environments and reads them as batches."""
  config = configuration.agent
  num_envs = configuration.run.num_envs_per_actor
  network, signature = models.make_model(configuration)
  written, _ = _act(configuration, network, signature, num_envs, num_envs)
  fresh = config.batch_size - config.num_replayed
  num_unrolls = math.lcm(len(written), fresh)
  # In a process of its own, as in the program.
  context = multiprocessing.get_context('spawn')
  pipe, theirs = context.Pipe()
  queue = context.Process(target=_serve_queue, args=(configuration, theirs))
  queue.start()
  address = pipe.recv()
  writer = _make_writer(configuration, address)
  reader = batches.UnrollReader(
    batches.make_dataset(address, signature, config), threading.Event()
  )

  def write() -> None:
    for _ in range(num_unrolls // len(written)):
      writer.write(written)  # Waits until they are in the queue.

  facts = {
    'agent_steps': num_unrolls * config.unroll_length,
    'unroll_bytes': sum(
      np.asarray(leaf).nbytes for leaf in tree.flatten(written[0])
    ),
  }
  try:
    with futures.ThreadPoolExecutor(1) as thread:
      yield facts
      while True:
        writing = thread.submit(write)
        for _ in range(num_unrolls // fresh):
          next(reader)
        writing.result()
        yield facts
  finally:
    queue.kill()


def _variables(configuration: runs.Configuration) -> _Units:
  """Serves and fetches variables, as an actor does once in an unroll."""
  network, _ = models.make_model(configuration)
  server = courier.Server()
  server.Bind('get_variables', _Source(network).get_variables)
  server.Start()
  client = variable_utils.VariableClient(
    nodes.NodeClient(
      courier.Client(f'localhost:{server.port}'), threading.Event()
    ),
    {'policy': [*network.variables, metrics.Counts().learner_steps]},
  )
  num_envs = configuration.run.num_envs_per_actor
  facts = {'agent_steps': num_envs * configuration.agent.unroll_length}
  yield facts
  while True:
    client.update(wait=True)
    yield facts


KINDS: Mapping[str, Callable[[runs.Configuration], _Units]] = {
  'environment': _environment,
  'forward_pass': _forward_pass,
  'learner': _learner,
  'unrolls': _unrolls,
  'variables': _variables,
}


def _serve_queue(configuration: runs.Configuration, pipe: Any) -> None:
  isolated.end_with_parent()
  _, signature = models.make_model(configuration)
  server = reverb.Server(
    unrolls_lib.make_tables(configuration.agent, signature), None
  )
  pipe.send(f'localhost:{server.port}')
  server.wait()


class _Source(acme.VariableSource):
  """Serves a network's variables as a learner does."""

  def __init__(self, network: networks.ImpalaNetwork) -> None:
    self._served = learning.served_variables(network, metrics.Counts())

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    return [self._served[name] for name in names]


class _Keeper(unrolls_lib.UnrollWriter):
  """Keeps unrolls in place of writing them."""

  def __init__(self) -> None:
    self.unrolls: list[unrolls_lib.Unroll] = []

  def write(self, unrolls: Iterable[unrolls_lib.Unroll]) -> None:
    """Copies them."""
    self.unrolls += [tree.map_structure(np.copy, unroll) for unroll in unrolls]


class _Tap(policies.UniformPolicy):
  """Keeps what it is given."""

  def __call__(
    self, inputs: networks.NetworkInput, core_state: networks.CoreState
  ) -> policies.PolicyStep:
    self.given = (inputs, core_state)
    return super().__call__(inputs, core_state)


def _act(
  configuration: runs.Configuration,
  network: networks.ImpalaNetwork,
  signature: unrolls_lib.Unroll,
  num_envs: int,
  num_unrolls: int,
) -> tuple[Sequence[unrolls_lib.Unroll], Any]:
  """Acts unrolls with random actions, by the real actor.

  Args:
    configuration: Of the run.
    network: See `models.make_model`.
    signature: See there.
    num_envs: Environments of the actor.
    num_unrolls: How many, rounded up to a multiple of `num_envs`.

  Returns:
    The unrolls, and what the policy was given first.
  """
  keeper, a_meter = _Keeper(), meter.Meter()
  tap = _Tap(signature.behaviour_logits.shape[-1], seed=1)
  with contextlib.closing(
    environments.make_batch(
      configuration.run.level_name,
      range(num_envs),
      settings=configuration.environment,
    )
  ) as batch:
    actor = acting.Actor(
      policies.LocalPolicy(network, tap, _Source(network), a_meter),
      signature,
      batch.levels,
      keeper,
      a_meter,
    )
    timestep = batch.reset()
    actor.observe_first(timestep)
    action = actor.select_action(timestep.observation)
    given = tree.map_structure(np.array, tap.given)
    while len(keeper.unrolls) < num_unrolls:
      timestep = batch.step(action)
      actor.observe(action, timestep)
      action = actor.select_action(timestep.observation)
  return keeper.unrolls, given


def _make_writer(
  configuration: runs.Configuration, address: str
) -> unrolls_lib.UnrollWriter:
  return unrolls_lib.UnrollWriter(
    reverb.Client(address),
    threading.Event(),
    meter.Meter(),
    configuration.agent.num_replayed > 0,
  )
