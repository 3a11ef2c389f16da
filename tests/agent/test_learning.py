import dataclasses
import math

import numpy as np
import pipelines
import pytest
import tensorflow as tf

import environments
from agents.impala import config as config_lib
from agents.impala import networks
from agents.impala import unrolls as unrolls_lib
from programs.runs import checkpoints

CONFIG = config_lib.ImpalaConfig(
  network='mlp',
  lstm=True,
  unroll_length=5,
  batch_size=3,
  total_environment_frames=10_000,
  learning_rate=0.01,
  epsilon=0.01,
  max_gradient_norm=0.5,
)
SPEC = environments.spec('catch')
REPEATS = 4


def make_batch(seed, config=CONFIG):
  """A batch of random rows; the second row of column 0 was never executed."""
  rng = np.random.default_rng(seed)
  t, b, a = config.unroll_length, config.batch_size, 3
  start = np.zeros((t + 1, b), bool)
  start[2, 0] = True
  returns = np.full((t, b), np.nan, np.float32)
  returns[1, 0] = 7.5
  steps = np.where(np.isnan(returns), 0, 30).astype(np.int32)
  batch = unrolls_lib.Unroll(
    inputs=networks.NetworkInput(
      observation=rng.integers(2, size=(t + 1, b, 10, 5)).astype(np.uint8),
      last_action=rng.integers(a, size=(t + 1, b)).astype(np.int32),
      last_reward=rng.normal(size=(t + 1, b)).astype(np.float32),
      start_of_episode=start,
    ),
    action=rng.integers(a, size=(t, b)).astype(np.int32),
    reward=rng.normal(size=(t, b)).astype(np.float32),
    discount=np.ones((t, b), np.float32),
    behaviour_logits=rng.normal(size=(t, b, a)).astype(np.float32),
    episode_return=returns,
    episode_steps=steps,
    environment_restarts=np.arange(b, dtype=np.int32),
    level=np.arange(4, 4 + b, dtype=np.int32),
    learner_step=np.minimum(np.arange(b), 1),
    core_state=tuple(
      rng.normal(size=(b, 256)).astype(np.float32) for _ in range(2)
    ),
  )
  return tf.nest.map_structure(tf.constant, batch)


def make_learner(batches, config=CONFIG, rows=None, **options):
  tf.random.set_seed(3)
  network = networks.make_network(config, SPEC.observations, 3)
  state = network.initial_state(1)
  batches = (
    batch._replace(core_state=type(state)(*batch.core_state))
    for batch in batches
  )
  return pipelines.make_learner(
    config, network, batches, rows, repeats=REPEATS, **options
  )


def everything(learner):
  """All that a checkpoint has to hold, as arrays."""
  state = learner.state
  return [
    np.array(v)
    for name in ('network', 'optimizer', 'counts')
    for v in state[name].variables
  ]


@pytest.mark.parametrize(('optimizer', 'slots'), [('rmsprop', 0), ('adam', 1)])
def test_a_restored_learner_continues_bit_for_bit(tmp_path, optimizer, slots):
  config = dataclasses.replace(CONFIG, optimizer=optimizer)
  batches = [make_batch(seed) for seed in range(6)]
  learner = make_learner(batches, config)
  for _ in range(3):
    learner.step()
  checkpoints.Checkpoints(tmp_path, learner.state).save()
  middle = everything(learner)
  for _ in range(3):
    learner.step()

  again = make_learner(batches[3:], config)
  assert checkpoints.Checkpoints(tmp_path, again.state).restore()
  for kept, restored in zip(middle, everything(again), strict=True):
    np.testing.assert_array_equal(kept, restored)
  for _ in range(3):
    again.step()
  final = everything(learner)
  for expected, continued in zip(final, everything(again), strict=True):
    np.testing.assert_array_equal(expected, continued)
  # The network, twice since the optimiser knows it, two slots each, Adam's
  # count of its steps, and five counts; all of them moved.
  network = learner.state['network'].variables
  assert len(final) == 4 * len(network) + 5 + slots
  assert all(
    (a != b).any() for a, b in zip(middle, final, strict=True) if b.any()
  )


def test_frames_are_those_of_the_variables_that_are_served(monkeypatch):
  """Who asks for the variables at these frames gets no older ones."""
  learner, seen = make_learner([make_batch(0)]), []
  monkeypatch.setattr(learner, 'serve', lambda: seen.append(learner.frames))
  learner.step()
  assert seen == [0]


