import numpy as np
import pytest

from agents.impala import lag


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
  variables = lag.LaggedVariables(Source(steps), behind)
  answers = [variables.get_variables(['policy']) for _ in steps]
  for ((first, step),) in answers:
    assert first[0] == pytest.approx(step / 10)  # Arrays of one answer.
  return [int(answer[0][-1]) for answer in answers]


def test_every_step_fetched():
  assert given(range(8), 3) == [0, 0, 0, 0, 1, 2, 3, 4]


def test_the_least_more_that_the_fetches_allow():
  assert given([0, 5, 10, 12, 15, 30], 4) == [0, 0, 5, 5, 10, 15]


def test_the_same_step_fetched_again():
  assert given([0, 0, 2, 2, 2, 3, 4, 4], 2) == [0, 0, 0, 0, 0, 0, 2, 2]


def test_no_lag_is_what_is_fetched():
  assert given([0, 3, 4], 0) == [0, 3, 4]


def test_answers_that_are_too_old_are_dropped():
  variables = lag.LaggedVariables(Source(range(100)), 5)
  for _ in range(100):
    variables.get_variables(['policy'])
  assert len(variables._answers) == 6
