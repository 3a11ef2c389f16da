"""An event tape through the real actor, writer, queue and dataset."""

import dataclasses
import itertools
import threading
import time
from concurrent import futures

import dm_env
import numpy as np
import pipelines
import processes
import pytest
import tensorflow as tf
from dm_env import specs

from agents.impala import config as config_lib
from agents.impala import networks, policies
from agents.impala import unrolls as unrolls_lib
from environments import batch

T, N, A = 4, 2, 3
OBSERVATION = specs.Array((2,), np.float32)
CONFIG = config_lib.ImpalaConfig(
  network='mlp', lstm=True, unroll_length=T, batch_size=N, queue_capacity=64
)


class Tape(dm_env.Environment):
  """Episodes of known lengths; rewards and observations count the steps.

  Odd episodes are truncated, even ones terminate.
  """

  def __init__(self, number, lengths):
    self._number, self._lengths = number, lengths
    self._clock, self._episode, self._left = 0, -1, 0
    self.actions = []
    self.num_restarts = 0

  def observation_spec(self):
    return OBSERVATION

  def action_spec(self):
    return specs.DiscreteArray(A, dtype=np.int32)

  def _observe(self):
    self._clock += 1
    return np.array([self._number, self._clock], np.float32)

  def reset(self):
    self._episode += 1
    self.num_restarts += self._number == 1  # At every reset.
    self._left = self._lengths[self._episode % len(self._lengths)]
    return dm_env.restart(self._observe())

  def step(self, action):
    self.actions.append(int(action))
    self._left -= 1
    observation = self._observe()
    reward = float(observation[1])
    if self._left:
      return dm_env.transition(reward, observation)
    if self._episode % 2:
      return dm_env.truncation(reward, observation)
    return dm_env.termination(reward, observation)


class Source:
  """Serves a network's variables; each fetch is a learner step later."""

  def __init__(self, network):
    self._network = network
    self.step = 0
    self.history = {}

  def get_variables(self, names):
    assert names == ['policy']
    self.step += 1
    for variable in self._network.trainable_variables:
      variable.assign(variable * 1.1)
    variables = [v.numpy() for v in self._network.variables]
    self.history[self.step] = variables
    return [[*variables, np.int64(self.step)]]


@pytest.fixture
def rig():
  made = pipelines.Queue(CONFIG, OBSERVATION, A)
  yield made
  made.close()


@pytest.fixture(scope='module')
def played():
  """Tapes, source and batches of six unrolls; nothing that a test changes."""
  made = pipelines.Queue(CONFIG, OBSERVATION, A)
  yield play(made, 6)
  made.close()


def play(rig, num_unrolls, policy=None):
  """Drives the actor over the tapes; returns its unrolls in the order sent."""
  tapes = [Tape(0, [3, 5, 1]), Tape(1, [2])]
  source = Source(networks.make_network(CONFIG, OBSERVATION, A))
  environment = batch.EnvironmentBatch(tapes, levels=[7, 3])
  actor = rig.actor(source, environment.levels, policy)
  pipelines.play(actor, environment, num_unrolls * T)
  reader = iter(rig.dataset())
  return tapes, source, [next(reader).unroll for _ in range(num_unrolls)]


