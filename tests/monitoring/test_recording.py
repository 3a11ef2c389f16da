"""Files of records: appended, thinned, followed."""

import itertools
import json
import os

import pytest
from records import make_record

from programs.monitoring import recording


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'metrics' / 'graph.jsonl'


def record(number, **more):
  return {**make_record(number, **more), 'n': number}


def numbers(records):
  return [record['n'] for record in records]


def test_what_is_written_is_read(path):
  recorder, reader = recording.Recorder(path), recording.Reader(path)
  assert reader.read() == []
  nodes = {'actor/0': {'seconds': {'a': 0.5}}}
  recorder.write(record(1, nodes=nodes))
  assert reader.read() == [record(1, nodes=nodes)]
  assert reader.is_new_file
  recorder.write(record(2))
  assert numbers(reader.read()) == [2]
  assert not reader.is_new_file
  assert reader.read() == []


def test_incomplete_lines_are_left_for_later_or_skipped(path):
  recording.Recorder(path).write(record(1))
  reader = recording.Reader(path)
  lines = [json.dumps(record(number)).encode() for number in range(5)]
  with open(path, 'ab') as file:
    file.write(lines[2][:7])
    file.flush()
    assert numbers(reader.read()) == [1]
    file.write(lines[2][7:] + b'\n' + lines[3][:7])
  assert numbers(reader.read()) == [2]
  with open(path, 'ab') as file:
    file.write(lines[4] + b'\n')  # A crash, and another start.
  assert reader.read() == []
  recording.Recorder(path).write(record(5))
  assert numbers(reader.read()) == [5]


def test_a_long_file_is_thinned_and_keeps_the_newest(path):
  recorder = recording.Recorder(path, max_bytes=10_000)
  reader, seen = recording.Reader(path), []
  for number in range(1000):
    recorder.write(record(number))
    if number % 10 == 0:
      seen.append(numbers(reader.read())[-1])
  assert seen == list(range(0, 1000, 10))  # Whatever was thinned meanwhile.
  assert path.stat().st_size <= 10_000
  kept = numbers(recording.Reader(path).read())
  assert kept == sorted(kept) and kept[-1] == 999
  # Older records lie farther apart but cover the whole time.
  assert kept[0] < 600 and len(kept) > 30
  gaps = [b - a for a, b in itertools.pairwise(kept)]
  assert gaps[0] > gaps[-1] == 1
  assert os.listdir(path.parent) == [path.name]


def test_a_replaced_file_is_read_from_its_start(path):
  recorder = recording.Recorder(path)
  for number in range(10):
    recorder.write(record(number))
  reader = recording.Reader(path)
  reader.read()
  path.rename(path.with_name('old'))
  assert reader.read() == []
  for number in range(20, 40):
    recording.Recorder(path).write(record(number))
  assert numbers(reader.read()) == list(range(20, 40))
  assert reader.is_new_file
