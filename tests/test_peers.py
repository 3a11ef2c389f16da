"""What compares the peers, with a stand-in where they would be installed."""

import json
import pathlib
import re
import sys
import time

import pytest

from benchmarks import (
  __main__,
  peer_installation,
  peer_runs,
  peers,
  pipeline,
  trial,
)

_PEER = pathlib.Path(peers.__file__).with_name('peer')
# It starts a process that leaves its session, as Ray's do, and learns 640 agent
# steps every tenth of a second.
_STAND_IN = """
import json, signal, subprocess, sys, time
settings, progress = json.loads(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
subprocess.Popen(['sleep', '300'], start_new_session=True)
if settings['fails']:
  sys.exit('no such game')
print(json.dumps({'time': time.time(), 'agent_steps': 0}),
      file=open(progress, 'a'), flush=True)
agent_steps = 0
while True:
  time.sleep(0.1)
  agent_steps += 640
  with open(progress, 'a') as file:
    print(json.dumps({'time': time.time(), 'agent_steps': agent_steps}),
          file=file)
    # The same again.
    print(json.dumps({'time': time.time(), 'agent_steps': agent_steps}),
          file=file)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
  """Settings of a program that does what a peer's does."""
  (tmp_path / 'stand_in_pong.py').write_text(_STAND_IN)
  monkeypatch.setattr(peer_runs, '_PROGRAMS', tmp_path)
  return {'fails': False}


def start(settings):
  return peer_runs.start(pathlib.Path(sys.executable), 'stand_in', settings)


def test_a_peer_is_measured_and_nothing_of_it_is_left(stand_in):
  with start(stand_in) as run:
    figures = peers.measure(run, warmup_seconds=0.5, window_seconds=2)
    processes = peer_runs.marked(run._mark)
    names = sorted(process.name() for process in processes)
    environment = processes[0].environ()
  assert 'sleep' in names and len(names) >= 2
  assert not any(process.is_running() for process in processes)
  assert environment['TMPDIR'] == environment['HOME']
  assert not pathlib.Path(environment['TMPDIR']).exists()
  # 6,400 a second but for what writing takes; the machine may be busy.
  assert 1000 < figures['agent_steps_per_second'] < 6500
  assert 2 <= figures['window_seconds'] < 10
  assert 0 <= figures['cpu_ms_per_agent_step'] < 2


def test_a_window_goes_from_batch_to_batch(tmp_path):
  path = tmp_path / 'progress'
  told = [(1, 0), (2, 640), (3, 640), (4, 1280), (5, 1280)]
  lines = [json.dumps({'time': t, 'agent_steps': n}) for t, n in told]
  path.write_text('\n'.join(lines) + '\n{"time": 6, "age')
  readings = peer_runs.parse(path)
  assert readings == [peer_runs.Reading(*pair) for pair in told]
  assert peer_runs.first_batch(readings, 0) == (2, 640)
  assert peer_runs.first_batch(readings, 2) == (2, 640)
  assert peer_runs.first_batch(readings, 2.5) == (4, 1280)
  assert peer_runs.first_batch(readings, 4.5) is None
  assert peer_runs.parse(tmp_path / 'none') == []


def test_a_peer_that_fails_is_told_with_its_words(stand_in):
  stand_in['fails'] = True
  with (
    pytest.raises(trial.TrialError, match=r'stand_in ended .*\n.*no such game'),
    start(stand_in) as run,
  ):
    run.wait_until(time.time())
  assert peer_runs.marked(run._mark) == []


def test_each_setting_is_a_batch_of_32_unrolls_of_20():
  for peer in peers.PEERS.values():
    told = peer.told()
    assert told['batch_agent_steps'] == 32 * told['unroll_length'] == 640
    assert told['num_workers'] == 2
    assert (_PEER / f'{peer.program}_pong.py').is_file()
    assert (_PEER / f'{peer.program}.txt').is_file()
    json.dumps(told)
  for program in ('rllib', 'sample_factory'):
    assert peers.PEERS[program].told()['num_envs_per_worker'] == 16


def test_medians_and_ratios():
  turns = [
    {
      'round': number,
      'name': name,
      'settings': {'num_workers': 2, 'num_envs_per_worker': 16},
      'agent_steps_per_second': rate,
      'window_seconds': 60.0,
      'cpu_ms_per_agent_step': 1000 / rate,
    }
    for name, rates in (
      (pipeline.NAME, (2000.0, 1800.0, 2200.0)),
      ('rllib', (500.0, 250.0, 1000.0)),
    )
    for number, rate in enumerate(rates, 1)
  ]
  result = peers.make_result(turns, {})
  rllib = result['contestants']['rllib']
  assert rllib['agent_steps_per_second'] == 500
  assert rllib['frames_per_second'] == 2000
  assert rllib['cpu_ms_per_agent_step'] == 2
  assert rllib['pipeline_is_times_as_fast'] == 4
  assert result['turns'] == turns
  alone = peers.make_result(turns[3:], {})['contestants']['rllib']
  assert alone['pipeline_is_times_as_fast'] is None


