import csv

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from agents.impala import metrics
from environments import suites
from programs.evaluation import results
from programs.runs import flags, metric_files, run_directory


def make(tmp_path, **given):
  return metric_files.LevelMetrics(
    flags.resolve({'logdir': str(tmp_path), **given})
  )


def episodes(*played):
  """Return episodes of (level, return, steps)."""
  level, returns, steps = zip(*played, strict=True) if played else ((), (), ())
  return metrics.Episodes(
    np.array(level, np.int32),
    np.array(returns, np.float32),
    np.array(steps, np.int32),
  )


def rows(tmp_path, name):
  with open(tmp_path / 'metrics' / name, encoding='utf-8') as file:
    return list(csv.DictReader(file))


def summaries(tmp_path, folder='levels'):
  """Return tag -> {step: value} of all event files."""
  found = {}
  for file in (tmp_path / 'tensorboard' / folder).glob('events*'):
    events = event_accumulator.EventAccumulator(
      str(file), {event_accumulator.TENSORS: 0}
    )
    events.Reload()
    for tag in events.Tags()['tensors']:
      for event in events.Tensors(tag):
        value = tf.make_ndarray(event.tensor_proto)
        found.setdefault(tag, {})[event.step] = float(value)
  return found


def test_a_record_for_each_level_with_episodes(tmp_path):
  names = 'atari_pong,atari_breakout,atari_qbert'
  levels = make(tmp_path, level_name=names, log_period_seconds=1e-9)
  levels.add(100, episodes((0, 1.0, 10), (2, 50.0, 20), (0, 3.0, 30)))
  levels.add(200, episodes())
  levels.add(300, episodes((1, 7.0, 5)))
  levels.close()
  found = [
    (r['frames'], r['level_name'], r['episodes'], r['episode_return'])
    for r in rows(tmp_path, 'levels.csv')
  ]
  assert found == [
    ('100', 'atari_pong', '2', '2.0'),
    ('100', 'atari_qbert', '1', '50.0'),
    ('300', 'atari_breakout', '1', '7.0'),
  ]
  # Frames are agent steps times the four action repeats of Atari.
  assert rows(tmp_path, 'levels.csv')[0]['episode_frames'] == '80.0'
  assert summaries(tmp_path) == {
    'atari_pong/episode_return': {100: 2.0},
    'atari_pong/episode_frames': {100: 80.0},
    'atari_qbert/episode_return': {100: 50.0},
    'atari_qbert/episode_frames': {100: 80.0},
    'atari_breakout/episode_return': {300: 7.0},
    'atari_breakout/episode_frames': {300: 20.0},
  }
  assert {file.name for file in (tmp_path / 'metrics').iterdir()} == {
    'levels.csv'
  }


def test_a_file_of_other_columns_is_kept_aside(tmp_path):
  path = tmp_path / 'metrics/levels.csv'
  path.parent.mkdir()
  path.write_text('frames,level_name\n1,catch\n')
  levels = make(tmp_path)
  levels.add(5, episodes((0, 1.0, 9)))
  levels.close()
  (row,) = rows(tmp_path, 'levels.csv')
  assert row['frames'] == '5'
  (aside,) = path.parent.glob('levels.before-*.csv')
  assert aside.read_text() == 'frames,level_name\n1,catch\n'
  again = make(tmp_path)
  again.add(9, episodes((0, 1.0, 9)))
  again.close()
  assert [row['frames'] for row in rows(tmp_path, 'levels.csv')] == ['5', '9']


def test_a_suite_is_scored_when_every_level_has_a_new_episode(tmp_path):
  suite = suites.suites()['dmlab30']
  levels = make(tmp_path, level_name='dmlab30', log_period_seconds=1000.0)
  human = [suite.human_scores[test] for test in suite.test_levels]
  random = [suite.random_scores[test] for test in suite.test_levels]
  for level in range(29):
    levels.add(level, episodes((level, human[level], 9)))
  levels.add(29, episodes((3, human[3], 9)))
  assert not (tmp_path / 'metrics/dmlab30.csv').read_text()
  double = human[29] + (human[29] - random[29])
  levels.add(30, episodes((29, double, 9)))
  levels.add(31, episodes(*((level, random[level], 9) for level in range(30))))
  levels.close()
  found = [
    (
      int(row['frames']),
      *(
        pytest.approx(float(row[f'training_{name}']), abs=1e-4)
        for name in ('no_cap', 'cap_100', 'median')
      ),
    )
    for row in rows(tmp_path, 'dmlab30.csv')
  ]
  assert found == [(30, (29 * 100 + 200) / 30, 100, 100), (31, 0, 0, 0)]
  tags = summaries(tmp_path)
  assert tags['dmlab30/training_cap_100'] == pytest.approx(
    {30: 100, 31: 0}, abs=1e-3
  )
  assert set(tags['dmlab30/training_no_cap']) == {30, 31}


def test_evaluations_by_level_and_together(tmp_path):
  evaluations = metric_files.EvaluationMetrics(
    run_directory.RunDirectory(tmp_path)
  )
  for frames, returns in ((100, [-20.7]), (200, [14.6, 14.6])):
    levels = [
      results.LevelResult('atari_pong', returns, [5] * len(returns), 20),
      results.LevelResult('atari_breakout', [1.7] * len(returns), [5], 20),
    ]
    evaluations.add(
      frames, [each.summary() for each in levels], results.summarise(levels)
    )
  evaluations.close()
  first, second = rows(tmp_path, 'evaluator.csv')
  assert (first['frames'], second['frames']) == ('100', '200')
  assert (first['median_low'], first['standard_error']) == ('nan', 'nan')
  for name in ('median', 'median_low', 'median_high', 'no_cap', 'iqm'):
    assert float(second[name]) == pytest.approx(50)
  tags = summaries(tmp_path, 'evaluations')
  assert tags == {
    'atari_pong/evaluation_return': pytest.approx({100: -20.7, 200: 14.6}),
    'atari_pong/evaluation_human_normalised': pytest.approx(
      {100: 0, 200: 100}, abs=1e-4
    ),
    'atari_breakout/evaluation_return': pytest.approx({100: 1.7, 200: 1.7}),
    'atari_breakout/evaluation_human_normalised': pytest.approx(
      {100: 0, 200: 0}, abs=1e-4
    ),
  }
