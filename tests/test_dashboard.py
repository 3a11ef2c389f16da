"""The dashboard's server, on run directories that tests write."""

import csv
import datetime
import json
import math
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import werkzeug.test
from records import make_node, make_record, make_table

from programs import dashboard, flags, impala, runs
from programs.inspection import curves, recording, server, view, wiring

ROW = {
  'time': 1000.0,
  'frames': 640,
  'learner_steps': 1,
  'learner_steps_per_second': 10.0,
  'episode_return': 0.25,
  'loss': 1.5,
  'entropy': 1.0,
  'policy_lag_mean': 2.0,
}
LEVEL = {'time': 1.0, 'frames': 640, 'level_name': 'catch', 'episode_return': 1}
EVALUATION = {
  'time': 1001.0,
  'frames': 640,
  'mean_return': 0.5,
  'mean_return_low': 0.25,
  'mean_return_high': 0.75,
}
RESULTS = {
  'trained_frames': 640,
  'greedy': False,
  'summary': {'mean_return': 0.5, 'episodes': 2},
  'levels': [
    {
      'level_name': 'catch',
      'episodes': 2,
      'mean_return': 0.5,
      'mean_return_low': None,
      'mean_return_high': None,
      'returns': [0.0, 1.0],
      'steps': [9, 9],
    }
  ],
}


def make_records(begin, waiting=0.8, warnings=()):
  """Ten seconds of a monitor that was started then."""
  for seconds in (0.0, 10.0):
    learner = {
      'waiting_for_data': waiting * seconds,
      'learner_step': (1 - waiting) * seconds,
    }
    actor = {'environment': seconds}
    yield make_record(
      begin + seconds,
      {
        'learner/0': make_node(
          'learner_step', seconds=learner, calls={'waiting_for_data': 9}
        ),
        'actor/0': make_node(
          seconds=actor,
          counts={'agent_steps': 50 * seconds, 'environment_restarts': 3},
        ),
        'actor/1': make_node('nothing_to_do', lasting=seconds),
      },
      {'queue': make_table(size=8, inserts=40 * seconds, samples=30 * seconds)},
      {'actor/0': {'cpu_seconds': 0.5 * seconds, 'rss_bytes': 100_000_000}},
      start=begin,
      warnings=list(warnings),
    )


def write_run(path, num_actors=2, age=1.0, ended=None, **given):
  """A run that was started a while ago; yields nothing that is measured."""
  configuration = flags.resolve(
    {'logdir': str(path), 'num_actors': num_actors, **given}
  )
  directory = runs.RunDirectory(path)
  directory.write_config(configuration)
  started = datetime.datetime.fromtimestamp(time.time() - age).astimezone()
  directory.update_meta(
    started=started.isoformat(), ended=ended, processes={'actor/0': 4711}
  )
  graph = wiring.make_graph(impala.make_program(configuration))
  runs.write_text(path / 'graph.json', graph.to_json())


def record(path, records):
  recorder = recording.Recorder(path / 'metrics/graph.jsonl')
  for each in records:
    recorder.write(each)


def write_rows(path, *rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path, 'a', encoding='utf-8') as file:
    writer = csv.DictWriter(file, sorted(rows[0]))
    if not file.tell():
      writer.writeheader()
    writer.writerows(rows)


@pytest.fixture
def path(tmp_path, monkeypatch):
  monkeypatch.setattr(view, '_FRESH_SECONDS', 0.0)
  return tmp_path / 'run'


@pytest.fixture
def client(path):
  shown = view.View(path, dashboard.describe)
  return werkzeug.test.Client(server.App(shown))


def get(client, address, **query):
  answer = client.get(address, query_string=query)
  assert answer.status_code == 200, answer.text
  return json.loads(answer.text, parse_constant=pytest.fail)


def test_nothing_there_is_no_error(path, client):
  state = get(client, '/state')
  assert state['run']['state'] == 'starting'
  assert get(client, '/graph') == {'svg': None, 'roles': []}
  assert get(client, '/curves')['returns'] == {'x': [], 'y': []}
  assert get(client, '/evaluations')['names'] == []
  assert get(client, '/configuration') == []
  write_run(path)
  with runs.RunDirectory(path).locked():
    state = get(client, '/state', role='actor')
  assert state['run']['state'] == 'starting' and state['verdict'] is None
  assert list(state['nodes']) == ['actor/0', 'actor/1']
  # Killed before its first record.
  assert get(client, '/state')['run']['state'] == 'lost'