def test_the_rounds_alternate_and_the_last_line_is_the_result(
  stand_in, monkeypatch, tmp_path, capsys
):
  monkeypatch.setattr(
    peers,
    'PEERS',
    {name: peers.Peer('stand_in', stand_in) for name in ('one', 'two')},
  )
  monkeypatch.setattr(peers, 'CONTESTANTS', ('pipeline', 'one', 'two'))
  installed = peer_installation.Installation(
    pathlib.Path(sys.executable), {'stand-in': '1'}, 0.0, 0.0
  )
  monkeypatch.setattr(peer_installation, 'ensure', lambda *_: installed)
  stand_in['num_envs_per_worker'] = 16
  flags = ['--contestants=one,two', '--rounds=2', '--warmup_seconds=0.1']
  flags += ['--window_seconds=0.5', f'--output={tmp_path}']
  assert __main__.main(['peers', *flags]) == 0
  stdout = capsys.readouterr().out
  result = json.loads(stdout.splitlines()[-1])
  turns = [(turn['round'], turn['name']) for turn in result['turns']]
  assert turns == [(1, 'one'), (1, 'two'), (2, 'two'), (2, 'one')]
  assert result['versions'] == {'stand_in': {'stand-in': '1'}}
  assert json.loads((tmp_path / 'peers.json').read_text()) == result
  assert re.search(r'one +2 x 16 ', stdout)


@pytest.mark.parametrize(
  'flags, rule',
  [
    ('--window_seconds=0', 'must be greater than 0, got 0'),
    ('--rounds=0', '--rounds must be at least 1, got 0'),
    ('--contestants=rllib,acme', 'must be distinct ones of .*, got rllib,acme'),
    ('--contestants=rllib,rllib', 'must be distinct ones of .*got rllib,rllib'),
  ],
)
def test_wrong_arguments_are_refused_with_the_rule(flags, rule, capsys):
  with pytest.raises(SystemExit) as ended:
    peers.main([flags])
  assert ended.value.code == 2
  assert re.search(rule, capsys.readouterr().err)


@pytest.fixture
def lists(tmp_path, monkeypatch):
  """A folder of package lists, and a venv's Python for all versions."""
  folder = tmp_path / 'lists'
  folder.mkdir()
  monkeypatch.setattr(peer_installation, '_REQUIREMENTS', folder)
  version = sys.version_info[:2]
  monkeypatch.setattr(peer_installation, 'PYTHON_VERSION', version)
  monkeypatch.setattr(peer_installation, 'PYTHONS', ('nowhere', sys.executable))
  return folder


@pytest.mark.thorough
def test_an_installation_is_made_once_and_again_when_its_list_changes(
  lists, tmp_path
):
  (lists / 'mine.txt').write_text('# Nothing: this test fetches nothing.\n')
  root = tmp_path / 'root'
  first = peer_installation.ensure('mine', root)
  assert first.python == root / 'mine/bin/python'
  assert first.gigabytes > 0.001
  added = root / 'mine/added'
  added.touch()
  assert peer_installation.ensure('mine', root) == first
  assert added.exists()
  (lists / 'mine.txt').write_text('# Another one.\n')
  peer_installation.ensure('mine', root)
  assert not added.exists()


def test_a_failed_installation_says_what_to_do_and_is_tried_again(
  lists, tmp_path, monkeypatch
):
  nowhere = {'PIP_INDEX_URL': 'http://127.0.0.1:9/simple', 'PIP_RETRIES': '0'}
  nowhere |= {'PIP_NO_INDEX': '1', 'PIP_CONFIG_FILE': '/dev/null'}
  for name, value in nowhere.items():
    monkeypatch.setenv(name, value)
  (lists / 'mine.txt').write_text('not-a-package-here==1.0\n')
  with pytest.raises(trial.TrialError) as failed:
    peer_installation.ensure('mine', tmp_path)
  assert 'No matching distribution found for not-a-package' in str(failed.value)
  assert 'PIP_INDEX_URL' in str(failed.value)
  (lists / 'mine.txt').write_text('')
  assert peer_installation.ensure('mine', tmp_path).python.exists()


def test_a_missing_python_is_told_with_its_version():
  with pytest.raises(
    trial.TrialError, match=r'Python 3\.11, .* python3\.11 on'
  ):
    peer_installation.find_python(['nowhere', '/usr/bin/false'])


@pytest.mark.parametrize('program', ['rllib', 'sample_factory'])
def test_every_package_is_pinned_and_the_versions_are_shown(program):
  path = _PEER / f'{program}.txt'
  lines = [
    line for line in path.read_text().splitlines() if line and line[0] != '#'
  ]
  assert len(lines) > 30
  assert all(re.fullmatch(r'[\w.\[\]-]+==[\w.]+', line) for line in lines)
  shown = peer_installation.read_pins(path)
  assert 'torch' in shown and 'ale-py' in shown
  assert len(shown) < 10
