"""Two launchers of one program; `test_roles` has real runs."""

import os
import pathlib
import subprocess
import sys

import free_ports
import launch_nodes
import launchpad as lp
import pytest

from programs.launching import jobs

TESTS = pathlib.Path(__file__).absolute().parent


@pytest.fixture
def start(tmp_path):
  port = free_ports.find(2)
  (tmp_path / 'folder').mkdir()
  started = []

  def run(role, what):
    command = [sys.executable, str(TESTS / 'launch_jobs.py'), role]
    command += [str(tmp_path / role), str(tmp_path / 'folder'), str(port), what]
    started.append(
      subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd='/',
        env={**os.environ, 'PYTHONPATH': f'{TESTS.parent}:{TESTS}'},
      )
    )
    return started[-1]

  run.port = port
  yield run
  for process in started:
    process.kill()
    process.wait()


def test_a_members_node_asks_the_leaders_and_stops_all(start, tmp_path):
  member, leader = start('follow', 'ask'), start('lead', 'ask')
  told, _ = member.communicate(timeout=60)
  text, _ = leader.communicate(timeout=60)
  assert member.returncode == leader.returncode == 0, told + text
  assert told.startswith('hello\n')
  assert f'ports [{start.port}, {start.port + 1}]' in text
  assert 'finished: member/0 stopped the program' in text
  assert (tmp_path / 'folder/asked').read_text() == 'answer'
  assert not (tmp_path / 'follow').exists()  # It was temporary.
  log = (tmp_path / 'lead/logs/member_0.log').read_text()
  assert log.count('\n=== ') == 2 and 'leaves: finished: member/0' in log


def test_a_member_that_fails_too_often_ends_it_with_the_reason(start, tmp_path):
  leader, member = start('lead', 'fail'), start('follow', 'fail')
  for process in (member, leader):
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1, text
    assert 'after 2 restarts within an hour' in text
    assert 'ValueError: the learning rate is not a number' in text
    assert f'log: {tmp_path}/lead/logs/member_0.log' in text
  log = (tmp_path / 'lead/logs/member_0.log').read_text()
  assert log.count('ValueError: the learning') == 3


def test_what_others_need_stays_with_the_leader(tmp_path):
  program = lp.Program('test')
  service = program.add_node(lp.CourierNode(launch_nodes.Service), 'service')
  program.add_node(
    lp.PyNode(launch_nodes.ask_and_stop, service, str(tmp_path)), 'asker'
  )
  address = ('127.0.0.1', free_ports.find(2))
  with pytest.raises(ValueError, match=r"no servers, got \['service/0'\]"):
    jobs.lead(
      program, None, tmp_path / 'run', ['service'], address, {}, 0, lambda: None
    )
