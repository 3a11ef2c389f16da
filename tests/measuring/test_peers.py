"""Measurements of peers, with a stand-in for their programs."""

import sys

import psutil
import pytest

from benchmarks import peers, trial

# It starts a process that leaves its session, as Ray's do, and learns 640 agent
# steps of four frames every tenth of a second. Each row comes twice.
_STAND_IN = """
import subprocess, sys, time
subprocess.Popen(['sleep', '299'], start_new_session=True)
with open(sys.argv[2], 'w') as file:
  print('time,frames,learner_steps', file=file)
  for step in range(1000):
    for _ in range(2):
      print(time.time(), step * 2560, step, sep=',', file=file, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Folder that replaces the peers' programs."""
  monkeypatch.setattr(peers, '_PROGRAMS', tmp_path)
  return tmp_path


def test_a_peer_is_measured_and_nothing_of_it_is_left(folder, monkeypatch):
  (folder / 'stand_in_pong.py').write_text(_STAND_IN)
  monkeypatch.setattr(peers, 'install', lambda _: sys.executable)
  figures = peers.run('stand_in', 0.5, 2)
  # 6,400 a second but for what writing takes; the machine may be busy.
  assert 1000 < figures['agent_steps_per_second'] < 6500
  assert figures['frames_per_second'] == 4 * figures['agent_steps_per_second']
  assert figures['roles']['launcher']['processes'] == 2
  assert 0 <= figures['cpu_ms_per_agent_step'] < 2
  assert not [
    process
    for process in psutil.process_iter(['cmdline'])
    if process.info['cmdline'] == ['sleep', '299']
  ]


def test_a_peer_that_fails_is_shown_with_its_output(folder, monkeypatch):
  (folder / 'stand_in_pong.py').write_text('raise SystemExit("no such game")')
  monkeypatch.setattr(peers, 'install', lambda _: sys.executable)
  with pytest.raises(trial.TrialError, match=r'ended .*\n(.*\n)*no such game'):
    peers.run('stand_in', 0, 1)


@pytest.mark.thorough
def test_a_failed_installation_says_what_to_do_and_is_tried_again(
  folder, monkeypatch
):
  monkeypatch.setattr(peers, '_PYTHON', sys.executable)
  (folder / 'mine.txt').write_text('not-a-package-here==1.0\n')
  monkeypatch.setenv('PIP_NO_INDEX', '1')
  monkeypatch.setenv('PIP_CONFIG_FILE', '/dev/null')
  monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
  with pytest.raises(trial.TrialError) as failed:
    peers.install('mine')
  assert 'No matching distribution found for not-a-package' in str(failed.value)
  assert 'PIP_INDEX_URL' in str(failed.value)
  (folder / 'mine.txt').write_text('')
  assert peers.install('mine') == f'{folder}/impala/peers/mine/bin/python'
