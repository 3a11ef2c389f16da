"""Workloads: a generator for each component of the program.

Each yields facts of a unit of work, its 'agent_steps' at least: first when it
is ready, then after each unit.
"""

import contextlib
import dataclasses
import itertools
import math
import multiprocessing
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import courier
import numpy as np
import reverb
import tree
from acme.tf import variable_utils
from acme.utils import loggers

import environments
from agents.impala import (
  acting,
  data,
  learning,
  metrics,
  networks,
  policies,
  timing,
)
from agents.impala import config as config_lib
from agents.impala import unrolls as unrolls_lib
from benchmarks import isolated
from programs.nodes import clients, models
from programs.runs import run_config

_Units = Generator[Mapping[str, Any], None, None]


def environment(configuration: run_config.Configuration) -> _Units:
  """Step each environment of an actor with random actions."""
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


def forward_pass(configuration: run_config.Configuration) -> _Units:
  """Choose an action for each environment of an actor."""
  num_envs = configuration.run.num_envs_per_actor
  acted = _act(configuration, num_envs, 0)
  policy = policies.Policy(acted.network)
  facts = {'agent_steps': num_envs}
  yield facts
  while True:
    np.asarray(policy(*acted.given).action)
    yield facts


def learner(configuration: run_config.Configuration) -> _Units:
  """Take learner steps on two batches from a real queue."""
  config = configuration.agent
  num_unrolls = 2 * config.batch_size
  num_envs = min(configuration.run.num_envs_per_actor, num_unrolls)
  acted = _act(configuration, num_envs, num_unrolls)
  # Large enough for all unrolls.
  roomy = dataclasses.replace(config, queue_capacity=len(acted.unrolls))
  server = reverb.Server(unrolls_lib.make_tables(roomy, acted.signature), None)
  writer, reader = _make_ends(
    configuration, acted.signature, f'localhost:{server.port}'
  )
  # Kept until the unrolls are sent.
  writer.write(acted.unrolls)
  a_timer = timing.Timer()
  learner = learning.Learner(
    config,
    acted.network,
    itertools.cycle([next(reader), next(reader)]),
    configuration.num_action_repeats,
    metrics.LearnerMetrics(
      loggers.NoOpLogger(), math.inf, lambda: 0.0, lambda *_: None, a_timer
    ),
    a_timer,
  )
  fresh = config.batch_size - config.num_replayed
  facts = {'agent_steps': fresh * config.unroll_length}
  yield facts
  while True:
    learner.step()
    yield facts


def unrolls(configuration: run_config.Configuration) -> _Units:
  """Write unrolls of an actor's environments and read them as batches."""
  config = configuration.agent
  num_envs = configuration.run.num_envs_per_actor
  acted = _act(configuration, num_envs, num_envs)
  written = acted.unrolls
  fresh = config.batch_size - config.num_replayed
  num_unrolls = math.lcm(len(written), fresh)
  # A process of its own, as in the program.
  context = multiprocessing.get_context('spawn')
  pipe, theirs = context.Pipe()
  queue = context.Process(
    target=_serve_queue, args=(configuration.agent, acted.signature, theirs)
  )
  queue.start()
  writer, reader = _make_ends(configuration, acted.signature, pipe.recv())

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


def variables(configuration: run_config.Configuration) -> _Units:
  """Serve and fetch variables, as an actor does once per unroll."""
  network, _ = models.make_model(configuration)
  served = learning.served_variables(network, metrics.Counts())
  server = courier.Server()
  server.Bind('get_variables', lambda names: [served[name] for name in names])
  server.Start()
  client = variable_utils.VariableClient(
    clients.NodeClient(
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


def _serve_queue(
  config: config_lib.ImpalaConfig, signature: unrolls_lib.Unroll, pipe: Any
) -> None:
  isolated.end_with_parent()
  server = reverb.Server(unrolls_lib.make_tables(config, signature), None)
  pipe.send(f'localhost:{server.port}')
  server.wait()


class _Recorder(policies.UniformPolicy):
  """Policy and writer of an actor that keeps what it gets."""

  learner_step = 0

  def __init__(self, network: networks.ImpalaNetwork, num_actions: int) -> None:
    super().__init__(num_actions, seed=1)
    self.initial_state = network.initial_state
    self.unrolls: list[unrolls_lib.Unroll] = []

  def __call__(self, *given: Any) -> policies.PolicyStep:
    self.given = given
    return super().__call__(*given)

  def update(self, wait: bool = False) -> None:
    pass

  def write(self, unrolls: Iterable[unrolls_lib.Unroll]) -> None:
    self.unrolls += [tree.map_structure(np.copy, unroll) for unroll in unrolls]


class _Acted(NamedTuple):
  network: networks.ImpalaNetwork
  signature: unrolls_lib.Unroll
  given: Any  # First input of the policy.
  unrolls: Sequence[unrolls_lib.Unroll]


def _act(
  configuration: run_config.Configuration, num_envs: int, num_unrolls: int
) -> _Acted:
  """Act `num_unrolls` unrolls or a few more with the real actor."""
  network, signature = models.make_model(configuration)
  recorder: Any = _Recorder(network, signature.behaviour_logits.shape[-1])
  with contextlib.closing(
    environments.make_batch(
      configuration.run.level_name,
      range(num_envs),
      settings=configuration.environment,
    )
  ) as batch:
    actor = acting.Actor(
      recorder, signature, batch.levels, recorder, timing.Timer()
    )
    timestep = batch.reset()
    actor.observe_first(timestep)
    action = actor.select_action(timestep.observation)
    given = tree.map_structure(np.array, recorder.given)
    while len(recorder.unrolls) < num_unrolls:
      timestep = batch.step(action)
      actor.observe(action, timestep)
      action = actor.select_action(timestep.observation)
  return _Acted(network, signature, given, recorder.unrolls)


def _make_ends(
  configuration: run_config.Configuration,
  signature: unrolls_lib.Unroll,
  address: str,
) -> tuple[data.UnrollWriter, data.UnrollReader]:
  config, stop = configuration.agent, threading.Event()
  return data.UnrollWriter(
    reverb.Client(address), stop, timing.Timer(), config.num_replayed > 0
  ), data.UnrollReader(data.make_dataset(address, signature, config), stop)
