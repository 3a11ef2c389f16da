import json

import pytest
import tensorflow as tf

from programs.evaluation import evaluator
from programs.runs import checkpoints


def make(folder):
  weight = tf.Variable(0.0)
  return weight, evaluator.BestCheckpoint(folder, {'network': weight})


def offer(best, weight, frames, score, num_levels=1, **scores):
  weight.assign(float(frames))
  summary = {'mean_return': score, **scores}
  best.offer(frames, summary, num_levels)


def kept(folder):
  """Return frames and score of the one checkpoint."""
  (path,) = checkpoints.newest_first(folder)
  assert [file.stem for file in folder.glob('*.index')] == [path.split('/')[-1]]
  weight = tf.Variable(0.0)
  checkpoints.Checkpoints(folder, {'network': weight}).restore()
  facts = json.loads((folder / 'best.json').read_text())
  assert facts['frames'] == int(weight.numpy())
  return facts['frames'], facts['score']


def test_the_best_stays_until_a_better_one_comes(tmp_path):
  weight, best = make(tmp_path)
  offer(best, weight, 10, -5.0)
  assert kept(tmp_path) == (10, -5.0)
  offer(best, weight, 20, 3.0)
  offer(best, weight, 30, 2.0)
  assert kept(tmp_path) == (20, 3.0)
  offer(best, weight, 40, 3.0)  # As good and longer trained.
  assert kept(tmp_path) == (40, 3.0)


def test_an_earlier_start_of_the_run_counts(tmp_path):
  weight, best = make(tmp_path)
  offer(best, weight, 10, 3.0)
  weight, best = make(tmp_path)
  offer(best, weight, 20, 2.0)
  assert kept(tmp_path) == (10, 3.0)
  offer(best, weight, 30, 4.0)
  assert kept(tmp_path) == (30, 4.0)


def test_a_suite_is_judged_by_its_capped_mean(tmp_path):
  weight, best = make(tmp_path)
  offer(best, weight, 10, 1000.0, num_levels=2, cap_100=40.0)
  offer(best, weight, 20, 10.0, num_levels=2, cap_100=50.0)
  assert kept(tmp_path) == (20, 50.0)


@pytest.mark.parametrize('scores', [{}, {'cap_100': 1.0}])
def test_one_level_and_levels_without_scores_by_their_returns(tmp_path, scores):
  weight, best = make(tmp_path)
  num_levels = 1 if scores else 2
  offer(best, weight, 10, 8.0, num_levels, **scores)
  offer(best, weight, 20, 9.0, num_levels, **scores)
  assert kept(tmp_path) == (20, 9.0)
