import csv
import io
import json
import threading

import numpy as np
import pytest
import rich.console

import environments
from agents.impala import networks
from environments import suites
from programs import evaluation, flags


def result(level, returns, steps=None):
  steps = steps or [10] * len(returns)
  return evaluation.LevelResult(level, returns, steps, 4 * sum(steps))


def show(path):
  output = io.StringIO()
  rich.console.Console(file=output, width=120).print(evaluation.table(path))
  return output.getvalue()


def test_a_level_without_a_human_score(tmp_path):
  path = evaluation.write_results(
    tmp_path, [result('catch', [1.0, -1.0, 1.0])], trained_frames=5, greedy=True
  )
  content = json.loads(path.read_text())
  (level,) = content['levels']
  assert level['mean_return'] == pytest.approx(1 / 3)
  assert level['standard_error'] == pytest.approx(2 / 3)
  assert level['human_normalised'] is None
  assert level['returns'] == [1.0, -1.0, 1.0]
  assert 'median' not in content['summary']
  assert 'human' not in show(path)
  with open(tmp_path / 'results.csv', encoding='utf-8') as file:
    (row,) = csv.DictReader(file)
  assert (row['episodes'], row['human_normalised']) == ('3', '')


def test_levels_with_human_scores(tmp_path):
  results = [
    result('atari_pong', [14.6, 14.6]),
    result('atari_breakout', [1.7 + 5 * 28.8]),
    result('atari_boxing', [0.1]),
  ]
  path = evaluation.write_results(
    tmp_path, results, trained_frames=5, greedy=False
  )
  content = json.loads(path.read_text())
  scores = [level['human_normalised'] for level in content['levels']]
  np.testing.assert_allclose(scores, [100, 500, 0], atol=1e-6)
  summary = content['summary']
  assert summary['episodes'] == 4
  assert summary['no_cap'] == pytest.approx(200)
  assert summary['cap_100'] == pytest.approx(200 / 3)
  assert summary['median'] == pytest.approx(100)
  shown = show(path)
  assert '500.0' in shown
  assert 'mean 200.0, mean capped at 100 66.7, median 100.0' in ' '.join(
    shown.split()
  )


def test_one_row_for_all_levels():
  row = evaluation.summarise(
    [result('catch', [1.0, 0.0], [9, 9]), result('memory', [-1.0], [10])]
  )
  assert row['episodes'] == 3
  assert row['mean_return'] == pytest.approx(-0.25)  # Levels weigh the same.
  assert (row['min_return'], row['max_return']) == (-1.0, 1.0)
  assert row['standard_error'] is None  # One episode has none.


def test_results_are_json_that_everybody_reads(tmp_path):
  path = evaluation.write_results(
    tmp_path, [result('catch', [1.0])], trained_frames=5, greedy=False
  )

  def refuse(text):
    raise AssertionError(text)

  content = json.loads(path.read_text(), parse_constant=refuse)
  assert content['levels'][0]['standard_error'] is None
  assert '?' in show(path)


def test_every_level_of_a_suite_is_played(monkeypatch):
  """Of its test levels; here two embedded ones stand in for a suite's."""
  suite = suites.Suite('two', ('memory',), ('catch',), {}, {})
  monkeypatch.setattr(suites, 'suites', lambda: {'two': suite})
  configuration = flags.resolve({'level_name': 'catch'})
  spec = environments.spec('catch')
  network = networks.make_network(configuration.agent, spec.observations, 3)
  told = []
  results = evaluation.play(
    configuration,
    'two',
    network,
    num_episodes=3,
    seed=1,
    greedy=False,
    stop=threading.Event(),
    on_episode=told.append,
  )
  assert [each.level_name for each in results] == ['catch']
  assert len(results[0].returns) == 3
  assert results[0].frames == 27
  assert told == ['catch'] * 3
