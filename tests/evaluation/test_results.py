"""Statistics and files of evaluations."""

import csv
import io
import json
import pathlib

import numpy as np
import pytest
import rich.console
import scipy.stats

from environments import suites
from programs.evaluation import results, tables

PAPER = pathlib.Path(__file__).with_name('impala_paper_atari57.csv')
# Of Table 4 of arXiv 1802.01561v3: median over the 57 games.
MEDIANS = {
  'impala_shallow': 93.2,
  'impala_deep': 191.8,
  'impala_deep_multitask': 59.7,
}


def result(level, returns, steps=None):
  steps = steps or [10] * len(returns)
  return results.LevelResult(level, returns, steps, 4 * sum(steps))


def write(directory, *levels):
  results.write_results(
    directory, levels, trained_frames=5, seed=3, greedy=False
  )
  return directory / 'results.json'


def test_a_level_without_a_human_score(tmp_path):
  path = write(tmp_path, result('catch', [1.0, -1.0, 1.0]))
  content = json.loads(path.read_text())
  (level,) = content['levels']
  assert level['mean_return'] == pytest.approx(1 / 3)
  assert level['standard_error'] == pytest.approx(2 / 3)
  assert (level['mean_return_low'], level['mean_return_high']) == (-1, 1)
  assert level['human_normalised'] is None
  assert level['human_normalised_capped'] is None
  assert level['returns'] == [1.0, -1.0, 1.0]
  assert 'median' not in content['summary']
  with open(tmp_path / 'results.csv', encoding='utf-8') as file:
    (row,) = csv.DictReader(file)
  assert (row['episodes'], row['human_normalised']) == ('3', '')


def test_levels_with_human_scores(tmp_path):
  path = write(
    tmp_path,
    result('atari_pong', [14.6, 14.6]),
    result('atari_breakout', [1.7 + 5 * 28.8] * 2),
    result('atari_boxing', [0.1, 0.1]),
    result('atari_freeway', [14.8, 14.8]),
  )
  content = json.loads(path.read_text())
  for name, wanted in (
    ('human_normalised', [100, 500, 0, 50]),
    ('human_normalised_capped', [100, 100, 0, 50]),
  ):
    np.testing.assert_allclose(
      [level[name] for level in content['levels']], wanted, atol=1e-6
    )
  summary = content['summary']
  assert summary['episodes'] == 8
  for name, wanted in (
    ('no_cap', 650 / 4),
    ('cap_100', 250 / 4),
    ('median', 75),
    ('iqm', 75),  # The middle half of four.
  ):
    assert summary[name] == pytest.approx(wanted)
    # Equal returns have an empty interval.
    assert summary[f'{name}_low'] == pytest.approx(wanted)
    assert summary[f'{name}_high'] == pytest.approx(wanted)
  output = io.StringIO()
  rich.console.Console(file=output, width=120).print(tables.table(path))
  assert all(shown in output.getvalue() for shown in ('500.0', '162.5', '62.5'))


def test_one_row_for_all_levels():
  row = results.summarise(
    [result('catch', [1.0, 0.0], [9, 9]), result('memory', [-1.0], [10])]
  )
  assert row['episodes'] == 3
  assert row['mean_return'] == pytest.approx(-0.25)  # Levels weigh the same.
  assert (row['min_return'], row['max_return']) == (-1.0, 1.0)
  # One episode has neither.
  assert row['standard_error'] is None
  assert row['mean_return_low'] is row['mean_return_high'] is None


def test_results_have_no_nan(tmp_path):
  path = write(tmp_path, result('catch', [1.0]))
  json.loads(path.read_text(), parse_constant=pytest.fail)


def test_the_interval_of_a_level_is_the_percentile_bootstraps():
  returns = np.random.default_rng(3).normal(10, 4, 50)
  row = result('catch', returns.tolist()).summary()
  wanted = scipy.stats.bootstrap(
    (returns,), np.mean, n_resamples=20_000, method='percentile', random_state=1
  ).confidence_interval
  assert row['mean_return_low'] == pytest.approx(wanted.low, abs=0.15)
  assert row['mean_return_high'] == pytest.approx(wanted.high, abs=0.15)


def test_the_medians_of_the_paper():
  with open(PAPER, newline='', encoding='utf-8') as file:
    games = list(csv.DictReader(file))
  assert len(games) == 57
  for agent, median in MEDIANS.items():
    summary = results.summarise(
      [
        result(f'{suites.ATARI_PREFIX}{game["game"]}', [float(game[agent])])
        for game in games
      ]
    )
    assert round(summary['median'], 1) == median
    # Because of Video Pinball; the paper's means are 466, 958 and 177.
    assert summary['no_cap'] > 2 * summary['cap_100']


@pytest.mark.parametrize('num_levels', [1, 3, 4, 7, 57])
def test_the_interquartile_mean_is_scipys(num_levels):
  games = suites.suites()['atari57'].levels[:num_levels]
  returns = np.random.default_rng(num_levels).normal(size=num_levels)
  played = [
    result(*each) for each in zip(games, returns[:, None].tolist(), strict=True)
  ]
  scores = [each.summary()['human_normalised'] for each in played]
  wanted = scipy.stats.trim_mean(scores, 0.25)
  assert results.summarise(played)['iqm'] == pytest.approx(wanted)
