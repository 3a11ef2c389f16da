"""CSV files that grow, are cut short and replaced; curves; results."""

import math

import pytest
from run_files import write_csv

from programs.views import metrics


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'metrics.csv'


def test_only_complete_records(path):
  tail = metrics.CsvReader(path, from_start=False)
  got = []
  for character in 'a,bb\n1,2\n3.5,nan\n':
    with open(path, 'a', encoding='utf-8') as file:
      file.write(character)
    got += tail.read()
  assert got[0] == {'a': 1.0, 'bb': 2.0}
  assert got[1]['a'] == 3.5 and math.isnan(got[1]['bb'])
  assert len(got) == 2


def test_a_replaced_file(path):
  """Read a file whose columns have changed."""
  write_csv(path, *[{'a': number} for number in range(100)])
  tail = metrics.CsvReader(path, from_start=False)
  path.unlink()
  write_csv(path, {'a': 7, 'b': 8})
  assert tail.read() == [{'a': 7.0, 'b': 8.0}]
  write_csv(path, {'a': 9, 'b': 10})
  assert tail.read() == [{'a': 9.0, 'b': 10.0}]


def test_an_incomplete_record_is_skipped(path):
  """Read past a line that a crash cut short and a later start continued."""
  write_csv(path, {'a': 1, 'b': 2})
  tails = [metrics.CsvReader(path, from_start=False)]
  with open(path, 'a', encoding='utf-8') as file:
    file.write('3,')
  tails.append(metrics.CsvReader(path, from_start=False))
  write_csv(path, {'a': 5, 'b': 6}, {'a': 7, 'b': 8})
  for tail in tails:
    assert tail.read()[-1] == {'a': 7.0, 'b': 8.0}


def test_files_of_other_columns_come_first(path):
  write_csv(path.with_name('metrics.before-2.csv'), {'a': 2}, {'a': 3})
  write_csv(path.with_name('metrics.before-1.csv'), {'b': 1})
  write_csv(path, {'a': 4, 'name': 'x'})
  file = metrics.CsvReader(path)
  assert file.read() == [
    {'b': 1.0},
    {'a': 2.0},
    {'a': 3.0},
    {'a': 4.0, 'name': 'x'},
  ]
  assert file.is_new_file
  assert file.read() == [] and not file.is_new_file


def test_a_file_that_disappears_and_returns(path):
  file = metrics.CsvReader(path)
  assert file.read() == [] and not file.is_new_file
  write_csv(path, {'a': 1})
  assert file.read() == [{'a': 1.0}] and file.is_new_file
  path.rename(path.with_name('aside'))
  assert file.read() == [] and file.is_new_file
  assert file.read() == [] and not file.is_new_file
  write_csv(path, {'a': 2})
  assert file.read() == [{'a': 2.0}] and file.is_new_file


def test_zeros_after_a_power_cut(path):
  write_csv(path, {'a': 1})
  with open(path, 'ab') as file:
    file.write(b'\0' * 100 + b'\n')
  write_csv(path, {'a': 2})
  assert metrics.CsvReader(path).read() == [{'a': 1.0}, {'a': 2.0}]


def test_a_curve_has_a_maximum_length():
  curve = metrics.Curve()
  for x in range(100_000):
    curve.add(x, 2 * x)
    curve.add(x, math.nan)
  found = curve.to_dict()
  points = [*zip(found['x'], found['y'], strict=True)]
  assert metrics.MAX_POINTS / 2 <= len(points) <= metrics.MAX_POINTS
  assert all(y == 2 * x for x, y in points)
  assert points[0][0] < 500 and points[-1][0] > 99_500


def test_a_resumed_run_replaces_lost_values():
  curve = metrics.Curve()
  for x in (1, 2, 3, 4, 5, 3.5, 4.5):
    curve.add(x, x)
  assert curve.to_dict()['x'] == [1, 2, 3, 3.5, 4.5]


@pytest.mark.parametrize(
  'text',
  [
    '[]',
    '{"trained_frames": 1, "levels": 1, "summary": {}}',
    '{"trained_frames": 1, "summary": {"mean_return": 1, "episodes": 1}, '
    '"levels": [{"episodes": 1, "mean_return": null}]}',
    '{"trained_frames": 1, "summary": {}, "levels": []}',
  ],
)
def test_damaged_results_are_skipped(tmp_path, text):
  (tmp_path / 'results.json').write_text(text)
  assert metrics.read_results(tmp_path / 'results.json') is None
