"""Variables are fetched when there are newer ones."""

import numpy as np
import pytest

from programs.nodes import clients


class Learner:
  """Serves variables that are full of its learner step; counts the fetches."""

  def __init__(self):
    self.identity, self.step, self.fetched = 1, 0, []

  def get_variables(self, names):
    served = {
      'version': [np.int64(self.identity), np.int64(self.step)],
      'policy': [
        np.full((300, 7), self.step, np.float32),
        np.array(self.step, np.int64),
      ],
    }
    if 'policy' in names:
      self.fetched.append((self.identity, self.step))
    return [served[name] for name in names]


def test_each_version_is_fetched_once():
  learner = Learner()
  source = clients.ActingVariables(learner)
  (first,) = source.get_variables(['policy'])
  (again,) = source.get_variables(['policy'])
  assert again is first
  learner.step = 3
  ((matrix, step),) = source.get_variables(['policy'])
  np.testing.assert_array_equal(matrix, np.full((300, 7), 3))
  assert step == 3 and learner.fetched == [(1, 0), (1, 3)]


def test_another_learner_counts_anew():
  learner = Learner()
  learner.step = 9
  source = clients.ActingVariables(learner)
  source.get_variables(['policy'])
  learner.identity, learner.step = 2, 4  # Restarted at its last checkpoint.
  ((_, step),) = source.get_variables(['policy'])
  assert step == 4
  learner.identity, learner.step = 3, 4
  source.get_variables(['policy'])
  assert learner.fetched == [(1, 9), (2, 4), (3, 4)]


@pytest.mark.parametrize(
  ('fetched', 'lag', 'expected'),
  [
    (range(8), 3, [0, 0, 0, 0, 1, 2, 3, 4]),
    # The least more that the fetches allow.
    ([0, 5, 10, 12, 15, 30], 4, [0, 0, 5, 5, 10, 15]),
    # The same step fetched again.
    ([0, 0, 2, 2, 2, 3, 4, 4], 2, [0, 0, 0, 0, 0, 0, 2, 2]),
    ([0, 3, 4], 0, [0, 3, 4]),
  ],
)
def test_variables_are_old_enough_for_the_lag(fetched, lag, expected):
  learner = Learner()
  source = clients.ActingVariables(learner, lag)
  found = []
  for learner.step in fetched:
    ((matrix, step),) = source.get_variables(['policy'])
    assert (matrix == step).all()
    found.append(int(step))
  assert found == expected


def test_a_restarted_learner_gets_no_variables_of_the_lost_one():
  learner = Learner()
  source = clients.ActingVariables(learner, lag=40)
  for learner.step in range(900, 951, 10):
    source.get_variables(['policy'])
  learner.identity, learner.step = 2, 500
  ((_, step),) = source.get_variables(['policy'])
  assert step == 500
