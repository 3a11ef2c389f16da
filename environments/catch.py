"""Catch, which needs no package: the file to copy for another simulator.

The game of bsuite and of dm-haiku's IMPALA example: a ball falls down a board
of 10 rows and 5 columns, one row an agent step; a paddle in the bottom row
moves left, stays, or moves right. The best mean return is 1.0; a random policy
scores about -0.6.
"""

import dm_env
import numpy as np
from dm_env import specs

from environments import simulator

NUM_ROWS = 10
NUM_COLUMNS = 5


class Catch(dm_env.Environment):
  """One ball an episode: 9 agent steps, then a termination.

  Observations are `[10, 5]` uint8, 1 where the ball and the paddle are and 0
  elsewhere. Actions are 0 (left), 1 (stay) and 2 (right). The reward is 0
  until the ball reaches the bottom row, there +1 (caught) or -1 (missed).
  """

  def __init__(self, seed: int) -> None:
    self._rng = np.random.default_rng(seed)
    self._ball_row = 0
    self._ball_column = 0
    self._paddle_column = 0
    self._needs_reset = True

  def reset(self) -> dm_env.TimeStep:
    """Drop a ball from a random column; the paddle starts in the middle."""
    self._ball_row = 0
    self._ball_column = int(self._rng.integers(NUM_COLUMNS))
    self._paddle_column = NUM_COLUMNS // 2
    self._needs_reset = False
    return dm_env.restart(self._board())

  def step(self, action: int) -> dm_env.TimeStep:
    """Move the paddle, then the ball; ValueError unless 0 to 2 is given."""
    if self._needs_reset:
      return self.reset()
    if action not in (0, 1, 2):
      raise ValueError(f'action must be 0, 1 or 2, got {action!r}')
    column = self._paddle_column + int(action) - 1
    self._paddle_column = min(max(column, 0), NUM_COLUMNS - 1)
    self._ball_row += 1
    if self._ball_row < NUM_ROWS - 1:
      return dm_env.transition(0.0, self._board())
    self._needs_reset = True
    is_caught = self._paddle_column == self._ball_column
    return dm_env.termination(1.0 if is_caught else -1.0, self._board())

  def observation_spec(self) -> specs.BoundedArray:
    """Return the spec of `[10, 5]` uint8, 0 or 1."""
    return specs.BoundedArray(
      (NUM_ROWS, NUM_COLUMNS), np.uint8, 0, 1, name='board'
    )

  def action_spec(self) -> specs.DiscreteArray:
    """Return the spec of three actions: left, stay, right."""
    return specs.DiscreteArray(3, name='action')

  def render(self) -> np.ndarray:
    """Return `[10, 5, 3]` uint8: the board for people, white on black."""
    return np.repeat(255 * self._board()[..., np.newaxis], 3, axis=-1)

  def _board(self) -> np.ndarray:
    board = np.zeros((NUM_ROWS, NUM_COLUMNS), np.uint8)
    board[self._ball_row, self._ball_column] = 1
    board[-1, self._paddle_column] = 1
    return board


SIMULATOR = simulator.Simulator(
  levels=('catch',),
  make=lambda level, seed, evaluation, settings: Catch(seed),
  frames_per_second=4.0,  # Slow enough to follow.
  has_action_repeats=False,
)
