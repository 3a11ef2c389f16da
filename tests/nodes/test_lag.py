import numpy as np
import pytest

from programs.nodes import clients


class Source:
  """Answers with its steps one after the other."""

  def __init__(self, steps):
    self._steps = iter(steps)

  def get_variables(self, names):
    assert names == ['policy']
    step = next(self._steps)
    return [[np.array([step / 10]), np.int64(step)]]


def given(steps, behind):
  """The learner steps of what is given for each fetch."""
  variables = clients.LaggedVariables(Source(steps), behind)
  answers = [variables.get_variables(['policy']) for _ in steps]
  for ((first, step),) in answers:
    assert first[0] == pytest.approx(step / 10)  # Arrays of one answer.
  return [int(answer[0][-1]) for answer in answers]


@pytest.mark.parametrize(
  ('fetched', 'behind', 'expected'),
  [
    (range(8), 3, [0, 0, 0, 0, 1, 2, 3, 4]),
    # The least more that the fetches allow.
    ([0, 5, 10, 12, 15, 30], 4, [0, 0, 5, 5, 10, 15]),
    # The same step fetched again.
    ([0, 0, 2, 2, 2, 3, 4, 4], 2, [0, 0, 0, 0, 0, 0, 2, 2]),
    ([0, 3, 4], 0, [0, 3, 4]),
  ],
)
def test_what_is_given_is_old_enough(fetched, behind, expected):
  assert given(fetched, behind) == expected
