import dm_env
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments import catch


class CatchConformanceTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
  def make_object_under_test(self):
    return catch.Catch(seed=1)

  def make_action_sequence(self):
    rng = np.random.default_rng(0)
    for _ in range(100):
      yield self.environment.action_spec().dtype.type(rng.integers(3))


def _find_ball(board):
  """Row and column of the ball while it is above the paddle's row."""
  (row,), (column,) = np.nonzero(board[:-1])
  return row, column


def _play(environment, policy):
  """Returns the boards and the last timestep of one episode."""
  timestep = environment.reset()
  boards = [timestep.observation]
  while not timestep.last():
    timestep = environment.step(policy(timestep.observation))
    boards.append(timestep.observation)
  return boards, timestep


def _follow(board):
  """Goes where the ball is."""
  paddle = int(np.argmax(board[-1]))
  return 1 + int(np.sign(_find_ball(board)[1] - paddle))


def test_an_episode_is_nine_steps_and_the_ball_falls_straight():
  boards, timestep = _play(catch.Catch(seed=0), lambda _: 1)
  assert len(boards) == 10
  balls = [_find_ball(board) for board in boards[:-1]]
  assert [row for row, _ in balls] == list(range(9))
  assert len({column for _, column in balls}) == 1
  assert all(np.argmax(board[-1]) == 2 for board in boards[:-1])
  assert timestep.discount == 0.0


def test_the_paddle_moves_and_stops_at_the_walls():
  environment = catch.Catch(seed=0)
  environment.reset()
  columns = [
    int(np.argmax(environment.step(action).observation[-1]))
    for action in (0, 0, 0, 2, 2, 2, 2, 2)
  ]
  assert columns == [1, 0, 0, 1, 2, 3, 4, 4]


def test_following_the_ball_always_catches_it():
  environment = catch.Catch(seed=3)
  rewards = [_play(environment, _follow)[1].reward for _ in range(20)]
  assert rewards == [1.0] * 20


def test_a_paddle_that_stays_misses_four_columns_of_five():
  environment = catch.Catch(seed=3)
  rewards = [_play(environment, lambda _: 1)[1].reward for _ in range(500)]
  assert set(rewards) == {1.0, -1.0}
  assert np.mean(rewards) == pytest.approx(-0.6, abs=0.15)


def test_seeds_choose_the_columns():
  def columns(seed):
    environment = catch.Catch(seed)
    return [_find_ball(environment.reset().observation)[1] for _ in range(50)]

  assert columns(1) == columns(1)
  assert columns(1) != columns(2)
  assert set(columns(1)) == set(range(5))


def test_observations_are_fresh_arrays():
  environment = catch.Catch(seed=0)
  first = environment.reset().observation
  kept = first.copy()
  environment.step(0)
  np.testing.assert_array_equal(first, kept)


def test_after_the_end_the_next_step_is_a_reset():
  environment = catch.Catch(seed=0)
  _play(environment, lambda _: 1)
  assert environment.step(0).step_type is dm_env.StepType.FIRST


@pytest.mark.parametrize('action', [-1, 3])
def test_other_actions_are_refused(action):
  environment = catch.Catch(seed=0)
  environment.reset()
  with pytest.raises(ValueError, match=f'0, 1 or 2, got {action}'):
    environment.step(action)
