"""Runs side by side: their groups, curves and scores."""

import csv
import io
import math
import pathlib

import numpy as np
import pytest
from run_files import write_results_run

from programs.views import comparison, reading, scores

RISING = [(frames, 'catch', frames / 100) for frames in range(10, 101, 10)]
# Student's t of 2 degrees of freedom is 4.3027; the error is 1 / sqrt(3).
HALF = 4.302653 / math.sqrt(3)


def read(path):
  run = reading.Run(path)
  run.refresh()
  return run


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
  """Compare three seeds of a configuration and a run of another."""
  root = tmp_path_factory.mktemp('compared')
  for seed, shift in ((1, 0.0), (2, 1.0), (3, 2.0)):
    write_results_run(
      root / f'seed{seed}',
      [(f, level, r + shift) for f, level, r in RISING],
      [
        ('50', 50, {'catch': [shift, shift + 1]}),
        ('100', 100, {'catch': [shift - 1, shift]}),
      ],
      seed=seed,
      watchdog_seconds=seed + 1.0,  # Does not change what is learned.
    )
  write_results_run(root / 'other', RISING[:5], seed=1, correction='none')
  names = ('seed1', 'seed2', 'seed3', 'other')
  return comparison.compare({name: read(root / name) for name in names})


def test_runs_that_differ_only_in_their_seed_are_one_group(compared):
  assert [
    (run['name'], run['group'], run['seed'], run['state'])
    for run in compared['runs']
  ] == [
    *((f'seed{n}', 'correction=vtrace', n, 'finished') for n in (1, 2, 3)),
    ('other', 'correction=none', 1, 'finished'),
  ]
  assert compared['differing'] == [
    {'name': 'watchdog_seconds', 'values': [2.0, 3.0, 4.0, 60.0]},
    {'name': 'correction', 'values': ['vtrace'] * 3 + ['none']},
    {'name': 'seed', 'values': [1, 2, 3, 1]},
  ]


def test_scores_of_runs_and_over_seeds(compared):
  # The mean of 100 frames is shift - 0.5: over seeds -0.5, 0.5, 1.5.
  last, best, *of_runs = compared['scores']
  assert (last['evaluation'], last['frames'], last['runs']) == ('last', 100, 3)
  assert last['mean_return'] == pytest.approx(0.5)
  assert last['mean_return_low'] == pytest.approx(0.5 - HALF, rel=1e-6)
  assert last['mean_return_high'] == pytest.approx(0.5 + HALF, rel=1e-6)
  assert (best['evaluation'], best['frames']) == ('best', 50)
  assert best['mean_return'] == pytest.approx(1.5)
  assert [(r['run'], r['evaluation'], r['mean_return']) for r in of_runs] == [
    (f'seed{n}', name, n - 1 + mean)
    for n in (1, 2, 3)
    for name, mean in (('last', -0.5), ('best', 0.5))
  ]
  table = scores.to_csv(compared['scores'])
  records = [*csv.DictReader(io.StringIO(table))]
  assert len(records) == 8
  assert (records[0]['run'], records[0]['runs']) == ('', '3')
  assert float(records[0]['mean_return_low']) == pytest.approx(0.5 - HALF)


def test_curves_over_seeds(compared):
  several, single = compared['curves']['catch']
  assert (several['x'][0], several['x'][-1]) == (10, 100)
  # Returns are frames / 100, and one or two more.
  middle = several['x'][100] / 100 + 1
  assert several['y'][100] == pytest.approx(middle)
  assert several['low'][100] == pytest.approx(middle - HALF)
  assert several['high'][100] == pytest.approx(middle + HALF)
  assert len(several['lines']) == 3 and len(several['points']) == 6
  assert 'low' not in single and single['points'] == []


def test_curves_stop_where_the_shortest_run_stops():
  short = np.array([[10.0, 60.0], [0.0, 1.0]])
  long = np.array([[0.0, 100.0], [0.0, 1.0]])
  curve = comparison._make_curve([short, long])
  assert (curve['x'][0], curve['x'][-1]) == (10, 60)
  assert curve['y'][-1] == pytest.approx((1 + 0.6) / 2)
  assert np.isfinite(curve['low']).all()


def test_levels_of_other_runs_and_human_scores(tmp_path):
  write_results_run(tmp_path / 'a', RISING, [('100', 100, {'catch': [1.0]})])
  names = 'atari_pong,atari_breakout'
  human = {'atari_pong': [14.6, 14.6], 'atari_breakout': [1.7, 1.7]}
  returns = [(f, name, 1.7 + f) for f in (10, 20) for name in human]
  evaluations = [
    ('20', 20, human),
    ('20_4episodes', 20, {'atari_pong': [-20.7]}),
  ]
  write_results_run(tmp_path / 'b', returns, evaluations, level_name=names)
  runs = {name: read(tmp_path / name) for name in ('a', 'b')}
  content = comparison.compare(runs)
  assert content['groups'] == ['catch', names]
  assert list(content['curves']) == ['catch', 'atari_pong', 'atari_breakout']
  found = {
    (each['run'], each['level_name'], each['evaluation']): each[
      'human_normalised'
    ]
    for each in content['scores']
  }
  assert found['a', 'catch', 'last'] is None
  assert found['b', 'atari_pong', 'last'] == pytest.approx(100)
  assert found['b', 'atari_breakout', 'best'] == pytest.approx(0)
  # The median of 0 and 100.
  assert found['b', 'all 2 levels', 'last'] == pytest.approx(50)
  assert found['b', 'atari_pong', '20_4episodes'] == pytest.approx(0)
  assert len(found) == 9


def test_a_suite_has_its_median_and_its_test_levels(tmp_path):
  level = 'rooms_collect_good_objects_train'
  directory = write_results_run(
    tmp_path / 'run',
    [(30, level, 4.0)],
    [('30', 30, {'rooms_collect_good_objects_test': [10.0]})],
    level_name='dmlab30',
    num_actors=30,
  )
  (directory.metrics / 'dmlab30.csv').write_text(
    'frames,time,training_median\n10,1,5\n20,2,nan\n30,3,15\n'
  )
  curves = comparison.make_curves({'a': ['x']}, {'x': read(directory.path)})
  assert list(curves) == ['dmlab30, median human %', level]
  (median,), (trained,) = curves.values()
  assert (median['y'][0], median['y'][-1]) == (5, 15)
  assert trained['points'] == [[30, 10.0, None, None]]


def test_names_are_unique():
  def names(*paths):
    return comparison.names([pathlib.Path(path) for path in paths])

  assert names('/a/x', '/b/y') == ['x', 'y']
  assert names('/r/a/run', '/r/b/run') == ['a/run', 'b/run']
  assert names('/r/run', '/r/b/run') == ['run', 'b/run']
