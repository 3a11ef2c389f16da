"""The dashboard's server."""

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
from run_files import (
  LEARNER,
  LEVEL,
  RESULTS,
  make_records,
  record,
  write_csv,
  write_run,
)

from programs.commands import dashboard
from programs.runs import flags, run_directory
from programs.views import reading, server, view


@pytest.fixture
def path(tmp_path, monkeypatch):
  monkeypatch.setattr(view, '_FRESH_SECONDS', 0.0)
  return tmp_path / 'run'


@pytest.fixture
def client(path):
  shown = view.View(reading.Run(path), flags.describe)
  return werkzeug.test.Client(server.App(shown))


def get(client, address, **query):
  answer = client.get(address, query_string=query)
  assert answer.status_code == 200, answer.text
  return json.loads(answer.text, parse_constant=pytest.fail)


def test_nothing_there_is_no_error(client):
  state = get(client, '/state')
  assert state['run']['state'] == 'starting' and state['nodes'] == {}
  assert get(client, '/graph') == {'svg': None, 'roles': []}
  assert get(client, '/curves')['returns'] == {'x': [], 'y': []}
  assert get(client, '/evaluations')['names'] == []
  assert get(client, '/configuration') == []


def test_a_live_run(path, client):
  write_run(path, age=20.0, num_actors=2)
  warnings = ['actor/0 has been silent']
  record(path, make_records(time.time() - 11, 0.8, 0.0, 2, warnings=warnings))
  write_csv(path / 'metrics/learner.csv', LEARNER, {**LEARNER,
             'frames': 1280, 'time': 1010.0, 'learner_steps': 2})  # fmt: skip
  state = get(client, '/state')
  assert state['run']['state'] == 'running'
  assert state['run']['seconds'] == pytest.approx(20, abs=2)
  assert state['verdict']['side'] == 'producers'
  assert state['warnings'] == warnings
  progress = state['progress']
  assert progress['frames'] == 1280 and progress['frames_per_second'] == 64
  assert progress['seconds_left'] == (progress['total'] - 1280) / 64
  assert state['roles']['learner']['states']['waiting'] == pytest.approx(0.8)
  actors = state['roles']['actor']
  assert actors['states'] == {'busy': 1.0}
  assert actors['cores'] == 0.5 and actors['rss_bytes'] == 100_000_000
  assert state['roles']['queue']['tables']['queue']['size'] == 8
  assert state['edges']['actor insert queue'] == 40
  assert state['edges']['queue sample learner'] == 30
  node = state['nodes']['actor/0']
  assert node['state'] == 'busy' and node['pid'] == 4711
  assert node['counts']['environment_restarts'] == 3
  roles = {role['role']: role for role in get(client, '/graph')['roles']}
  assert roles['actor']['title'] == 'actor x 2'
  assert roles['actor']['nodes'] == ['actor/0', 'actor/1']


def test_unknown_values_are_null(path, client):
  write_run(path)
  unknown = {**LEARNER, 'episode_return': math.nan}
  write_csv(path / 'metrics/learner.csv', unknown, {**unknown, 'frames': 1280})
  low = {'mean_return_low': math.nan, 'mean_return_high': math.inf}
  summary = {**RESULTS['summary'], **low}
  run_directory.write_json(
    path / 'evaluations/640/results.json', {**RESULTS, 'summary': summary}
  )
  assert get(client, '/state')['progress']['episode_return'] is None
  found = get(client, '/curves')
  assert found['returns']['x'] == []
  assert found['evaluations'] == [[640, 0.5, None, None]]
  assert found['small']['loss']['x'] == [640, 1280]


def test_levels_have_curves_of_their_own(path, client):
  write_run(path, level_name='catch')
  write_csv(
    path / 'metrics/levels.csv', LEVEL, {**LEVEL, 'level_name': '<i>x</i>'}
  )
  run_directory.write_json(path / 'evaluations/640/results.json', RESULTS)
  run_directory.write_json(
    path / 'evaluations/640_greedy/results.json', RESULTS
  )
  found = get(client, '/curves', name='catch')
  assert found['levels'] == ['<i>x</i>', 'catch']
  assert found['returns'] == {'x': [640], 'y': [1]}
  assert found['evaluations'] == [[640, 0.5, None, None]]
  assert get(client, '/curves', name='none')['returns']['x'] == []


def test_evaluations(path, client):
  write_run(path)
  run_directory.write_json(path / 'evaluations/640/results.json', RESULTS)
  found = get(client, '/evaluations')
  assert (found['names'], found['name']) == (['640'], '640')
  assert found['content']['levels'][0]['mean_return'] == 0.5
  assert get(client, '/evaluations', name='../640') == found


def test_logs_are_those_of_nodes(path, client):
  write_run(path)
  run_directory.write_text(path / 'logs/actor_0.log', '<script>\n')
  assert get(client, '/log', name='actor/0')['text'] == '<script>\n'
  for name in ('', 'actor/9', '../config', '/etc/passwd'):
    assert client.get('/log', query_string={'name': name}).status_code == 404


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
def test_foreign_hosts_are_refused(client, host, status):
  assert client.get('/', headers={'Host': host}).status_code == status


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS', 'X'])
def test_other_methods_are_refused(client, method):
  answer = client.open('/state', method=method)
  assert answer.status_code == 405
  assert set(answer.headers['Allow'].split(', ')) == {'GET', 'HEAD'}
  assert client.head('/state').status_code == 200


def test_the_content_security_policy(client):
  answer = client.get('/')
  assert answer.mimetype == 'text/html'
  assert "default-src 'none'" in answer.headers['Content-Security-Policy']
  assert answer.headers['X-Content-Type-Options'] == 'nosniff'
  for name in ('main.js', 'style.css'):
    assert client.get(f'/{name}').status_code == 200


def test_settings_have_their_origin(path, client):
  write_run(path, unroll_length=7)
  found = {each['name']: each for each in get(client, '/configuration')}
  assert found['unroll_length']['origin'] == 'flag'
  assert found['unroll_length']['value'] == 7
  assert found['network']['origin'] == 'preset'
  assert found['decay']['origin'] == 'default'
  assert found['command_line']['value'].endswith("'--level_name=a b'")
  assert found['numpy']['value'] == '1.2.3'


def test_bad_flags_are_refused(path, tmp_path, capsys):
  assert dashboard.main([f'--logdir={tmp_path}']) == 2
  assert 'is no run directory' in capsys.readouterr().err
  write_run(path)
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    assert dashboard.main([f'--logdir={path}', f'--port={port}']) == 2
  error = capsys.readouterr().err
  assert 'port must be free' in error
  assert f'got {port} (' in error
  assert dashboard.main([f'--logdir={path}', '--port=70000']) == 2
  assert 'below 65536, got 70000' in capsys.readouterr().err


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_it_listens_on_loopback_and_ends_quietly(path, signum):
  write_run(path)
  with subprocess.Popen(
    [sys.executable, '-m', 'programs.commands.dashboard', f'--logdir={path}']
    + ['--port=0'],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
  ) as process:
    try:
      address = process.stdout.readline().strip()
      assert address.startswith('http://127.0.0.1:')
      with urllib.request.urlopen(f'{address}state', timeout=10) as answer:
        assert json.load(answer)['run']['directory'] == str(path)
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
