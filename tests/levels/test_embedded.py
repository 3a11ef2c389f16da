"""The levels that need no simulator: Catch and Memory."""

import episodes
import numpy as np
import pytest
from absl.testing import absltest

from environments import catch, memory


class CatchConformanceTest(episodes.Conformance, absltest.TestCase):
  level = catch.Catch

  def make_object_under_test(self):
    return self.level(seed=1)


class MemoryConformanceTest(CatchConformanceTest):
  level = memory.Memory


def play(environment, policy):
  """Return an episode's timesteps; `policy` maps observations to an action."""
  timesteps = [environment.reset()]
  while not timesteps[-1].last():
    action = policy([timestep.observation for timestep in timesteps])
    timesteps.append(environment.step(action))
  return timesteps


def returns(environment, policy, num_episodes):
  return [play(environment, policy)[-1].reward for _ in range(num_episodes)]


def stay(_):
  return 1


def find_ball(board):
  """Return row and column of the ball above the paddle's row."""
  (row,), (column,) = np.nonzero(board[:-1])
  return row, column


def follow(boards):
  """Return the action that moves to the ball."""
  paddle = int(np.argmax(boards[-1][-1]))
  return 1 + int(np.sign(find_ball(boards[-1])[1] - paddle))


def recall(observations):
  return int(observations[0][0] > 0)


def test_an_episode_of_catch_is_nine_steps_and_the_ball_falls_straight():
  timesteps = play(catch.Catch(seed=0), stay)
  assert len(timesteps) == 10
  balls = [find_ball(timestep.observation) for timestep in timesteps[:-1]]
  assert [row for row, _ in balls] == list(range(9))
  assert len({column for _, column in balls}) == 1
  assert all(np.argmax(t.observation[-1]) == 2 for t in timesteps[:-1])
  assert timesteps[-1].discount == 0.0


def test_following_the_ball_catches_it_and_staying_misses_four_of_five():
  assert returns(catch.Catch(seed=3), follow, 20) == [1.0] * 20
  rewards = returns(catch.Catch(seed=3), stay, 500)
  assert set(rewards) == {1.0, -1.0}
  assert np.mean(rewards) == pytest.approx(-0.6, abs=0.15)


def test_the_cue_is_seen_once_and_the_question_ten_steps_later():
  timesteps = play(memory.Memory(seed=0), lambda _: 0)
  assert len(timesteps) == memory.NUM_STEPS + 1
  cues, questions, left = np.array([t.observation for t in timesteps]).T
  assert abs(cues[0]) == 1
  assert not cues[1:].any()
  np.testing.assert_array_equal(questions, [0] * 9 + [1, 0])
  np.testing.assert_allclose(left, np.linspace(1, 0, 11), atol=1e-6)
  assert [t.reward for t in timesteps[1:-1]] == [0.0] * 9
  assert timesteps[-1].discount == 0.0


def test_the_answer_decides():
  environment = memory.Memory(seed=3)
  assert returns(environment, recall, 20) == [1.0] * 20
  assert returns(environment, lambda seen: 1 - recall(seen), 20) == [-1.0] * 20
  blind = returns(environment, stay, 2000)
  assert np.mean(blind) == pytest.approx(0.0, abs=0.08)


@pytest.mark.parametrize(
  ('level', 'num_different'), [(catch.Catch, 5), (memory.Memory, 2)]
)
def test_seeds_choose_the_episodes(level, num_different):
  def starts(seed):
    environment = level(seed)
    return [environment.reset().observation.tobytes() for _ in range(50)]

  assert starts(1) == starts(1)
  assert starts(1) != starts(2)
  assert len(set(starts(1))) == num_different


@pytest.mark.parametrize(
  ('level', 'action', 'rule'),
  [
    (catch.Catch, -1, '0, 1 or 2'),
    (catch.Catch, 3, '0, 1 or 2'),
    (memory.Memory, 2, '0 or 1'),
  ],
)
def test_other_actions_are_refused(level, action, rule):
  environment = level(seed=0)
  environment.reset()
  with pytest.raises(ValueError, match=f'{rule}, got {action}'):
    environment.step(action)
