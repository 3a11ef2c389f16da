"""A real queue with an actor at one end and a reader at the other."""

import math
import threading

import processes
import reverb

from agents.impala import (
  acting,
  data,
  learning,
  metrics,
  networks,
  policies,
  timing,
  unrolls,
)


class Rows:
  """Keeps the rows that are logged."""

  def __init__(self):
    self.rows = []

  def write(self, data):
    self.rows.append(data)

  def close(self):
    pass


def make_learner(
  config,
  network,
  unrolls_,
  rows=None,
  period=math.inf,
  on_episodes=lambda *told: None,
  repeats=1,
):
  made = metrics.LearnerMetrics(
    rows or Rows(), period, lambda: 2, on_episodes, timing.Timer()
  )
  return learning.Learner(
    config, network, unrolls_, repeats, made, timing.Timer()
  )


class Queue:
  """A server of a configuration's tables, with a network of its own."""

  def __init__(self, config, observation_spec, num_actions):
    self.config, self.stop = config, threading.Event()
    self.network = networks.make_network(config, observation_spec, num_actions)
    self.signature = unrolls.make_signature(
      config, observation_spec, num_actions, self.network.initial_state(1)
    )
    self.server = reverb.Server(
      unrolls.make_tables(config, self.signature), port=None
    )
    self.address = f'localhost:{self.server.port}'
    self.client = reverb.Client(self.address)
    self.writer = data.UnrollWriter(
      self.client, self.stop, timing.Timer(), config.num_replayed > 0
    )

  def info(self, table='queue'):
    return self.client.server_info()[table]

  def dataset(self):
    return data.make_dataset(self.address, self.signature, self.config)

  def reader(self):
    return data.UnrollReader(self.dataset(), self.stop)

  def actor(self, source, levels, policy=None):
    """One that acts with variables from a source."""
    local = policies.LocalPolicy(
      self.network,
      policy or policies.Policy(self.network),
      source,
      timing.Timer(),
    )
    return acting.Actor(
      local, self.signature, levels, self.writer, timing.Timer()
    )

  def close(self):
    self.stop.set()
    processes.stop_later(self.server)


def play(actor, environment, num_steps):
  """Steps environments with an actor; returns the last timestep."""
  timestep = environment.reset()
  actor.observe_first(timestep)
  for _ in range(num_steps):
    action = actor.select_action(timestep.observation)
    timestep = environment.step(action)
    actor.observe(action, timestep)
  return timestep