def test_a_run_that_goes_on(path, client):
  now = time.time()
  write_run(path, age=20.0)
  record(path, make_records(now - 10, warnings=['actor/0 has been silent']))
  write_rows(path / 'metrics/learner.csv', ROW, {**ROW, 'frames': 1280,
             'time': 1010.0, 'learner_steps': 2})  # fmt: skip
  state = get(client, '/state', role='actor')
  assert state['run']['state'] == 'running'
  assert state['run']['seconds'] == pytest.approx(20, abs=2)
  assert state['verdict']['side'] == 'producers'
  assert state['warnings'] == ['actor/0 has been silent']
  progress = state['progress']
  assert progress['frames'] == 1280 and progress['frames_per_second'] == 64
  assert progress['seconds_left'] == (progress['total'] - 1280) / 64
  assert state['roles']['learner']['states']['waiting'] == pytest.approx(0.8)
  actors = state['roles']['actor']
  assert actors['states'] == {'busy': 0.5, 'idle': 0.5}
  assert actors['cores'] == 0.5 and actors['rss_bytes'] == 100_000_000
  assert state['roles']['queue']['tables']['queue']['size'] == 8
  assert state['edges']['actor insert queue'] == 40
  assert state['edges']['queue sample learner'] == 30
  node = state['nodes']['actor/0']
  assert node['state'] == 'busy' and node['process'] == 4711
  assert node['counts']['environment_restarts'] == 3
  assert get(client, '/state')['nodes'] == {}


def test_figures_are_those_of_the_last_start(path, client):
  """And over all starts when the run has ended."""
  now = time.time()
  write_run(path, age=12.0)
  record(path, make_records(now - 100, waiting=0.0))
  with runs.RunDirectory(path).locked():
    assert get(client, '/state')['run']['state'] == 'starting'
  record(path, make_records(now - 11, waiting=0.8))
  shares = get(client, '/state')['roles']['learner']['states']
  assert shares['waiting'] == pytest.approx(0.8)
  end = {'kind': 'failed', 'time': runs.now(), 'description': '<b>boom</b>'}
  runs.RunDirectory(path).update_meta(ended=end)
  state = get(client, '/state')
  assert state['run']['state'] == 'failed'
  assert state['run']['description'] == '<b>boom</b>'
  shares = state['roles']['learner']['states']
  assert shares['waiting'] == pytest.approx(0.4)
  assert state['progress']['seconds_left'] is None


def test_half_a_line_waits_for_its_end(path, client):
  write_run(path, age=20.0)
  lines = [json.dumps(each) for each in make_records(time.time() - 10)]
  file = path / 'metrics/graph.jsonl'
  runs.write_text(file, f'{lines[0]}\n{lines[1][:50]}')
  write_rows(path / 'metrics/learner.csv', ROW)
  line = ','.join(str({**ROW, 'frames': 960}[name]) for name in sorted(ROW))
  with open(path / 'metrics/learner.csv', 'a', encoding='utf-8') as rows:
    rows.write(line[:9])
    rows.flush()
    assert get(client, '/state')['figures'] is None
    assert len(get(client, '/curves')['returns']['x']) == 1
    with open(file, 'a', encoding='utf-8') as records:
      records.write(lines[1][50:] + '\n')
    rows.write(f'{line[9:]}\n{line[:9]}\n')  # And half of one for good.
  write_rows(path / 'metrics/learner.csv', {**ROW, 'frames': 1280})
  assert get(client, '/state')['figures']['seconds'] == 10
  assert get(client, '/curves')['returns']['x'] == [640, 960, 1280]


def test_what_is_not_known_is_null(path, client):
  write_run(path)
  unknown = {**ROW, 'episode_return': math.nan}
  write_rows(path / 'metrics/learner.csv', unknown, {**unknown, 'frames': 1280})
  low = {'mean_return_low': math.nan, 'mean_return_high': math.inf}
  write_rows(path / 'metrics/evaluator.csv', {**EVALUATION, **low})
  assert get(client, '/state')['progress']['episode_return'] is None
  found = get(client, '/curves')
  assert found['returns']['x'] == []
  assert found['evaluations'] == [[640, 0.5, None, None]]
  assert found['small']['loss']['x'] == [640, 1280]


def test_a_file_of_other_columns_goes_on(path, client):
  write_run(path)
  file = path / 'metrics/learner.csv'
  write_rows(file, ROW)
  before = get(client, '/state')['versions']['curves']
  file.rename(file.with_name('learner.before-17.csv'))
  write_rows(file, {**ROW, 'frames': 1280, 'new': 1})
  assert get(client, '/state')['versions']['curves'] != before
  assert get(client, '/curves')['returns']['x'] == [640, 1280]


