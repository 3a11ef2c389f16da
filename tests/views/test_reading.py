"""Run directories that are complete, live, damaged or replaced."""

import time

import pytest
from run_files import (
  ENDED,
  LEARNER,
  LEVEL,
  RESULTS,
  make_records,
  record,
  write_csv,
  write_run,
)

from programs.runs import flags, run_directory
from programs.views import comparison, reading, view


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'run'


def read(path):
  run = reading.Run(path)
  run.refresh()
  return run


def test_nothing_there_is_no_error(path):
  run = read(path)
  assert (run.state, run.graph, run.statistics) == ('starting', None, None)
  assert run.config == {} and not run.learner.last and not run.evaluations.found
  with write_run(path).locked():
    run.refresh()
  assert run.state == 'starting' and run.graph
  run.refresh()
  assert run.state == 'lost'  # Killed before its first record.


@pytest.mark.parametrize(
  ('ended', 'started_ago', 'age', 'expected'),
  [
    (None, 90, 0, 'running'),
    (None, 90, 60, 'lost'),
    ({**ENDED, 'kind': 'failed'}, 90, 60, 'failed'),
    (None, 0, 60, 'lost'),  # Resumed, and killed before its first record.
  ],
)
def test_the_state_of_a_run(path, ended, started_ago, age, expected):
  write_run(path, started_ago, ended)
  record(path, make_records(time.time() - age - 11))
  run = read(path)
  assert run.state == expected
  assert run.statistics and run.verdict


def test_a_restarted_run_has_no_statistics_yet(path):
  with write_run(path, age=0).locked():
    record(path, make_records(time.time() - 71))
    run = read(path)
  assert (run.state, run.statistics) == ('starting', None)


def test_a_run_without_a_monitor(path):
  with write_run(path, monitor=False).locked():
    assert read(path).state == 'running'


@pytest.mark.parametrize('calls', [{}, {'waiting_for_data': 9}])
@pytest.mark.parametrize('ended', [None, ENDED])
def test_no_verdict_while_no_data_flows(path, calls, ended):
  """Give none while nodes start and while the final evaluation runs."""
  records = [*make_records(time.time() - 11)]
  for each in records:
    activity = 'nothing_to_do' if calls else 'waiting_for_data'
    each['nodes']['learner/0'] |= {'calls': calls, 'activity': activity}
    each['nodes']['learner/0']['kinds'] |= {'nothing_to_do': 'idle'}
  write_run(path, 90, ended)
  record(path, records)
  run = read(path)
  assert run.statistics and run.verdict is None


def test_the_final_evaluation_is_not_judged(path):
  now = time.time()
  *_, last = make_records(now - 11, blocked=0.1)
  write_run(path, 90, ENDED)
  record(path, make_records(now - 11, blocked=0.1))
  for name, node in last['nodes'].items():
    # A long final evaluation: actors wait, the learner has no work.
    idle = name == 'learner/0'
    node['activity'] = 'nothing_to_do' if idle else 'waiting_for_queue'
    node['kinds']['nothing_to_do'] = 'idle'
    node['seconds'][node['activity']] = 1000.0
  record(path, [{**last, 'time': now + 1000}])
  run = read(path)
  assert run.verdict.side == 'producers'


def test_statistics_of_the_last_seconds_and_of_all_starts(path):
  now = time.time()
  directory = write_run(path, age=12.0)
  record(path, make_records(now - 100, waiting=0.0))
  record(path, make_records(now - 11, waiting=0.8))
  run = read(path)
  assert run.statistics.seconds == 10
  states = run.statistics.nodes['learner/0'].states
  assert states['waiting'] == pytest.approx(0.8)
  directory.update_meta(ended=ENDED)
  run.refresh()
  assert run.statistics.seconds == 20
  states = run.statistics.nodes['learner/0'].states
  assert states['waiting'] == pytest.approx(0.4)