def test_event_tape(played):
  tapes, _source, batches = played
  rows = {}
  for name in ('action', 'reward', 'discount', 'episode_return'):
    rows[name] = np.concatenate([getattr(b, name) for b in batches])
  start = np.concatenate(
    [batches[0].inputs.start_of_episode[:1]]
    + [b.inputs.start_of_episode[1:] for b in batches]
  )
  observation = np.concatenate(
    [batches[0].inputs.observation[:1]]
    + [b.inputs.observation[1:] for b in batches]
  )
  steps = np.concatenate([b.episode_steps for b in batches])

  for each in batches:
    np.testing.assert_array_equal(each.level, [7, 3])

  # Every observation of each environment once, in order: nothing is skipped,
  # padded or repeated, whatever the length of an episode.
  for n in range(N):
    np.testing.assert_array_equal(observation[:, n, 0], n)
    np.testing.assert_array_equal(observation[:, n, 1], range(1, 6 * T + 2))

  # Environment 0 by hand: episodes of 3, 5 and 1 steps are 4, 6 and 2 rows.
  expected_start = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1]
  np.testing.assert_array_equal(start[:13, 0], expected_start)
  np.testing.assert_array_equal(
    rows['reward'][:12, 0], [2, 3, 4, 0, 6, 7, 8, 9, 10, 0, 12, 0]
  )
  # The first ends in a termination, the second in a truncation.
  np.testing.assert_array_equal(
    rows['discount'][:12, 0], [1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
  )
  ended = ~np.isnan(rows['episode_return'][:12, 0])
  np.testing.assert_array_equal(np.flatnonzero(ended), [3, 9, 11])
  np.testing.assert_array_equal(
    rows['episode_return'][:12, 0][ended], [9, 40, 12]
  )
  np.testing.assert_array_equal(steps[:12, 0][ended], [3, 5, 1])
  assert not steps[:12, 0][~ended].any()

  # Actions of executed rows are those the environment got; the others are
  # known by the start in the row after them.
  executed = np.concatenate([b.executed for b in batches])
  np.testing.assert_array_equal(executed, ~start[1:])
  for n, tape in enumerate(tapes):
    np.testing.assert_array_equal(
      rows['action'][executed[:, n], n], tape.actions
    )


def test_each_restart_is_in_one_unroll(played):
  _, _, batches = played
  # Environment 1 is reset in rows 0, 3, 6, ...; unrolls end with rows 4, 8, ...
  restarts = [b.environment_restarts.numpy().tolist() for b in batches]
  assert restarts == [[0, n] for n in (2, 1, 2, 1, 1, 2)]


def test_unrolls_overlap_by_one_row_and_carry_what_the_network_saw(played):
  _, _, batches = played
  for before, after in itertools.pairwise(batches):
    for old, new in zip(before.inputs, after.inputs, strict=True):
      np.testing.assert_array_equal(old[-1], new[0])
  for b in batches:
    start = b.inputs.start_of_episode.numpy()[1:]
    np.testing.assert_array_equal(
      b.inputs.last_action[1:], np.where(start, 0, b.action)
    )
    np.testing.assert_array_equal(
      b.inputs.last_reward[1:], np.where(start, 0, b.reward)
    )


def test_behaviour_logits_are_those_of_the_variables_of_the_step(played):
  _, source, batches = played
  network = networks.make_network(CONFIG, OBSERVATION, A)
  for number, b in enumerate(batches):
    # One fetch before the first unroll, and one after each.
    np.testing.assert_array_equal(b.learner_step, number + 1)
    for variable, value in zip(
      network.variables, source.history[number + 1], strict=True
    ):
      variable.assign(value)
    output, _ = network.unroll(b.inputs, b.core_state)
    np.testing.assert_allclose(
      output.logits[:-1], b.behaviour_logits, atol=1e-5
    )
  assert np.abs(batches[1].core_state.hidden).max() > 1e-3


def test_actions_are_sampled_from_the_logits():
  network = networks.make_network(CONFIG, OBSERVATION, A)
  inputs = networks.NetworkInput(
    observation=np.ones((20_000, 2), np.float32),
    last_action=np.zeros(20_000, np.int32),
    last_reward=np.zeros(20_000, np.float32),
    start_of_episode=np.ones(20_000, bool),
  )
  state = network.initial_state(20_000)
  step = policies.Policy(network)(inputs, state)
  share = np.bincount(step.action, minlength=A) / 20_000
  np.testing.assert_allclose(share, tf.nn.softmax(step.logits[0]), atol=0.02)


def test_policies_in_threads_have_streams_of_actions_of_their_own():
  """As the actors of a run whose nodes are threads."""
  inputs = networks.NetworkInput(
    observation=np.zeros((64, 2), np.float32),
    last_action=np.zeros(64, np.int32),
    last_reward=np.zeros(64, np.float32),
    start_of_episode=np.ones(64, bool),
  )

  network = networks.make_network(CONFIG, OBSERVATION, A)

  def act(seed):
    policy, state = policies.Policy(network, seed), network.initial_state(64)
    return b''.join(
      np.asarray(policy(inputs, state).action).tobytes() for _ in range(3)
    )

  seeds = (1000, 1001, 1002, 1000)
  with futures.ThreadPoolExecutor(4) as threads:
    first, second, third, repeated = threads.map(act, seeds)
  assert len({first, second, third}) == 3
  assert repeated == first


def test_a_uniform_policy_acts_without_a_forward_pass(rig, monkeypatch):
  monkeypatch.setattr(rig.network, 'step', None)
  tapes, _, batches = play(rig, 5, policies.UniformPolicy(A, seed=1))
  for number, b in enumerate(batches):
    assert not np.any(b.behaviour_logits)
    np.testing.assert_array_equal(b.learner_step, number + 1)
  executed = np.concatenate([b.executed for b in batches])
  action = np.concatenate([b.action for b in batches])
  for n, tape in enumerate(tapes):
    assert action[executed[:, n], n].tolist() == tape.actions


def write(rig, num_unrolls):
  empty = unrolls_lib.empty_unrolls(num_unrolls, rig.signature)
  rig.writer.write(
    tf.nest.map_structure(lambda column, i=i: column[i], empty)
    for i in range(num_unrolls)
  )


def test_a_writer_waits_while_the_queue_is_full_and_ends_with_the_program():
  rig = pipelines.Queue(
    dataclasses.replace(CONFIG, queue_capacity=2), OBSERVATION, A
  )
  try:
    written = []

    def write_all():
      for _ in range(10):
        write(rig, 1)
        written.append(1)

    thread = threading.Thread(target=write_all)
    thread.start()
    processes.wait_until(lambda: len(written) == 3, 20)
    time.sleep(0.5)
    # Two in the queue, one in flight; the fourth write has not returned.
    assert (len(written), rig.info().current_size) == (3, 2)
    rig.stop.set()
    thread.join(5)
    assert not thread.is_alive()
  finally:
    rig.close()


def test_a_reader_waits_for_a_batch_and_ends_with_the_program(rig):
  reader, got = rig.reader(), []
  thread = threading.Thread(target=lambda: got.extend(reader))
  thread.start()
  write(rig, 3)
  processes.wait_until(lambda: got, 20)
  assert len(got) == 1  # The third unroll waits for a fourth.
  rig.stop.set()
  thread.join(5)
  assert not thread.is_alive()