def test_another_run_in_the_same_place(path, client):
  write_run(path, age=20.0)
  record(path, make_records(time.time() - 10))
  write_rows(path / 'metrics/learner.csv', ROW)
  write_rows(path / 'metrics/levels.csv', LEVEL)
  before = get(client, '/state')['versions']
  assert get(client, '/curves')['levels'] == ['catch']
  path.rename(path.with_name('run.before'))
  assert get(client, '/state')['run']['state'] == 'starting'
  write_run(path, num_actors=3)
  state = get(client, '/state')
  assert all(state['versions'][part] != before[part] for part in before)
  assert state['progress']['frames'] == 0
  assert state['figures'] is None
  assert get(client, '/curves')['levels'] == []
  assert 'actor x 3' in get(client, '/graph')['svg']


def test_more_actors_after_a_resume(path, client):
  write_run(path, num_actors=2)
  before = get(client, '/state')['versions']['graph']
  write_run(path, num_actors=5)
  assert get(client, '/state')['versions']['graph'] != before
  roles = {r['role']: r for r in get(client, '/graph')['roles']}
  assert roles['actor']['title'] == 'actor x 5'
  assert roles['actor']['nodes'][4] == 'actor/4'


def test_levels_have_curves_of_their_own(path, client):
  write_run(path, level_name='catch')
  write_rows(
    path / 'metrics/levels.csv', LEVEL, {**LEVEL, 'level_name': '<i>x</i>'}
  )
  runs.write_json(path / 'evaluations/640/results.json', RESULTS)
  runs.write_json(path / 'evaluations/640_greedy/results.json', RESULTS)
  found = get(client, '/curves', level='catch')
  assert found['levels'] == ['<i>x</i>', 'catch']
  assert found['returns'] == {'x': [640], 'y': [1]}
  assert found['evaluations'] == [[640, 0.5, None, None]]
  assert get(client, '/curves', level='none')['returns']['x'] == []


def test_evaluations_and_their_videos(path, client):
  write_run(path)
  results = path / 'evaluations/640/results.json'
  runs.write_json(results, RESULTS)
  runs.write_json(path / 'evaluations/.running-1/results.json', RESULTS)
  runs.write_text(path / 'evaluations/damaged/results.json', '{"levels": 1}')
  videos = path / 'evaluations/640/videos'
  runs.write_text(videos / 'catch_0.mp4', 'a film of it')
  runs.write_text(videos / 'secret.txt', 'no film')
  found = get(client, '/evaluations')
  assert (found['names'], found['name']) == (['640'], '640')
  assert found['content']['levels'][0]['mean_return'] == 0.5
  assert 'returns' not in found['content']['levels'][0]
  assert found['videos'] == ['catch_0.mp4']
  query = {'evaluation': '640', 'name': 'catch_0.mp4'}
  answer = client.get(
    '/video', query_string=query, headers={'Range': 'bytes=2-5'}
  )
  assert (answer.status_code, answer.data) == (206, b'film')
  assert answer.mimetype == 'video/mp4'
  answer.close()
  for wrong in (
    {'evaluation': '640', 'name': 'secret.txt'},
    {'evaluation': '640', 'name': '../results.json'},
    {'evaluation': '../640', 'name': 'catch_0.mp4'},
    {},
  ):
    assert client.get('/video', query_string=wrong).status_code == 404


def test_the_end_of_a_log(path, client):
  write_run(path)
  log = path / 'logs/actor_0.log'
  assert get(client, '/log', node='actor/0')['text'] == ''
  runs.write_text(log, '<script>\n')
  assert get(client, '/log', node='actor/0') == {
    'name': 'actor_0.log',
    'text': '<script>\n',
    'is_whole': True,
  }
  log.write_bytes(b'first\n' + b'\xff' * 10 + b'xy\n' * view.LOG_BYTES)
  found = get(client, '/log', node='actor/0')
  assert found['text'].startswith('xy\n') and not found['is_whole']
  assert view.LOG_BYTES - 3 <= len(found['text']) <= view.LOG_BYTES


@pytest.mark.parametrize(
  'node', ['', 'actor/9', 'actor', '../config', 'actor/0/../../../x', '/etc/x']
)
def test_a_node_that_is_not_there_has_no_log(path, client, node):
  write_run(path)
  assert client.get('/log', query_string={'node': node}).status_code == 404


@pytest.mark.parametrize(
  'address',
  ['/nothing', '/..%2Fview.py', '/../view.py', '/page/index.html', '/.'],
)
def test_there_are_no_other_pages(client, address):
  assert client.get(address).status_code == 404


