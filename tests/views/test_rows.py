"""CSV files that grow, are cut short and replaced."""

import csv
import math

import pytest

from programs.views import rows


def append(path, *written):
  """Appends rows as the loggers do, the header first."""
  with open(path, 'a', encoding='utf-8') as file:
    writer = csv.DictWriter(file, sorted(written[0]))
    if not file.tell():
      writer.writeheader()
    writer.writerows(written)


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'metrics.csv'


def test_only_whole_rows(path):
  tail = rows.Rows(path, from_start=False)
  got = []
  for character in 'a,bb\n1,2\n3.5,nan\n':
    with open(path, 'a', encoding='utf-8') as file:
      file.write(character)
    got += tail.read()
  assert got[0] == {'a': 1.0, 'bb': 2.0}
  assert got[1]['a'] == 3.5 and math.isnan(got[1]['bb'])
  assert len(got) == 2


def test_a_file_that_begins_anew(path):
  """As one does whose columns are others than those of before."""
  append(path, *[{'a': number} for number in range(100)])
  tail = rows.Rows(path, from_start=False)
  path.unlink()
  append(path, {'a': 7, 'b': 8})
  assert tail.read() == [{'a': 7.0, 'b': 8.0}]
  append(path, {'a': 9, 'b': 10})
  assert tail.read() == [{'a': 9.0, 'b': 10.0}]


def test_a_row_that_was_cut_short_is_passed_over(path):
  """As a full disk or a crash leaves it, and a later start goes on."""
  append(path, {'a': 1, 'b': 2})
  tails = [rows.Rows(path, from_start=False)]
  with open(path, 'a', encoding='utf-8') as file:
    file.write('3,')
  tails.append(rows.Rows(path, from_start=False))
  append(path, {'a': 5, 'b': 6}, {'a': 7, 'b': 8})
  for tail in tails:
    assert tail.read()[-1] == {'a': 7.0, 'b': 8.0}


def test_all_of_a_file_and_of_what_was_kept_beside_it(path):
  append(path.with_name('metrics.before-2.csv'), {'a': 2}, {'a': 3})
  append(path.with_name('metrics.before-1.csv'), {'b': 1})
  append(path, {'a': 4, 'name': 'x'})
  file = rows.Rows(path)
  assert file.read() == [
    {'b': 1.0},
    {'a': 2.0},
    {'a': 3.0},
    {'a': 4.0, 'name': 'x'},
  ]
  assert file.began_anew
  assert file.read() == [] and not file.began_anew


def test_a_file_that_goes_and_comes(path):
  file = rows.Rows(path)
  assert file.read() == [] and not file.began_anew
  append(path, {'a': 1})
  assert file.read() == [{'a': 1.0}] and file.began_anew
  path.rename(path.with_name('aside'))
  assert file.read() == [] and file.began_anew
  assert file.read() == [] and not file.began_anew
  append(path, {'a': 2})
  assert file.read() == [{'a': 2.0}] and file.began_anew


def test_zeros_that_a_power_cut_left(path):
  append(path, {'a': 1})
  with open(path, 'ab') as file:
    file.write(b'\0' * 100 + b'\n')
  append(path, {'a': 2})
  assert rows.Rows(path).read() == [{'a': 1.0}, {'a': 2.0}]
