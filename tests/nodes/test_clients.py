"""Variables are fetched when there are newer ones."""

import numpy as np

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
  source = clients.NewestVariables(learner)
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
  source = clients.NewestVariables(learner)
  source.get_variables(['policy'])
  learner.identity, learner.step = 2, 4  # Restarted at its last checkpoint.
  ((_, step),) = source.get_variables(['policy'])
  assert step == 4
  learner.identity, learner.step = 3, 4
  source.get_variables(['policy'])
  assert learner.fetched == [(1, 9), (2, 4), (3, 4)]