def test_another_run_in_the_same_place(path):
  write_run(path, 20.0)
  record(path, make_records(time.time() - 11))
  write_csv(path / 'metrics/learner.csv', LEARNER)
  write_csv(path / 'metrics/levels.csv', LEVEL)
  run = read(path)
  before = run.version
  assert list(run.levels.curves) == ['catch']
  path.rename(path.with_name('aside'))
  run.refresh()
  assert run.state == 'starting' and run.graph is None
  write_run(path, num_actors=7)
  run.refresh()
  assert run.version != before
  assert not run.learner.last and not run.levels.curves
  assert run.statistics is None
  assert len(run.graph.roles['actor']) == 7


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    ('config.json', '[]'),
    ('config.json', '{"run": 7}'),
    ('config.json', '{"run": {"level_name": ["../x"], "monitor": "?"}}'),
    ('meta.json', '[1]'),
    ('meta.json', '{"started": 5, "ended": "x", "processes": null}'),
    ('graph.json', '{"name": 1'),
    ('graph.json', '{"name": "x", "nodes": [], "edges": []}'),
    ('metrics/learner.csv', 'frames,time\nx,y\n\0\0\n1,2,3\n'),
    ('metrics/learner.csv', '"'),
    ('metrics/levels.csv', 'level_name\n<b>\n'),
    ('evaluations/1/results.json', '{"levels": ['),
    (
      'metrics/graph.jsonl',
      '{"time": 1e12, "start": 1, "nodes": {"a": 1}, "tables": 4, '
      '"processes": {}, "machine": {}, "warnings": []}\n',
    ),
  ],
)
def test_odd_content_is_no_error(path, name, text):
  write_run(path, 20.0)
  record(path, make_records(time.time() - 11))
  write_csv(path / 'metrics/learner.csv', LEARNER)
  run_directory.write_text(path / name, text)
  run = read(path)
  content = view.View(run, flags.describe).export()
  view.to_json([content, comparison.compare({'run': run})])


def test_recent_and_mean_speed(path):
  frames = 0
  for second in range(101):
    write_csv(
      path / 'metrics/learner.csv',
      {**LEARNER, 'time': 1000.0 + second, 'frames': frames},
    )
    frames += 1000 if second >= 80 else 100
  run = read(path)
  assert run.frames_per_second(10) == pytest.approx(1000)
  assert run.frames_per_second(60) == pytest.approx((20_000 + 40 * 100) / 60)
  # A window longer than the run, and one shorter than between records.
  assert run.frames_per_second(300) == pytest.approx((20_000 + 80 * 100) / 100)
  assert run.frames_per_second(0.5) == pytest.approx(1000)
  assert run.mean_frames_per_second() == pytest.approx(
    (20_000 + 80 * 100) / 100
  )


@pytest.mark.parametrize('times', [(), (1.0,), (1.0, 1.0)])
def test_no_speed_from_a_single_time(path, times):
  for at in times:
    write_csv(path / 'metrics/learner.csv', {**LEARNER, 'time': at})
  assert read(path).frames_per_second(10) is None


def test_evaluations(path):
  folder = path / 'evaluations'
  later = {**RESULTS, 'evaluated': '2021-01-01T00:00:00+00:00'}
  run_directory.write_json(folder / '640/results.json', RESULTS)
  run_directory.write_json(folder / '640_greedy/results.json', later)
  run_directory.write_json(folder / '.running-1/results.json', RESULTS)
  found = read(path).evaluations
  assert list(found.found) == ['640_greedy', '640']
  assert 'returns' not in found.found['640']['levels'][0]
  assert len(found.of_training()) == 1


def test_the_end_of_a_log(path):
  write_run(path)
  log = path / 'logs/actor_0.log'
  run = read(path)
  assert run.log('actor/0')['text'] == ''
  run_directory.write_text(log, 'short\n')
  assert run.log('actor/0') == {
    'name': 'actor_0.log',
    'text': 'short\n',
    'is_whole': True,
  }
  log.write_bytes(b'first\n' + b'\xff' * 10 + b'xy\n' * reading.LOG_BYTES)
  found = run.log('actor/0')
  assert found['text'].startswith('xy\n') and not found['is_whole']
  assert reading.LOG_BYTES - 3 <= len(found['text']) <= reading.LOG_BYTES


@pytest.mark.parametrize(
  'node', ['', 'actor/9', 'actor', '../config', 'actor/0/../../../x', '/etc/x']
)
def test_an_unknown_node_has_no_log(path, node):
  write_run(path)
  assert read(path).log(node) is None
