import numpy as np
import pytest

from environments import suites

ATARI, DMLAB = suites.suites()['atari57'], suites.suites()['dmlab30']


def test_sizes():
  assert len(ATARI.levels) == len(set(ATARI.levels)) == 57
  assert len(DMLAB.levels) == len(set(DMLAB.levels)) == 30
  assert len(set(DMLAB.test_levels)) == 30
  assert ATARI.levels == ATARI.test_levels
  for suite in (ATARI, DMLAB):
    assert set(suite.random_scores) == set(suite.test_levels)
    assert set(suite.human_scores) == set(suite.test_levels)


def test_two_levels_of_dmlab_have_another_name_when_tested():
  different = {
    train: test
    for train, test in zip(DMLAB.levels, DMLAB.test_levels, strict=True)
    if train != test
  }
  assert different == {
    'rooms_collect_good_objects_train': 'rooms_collect_good_objects_test',
    'rooms_exploit_deferred_effects_train': (
      'rooms_exploit_deferred_effects_test'
    ),
  }


def test_random_is_0_and_human_is_100():
  for suite in (ATARI, DMLAB):
    for scores, expected in (
      (suite.random_scores, 0.0),
      (suite.human_scores, 100.0),
    ):
      # Under the names trained on; scores have those that are tested.
      returns = {
        level: [scores[test]]
        for level, test in zip(suite.levels, suite.test_levels, strict=True)
      }
      found = suite.normalised_scores(returns)
      assert list(found) == list(suite.test_levels)
      np.testing.assert_allclose(list(found.values()), expected, atol=1e-9)


def test_a_published_figure():
  # Pong 20.40 is 116 per cent of a human, Breakout 640.43 is 2218.
  assert round(suites.normalised_score('atari_pong', 20.40)) == 116
  assert round(suites.normalised_score('atari_breakout', 640.43)) == 2218
  assert suites.normalised_score('catch', 1.0) is None


def test_the_mean_of_the_returns_is_taken_before_the_cap():
  returns = {level: [score] for level, score in DMLAB.human_scores.items()}
  level = 'rooms_watermaze'
  span = DMLAB.human_scores[level] - DMLAB.random_scores[level]
  returns[level] = [
    DMLAB.random_scores[level] + 3 * span,
    DMLAB.random_scores[level] - 2 * span,
  ]
  scores = DMLAB.normalised_scores(returns)
  assert scores[level] == pytest.approx(50)
  assert suites.capped_mean(scores, 100) == pytest.approx((29 * 100 + 50) / 30)
  returns[level] = [DMLAB.random_scores[level] + 4 * span]
  scores = DMLAB.normalised_scores(returns)
  assert suites.capped_mean(scores, 100) == pytest.approx(100)
  assert suites.capped_mean(scores, np.inf) == pytest.approx(110)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'rooms_watermaze': []}, "got none of 'rooms_watermaze'"),
    ({'rooms_watermaze': None}, "got none of 'rooms_watermaze'"),
    ({'atari_pong': [1.0]}, "must be of dmlab30, got 'atari_pong'"),
  ],
)
def test_missing_and_unknown_levels_are_refused(change, message):
  returns = {level: [1.0] for level in DMLAB.levels} | change
  returns = {level: each for level, each in returns.items() if each is not None}
  with pytest.raises(ValueError, match=message):
    DMLAB.normalised_scores(returns)


def test_names_that_mean_several_levels():
  assert suites.split('catch') == ('catch',)
  assert suites.split('a,b') == ('a', 'b')
  assert suites.split('dmlab30') == DMLAB.levels
  assert suites.split('dmlab30', evaluation=True) == DMLAB.test_levels
  assert suites.split('atari57') == ATARI.levels