@pytest.mark.parametrize(
  ('host', 'status'),
  [
    ('localhost', 200),
    ('127.0.0.1:8765', 200),
    ('LocalHost:1', 200),
    ('evil.example', 403),
    ('localhost.evil.example', 403),
    ('evil.example:8765', 403),
    ('127.0.0.1.evil.example', 403),
    ('127.0.0.1:', 403),
    ('localhost@evil.example', 403),
    ('', 403),
  ],
)
def test_a_page_from_elsewhere_is_refused(client, host, status):
  answer = client.get('/', headers={'Host': host})
  assert answer.status_code == status
  assert ('Host must be localhost or 127.0.0.1' in answer.text) == (
    status == 403
  )


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS', 'X'])
def test_nothing_can_be_changed(client, method):
  answer = client.open('/state', method=method)
  assert answer.status_code == 405
  assert set(answer.headers['Allow'].split(', ')) == {'GET', 'HEAD'}
  assert client.head('/state').status_code == 200


def test_a_page_may_load_nothing_from_elsewhere(client):
  answer = client.get('/')
  assert answer.mimetype == 'text/html'
  assert "default-src 'none'" in answer.headers['Content-Security-Policy']
  assert answer.headers['X-Content-Type-Options'] == 'nosniff'
  for name in ('main.js', 'style.css'):
    assert client.get(f'/{name}').status_code == 200


def test_settings_say_where_they_are_from(path, client):
  write_run(path, unroll_length=7)
  found = {each['name']: each for each in get(client, '/configuration')}
  assert found['unroll_length']['origin'] == 'flag'
  assert found['unroll_length']['value'] == 7
  assert found['network']['origin'] == 'preset'
  assert found['decay']['origin'] == 'default'


def test_a_curve_stays_short():
  curve = curves.Curve()
  for x in range(100_000):
    curve.add(x, 2 * x)
    curve.add(x, math.nan)
  points = curve.points()
  assert curves.MAX_POINTS / 2 <= len(points) <= curves.MAX_POINTS
  assert all(y == 2 * x for x, y in points)
  assert points[0][0] < 500 and points[-1][0] > 99_500


def test_what_is_learned_again_takes_the_place_of_what_was_lost():
  curve = curves.Curve()
  for x in (1, 2, 3, 4, 5, 3.5, 4.5):
    curve.add(x, x)
  assert curve.to_dict()['x'] == [1, 2, 3, 3.5, 4.5]


def test_no_run_directory_is_refused(tmp_path, capsys):
  assert dashboard.main([f'--logdir={tmp_path}']) == 2
  assert capsys.readouterr().err == (
    f'./impala dashboard: {tmp_path} is no run directory: it has no '
    'config.json\n'
  )


def test_a_port_that_is_taken_is_refused(path, capsys):
  write_run(path)
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    assert dashboard.main([f'--logdir={path}', f'--port={port}']) == 2
  error = capsys.readouterr().err
  assert 'port must be free on this machine (--port=0 takes any' in error
  assert f'got {port} (' in error
  assert dashboard.main([f'--logdir={path}', '--port=70000']) == 2
  assert 'below 65536, got 70000' in capsys.readouterr().err


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly_and_listens_to_this_machine_alone(path, signum):
  write_run(path)
  started = time.monotonic()
  with subprocess.Popen(
    [sys.executable, '-m', 'programs.dashboard', f'--logdir={path}']
    + ['--port=0'],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
  ) as process:
    try:
      address = process.stdout.readline().strip()
      seconds = time.monotonic() - started
      assert address.startswith('http://127.0.0.1:')
      with urllib.request.urlopen(f'{address}state', timeout=10) as answer:
        assert json.load(answer)['run']['directory'] == str(path)
      loaded = pathlib.Path(f'/proc/{process.pid}/maps').read_text()
      port = int(address.rstrip('/').rpartition(':')[2])
      listening = [
        line.split()[1]
        for line in pathlib.Path('/proc/net/tcp').read_text().splitlines()[1:]
        if line.split()[1].endswith(f':{port:04X}') and line.split()[3] == '0A'
      ]
      process.send_signal(signum)
      output, error = process.communicate(timeout=10)
    finally:
      process.kill()
  assert (process.returncode, output, error) == (0, '', '')
  assert listening == [f'0100007F:{port:04X}']
  # Launchpad links to TensorFlow's framework, which takes no time.
  assert 'tensorflow/python' not in loaded and 'reverb' not in loaded
  assert seconds < 10