def test_replayed_unrolls_are_learned_from_and_not_counted():
  config = dataclasses.replace(
    CONFIG, batch_size=4, replay_proportion=0.5, entropy_cost=0.0
  )
  batch = make_batch(0, config)
  returns = batch.episode_return.numpy()
  returns[3, 2] = 99.0  # Of a replayed unroll: was told when it was fresh.
  batch = batch._replace(
    episode_return=tf.constant(returns),
    learner_step=tf.constant([0, 0, -50, -60], tf.int64),
  )
  told, rows = [], pipelines.Rows()
  learner = make_learner(
    [batch],
    config,
    rows,
    period=0,
    on_episodes=lambda *given: told.append(given),
  )
  learner.step()
  counts = learner.state['counts']
  assert int(counts.frames) == 2 * 5 * REPEATS
  assert int(counts.executed_frames) == (2 * 5 - 1) * REPEATS
  assert int(counts.episodes) == 1
  ((frames, episodes),) = told
  assert frames == 2 * 5 * REPEATS
  assert episodes.level.tolist() == [4]
  assert episodes.episode_return.tolist() == [7.5]
  assert episodes.episode_steps.tolist() == [30]
  assert rows.rows[0]['policy_lag_max'] == 0
  assert rows.rows[0]['environment_restarts'] == 0 + 1  # Of 0, 1, 2 and 3.

  # The loss is that of all four: with other replayed unrolls it is another.
  reward = batch.reward.numpy()
  reward[:, 2:] *= -1
  changed = pipelines.Rows()
  make_learner(
    [batch._replace(reward=tf.constant(reward))], config, changed, period=0
  ).step()
  assert abs(rows.rows[0]['loss'] - changed.rows[0]['loss']) > 1e-3


def test_a_row_of_figures():
  rows = pipelines.Rows()
  learner = make_learner([make_batch(s) for s in range(3)], rows=rows)
  for _ in range(3):
    learner.step()
  assert not rows.rows
  learner.close()
  (row,) = rows.rows
  assert row['frames'] == learner.frames == 3 * 3 * 5 * REPEATS
  assert row['executed_frames'] == 3 * (3 * 5 - 1) * REPEATS
  assert row['learner_steps'] == row['episodes'] == 3
  assert row['episode_return'] == 7.5
  assert row['episode_steps'] == 30
  assert row['queue_size'] == 2
  # Batches of steps 0, 1, 1 learned at learner steps 0, 1 and 2.
  assert row['policy_lag_min'] == -1
  assert row['policy_lag_max'] == 2
  np.testing.assert_allclose(row['policy_lag_mean'], 1 - 2 / 3, rtol=1e-6)
  assert 0 < row['entropy'] <= math.log(3) + 1e-6
  assert all(math.isfinite(value) for value in row.values())
  # The mean of the rates at frames 0, 60 and 120.
  np.testing.assert_allclose(
    row['learning_rate'], 0.01 * (1 - 60 / 10_000), rtol=1e-6
  )
  np.testing.assert_allclose(
    row['loss'],
    row['policy_gradient_loss']
    + CONFIG.baseline_cost * row['baseline_loss']
    + CONFIG.entropy_cost * row['entropy_loss'],
    rtol=1e-4,
  )
  assert 0 <= row['learner_wait_share'] <= 1


def test_gradients_are_clipped_by_their_global_norm():
  tight = dataclasses.replace(CONFIG, max_gradient_norm=1e-6, epsilon=1.0)
  rows = pipelines.Rows()
  learner = make_learner([make_batch(0)], tight, rows, period=0)
  before = tf.nest.map_structure(np.array, learner.state['network'].variables)
  learner.step()
  assert rows.rows[0]['gradient_norm'] > 1
  after = learner.state['network'].variables
  moved = tf.linalg.global_norm(
    [a - b for a, b in zip(after, before, strict=True)]
  )
  # A step of the learning rate times a gradient of norm 1e-6, over a root
  # between 1 (mean square 0) and sqrt(2) (mean square 1).
  assert 0 < moved <= 0.01 * 1e-6 * 1.01


def test_served_variables_are_a_copy_between_two_steps():
  learner = make_learner([make_batch(0)])
  (policy,) = learner.get_variables(['policy'])
  kept = [np.copy(part) for part in policy]
  learner.step()
  for part, copy in zip(policy, kept, strict=True):
    np.testing.assert_array_equal(part, copy)
  assert policy[-1] == 0
  newer, counts = learner.get_variables(['policy', 'counts'])
  assert newer[-1] == 1
  assert counts == [v.numpy() for v in learner.state['counts'].variables]
  for variable, part in zip(
    learner.state['network'].variables, newer[:-1], strict=True
  ):
    np.testing.assert_array_equal(variable, part)


def test_variables_are_served_before_a_record_may_wait_for_the_queue():
  served = []
  learner = make_learner(
    [make_batch(0)],
    on_episodes=lambda frames, _: served.append((learner.frames, frames)),
  )
  learner.step()
  ((found, wanted),) = served
  assert found == wanted > 0


def test_a_loss_that_is_not_finite_ends_the_run():
  batch = make_batch(0)
  batch = batch._replace(reward=batch.reward * np.nan)
  rows = pipelines.Rows()
  learner = make_learner([make_batch(0), batch], rows=rows)
  learner.step()
  served = learner.frames
  with pytest.raises(FloatingPointError, match='loss must be finite, got nan'):
    learner.step()
  assert learner.frames == served
  learner.close()
  (row,) = rows.rows
  assert row['learner_steps'] == 2 and np.isnan(row['loss'])


def test_variables_that_are_not_finite_end_the_run():
  """Though the loss, which is of the variables before, still is."""
  learner = make_learner([make_batch(0)])
  slot = next(
    v for v in learner.state['optimizer'].variables if 'mean_square' in v.name
  )
  slot.assign(tf.fill(slot.shape, np.nan))
  with pytest.raises(FloatingPointError, match='variable_norm must be finite'):
    learner.step()
