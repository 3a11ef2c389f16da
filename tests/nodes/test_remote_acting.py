"""Actors whose actions an inference server chooses, over real Courier."""

import numpy as np
import processes
import serving
import tree

import environments
from agents.impala import acting, timing


class Writer:
  """Keeps what an actor sends."""

  def __init__(self):
    self.unrolls = []

  def write(self, unrolls):
    self.unrolls += [tree.map_structure(np.copy, each) for each in unrolls]


class Play:
  """An actor that asks the server."""

  def __init__(self, rig, num=3, first_seed=0):
    self.timer, self.writer = timing.Timer(), Writer()
    self._environments = environments.make_batch(
      rig.configuration.run.level_name, range(first_seed, first_seed + num)
    )
    self._actor = acting.Actor(
      rig.policy(self.timer),
      rig.signature,
      self._environments.levels,
      self.writer,
      self.timer,
    )
    self._timestep = self._environments.reset()
    self._actor.observe_first(self._timestep)

  def steps(self, num):
    for _ in range(num):
      action = self._actor.select_action(self._timestep.observation)
      self._timestep = self._environments.step(action)
      self._actor.observe(action, self._timestep)
    return self.writer.unrolls


def unrolled(rig, unroll):
  """The network's logits of an unroll's rows, `[serving.T, A]`."""
  batch = tree.map_structure(lambda rows: rows[:, np.newaxis], unroll.inputs)
  state = tree.map_structure(lambda part: part[np.newaxis], unroll.core_state)
  output, _ = rig.network.unroll(batch, state)
  return output.logits.numpy()[:-1, 0]


def test_a_step_is_the_network_s_own_across_resets():
  """Two actors share batches; each one's LSTM goes on where it stopped."""
  with serving.running(
    num_actors=2,
    inference_min_batch=6,
    inference_timeout_ms=1000.0 * serving.SECONDS,
  ) as rig:
    plays = [Play(rig), Play(rig, first_seed=3)]
    one, other = serving.in_threads(
      *(lambda play=play: play.steps(3 * serving.T) for play in plays)
    )
    rig.use(0)
    assert len(one) == len(other) == 9
    for unroll in (*one, *other):
      assert unroll.learner_step == 0
      np.testing.assert_allclose(
        unrolled(rig, unroll), unroll.behaviour_logits, atol=1e-5
      )
    starts = np.stack([u.inputs.start_of_episode[1:] for u in one])
    assert starts[:, :-1].any() and not starts.all()
    assert np.abs(one[-1].core_state.hidden).max() > 1e-3
    # They wait, and have neither forward pass nor variables of their own.
    seconds = plays[0].timer.read()['seconds']
    assert set(seconds) == {'starting', 'waiting_for_inference'}
    told = rig.node._timer.read()
    assert told['counts'] == {
      'batches': 3 * serving.T,
      'requests': 2 * 3 * serving.T,
      'rows': 6 * 3 * serving.T,
    }
    assert told['calls']['forward_pass'] == 3 * serving.T
    assert told['calls']['fetching_variables'] == 1  # No others came.


def test_an_unroll_bears_the_learner_step_of_its_oldest_row():
  with serving.running() as rig:
    play = Play(rig)
    play.steps(serving.T + 2)
    rig.source.advance()
    processes.wait_until(lambda: rig.has_fetched(1), serving.SECONDS)
    unrolls = play.steps(2 * serving.T - 2)
    steps = [int(unroll.learner_step) for unroll in unrolls]
    assert steps == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    mixed = unrolls[3]
    is_of = {}
    for learner_step in (0, 1):
      rig.use(learner_step)
      is_of[learner_step] = np.isclose(
        unrolled(rig, mixed), mixed.behaviour_logits, atol=1e-5
      ).all(-1)
    # Each row's logits are of what it was acted with; between the change and
    # the next episode, the LSTM's state came of both.
    (later,) = (
      np.flatnonzero(mixed.inputs.start_of_episode[2 : serving.T])[:1] + 2
    )
    assert is_of[0].tolist() == [True] * 2 + [False] * (serving.T - 2)
    assert not is_of[1][:2].any() and is_of[1][later:].all()
    np.testing.assert_allclose(
      unrolled(rig, unrolls[6]), unrolls[6].behaviour_logits, atol=1e-5
    )
