import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import launch_nodes
import launchpad as lp
import processes
import pytest

from programs.launching import local, workspace

ROOT = pathlib.Path(__file__).absolute().parents[2]
TESTS = ROOT / 'tests'


@pytest.fixture
def folder(tmp_path):
  """Where nodes leave what the test reads."""
  path = tmp_path / 'folder'
  path.mkdir()
  return path


def make_program(**nodes):
  """A program of PyNodes: group=(function, *arguments)."""
  program = lp.Program('test')
  for group, (function, *arguments) in nodes.items():
    program.add_node(lp.PyNode(function, *arguments), group)
  return program


def recorded(folder):
  return {path.stem: int(path.read_text()) for path in folder.glob('*.pid')}


def assert_nothing_left(folder, directory, seconds=2.0):
  pids = recorded(folder).values()
  assert pids
  processes.wait_until(lambda: not any(map(processes.is_alive, pids)), seconds)
  processes.wait_until(lambda: not processes.naming(directory), seconds)


def test_a_node_stops_the_program(tmp_path, folder):
  program = make_program(
    waiter=(launch_nodes.wait, str(folder), 'waiter'),
    stopper=(launch_nodes.stop_program, str(folder), ['waiter']),
  )
  seen = []
  handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  outcome = local.launch(
    program, None, tmp_path / 'run', lambda runner: seen.append(runner)
  )
  assert (outcome.kind, outcome.exit_status) == ('finished', 0)
  assert outcome.stopped_by == 'stopper/0'
  assert outcome.statuses['waiter/0'] == 0
  assert (folder / 'waiter.ended').exists()
  assert len(seen) >= 2
  assert_nothing_left(folder, tmp_path / 'run')
  assert [p.name for p in (tmp_path / 'run').iterdir()] == ['logs']
  assert handlers == [
    signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)
  ]
  # Launchpad's own notice would print and, after it, kill.
  assert 'Waiting for' not in (tmp_path / 'run/logs/waiter_0.log').read_text()


def test_colocated_servers_on_held_ports(tmp_path, folder):
  program = lp.Program('test')
  inner = lp.CourierNode(launch_nodes.Service)
  service = inner.create_handle()
  program.add_node(lp.MultiThreadingColocation([inner]), 'service')
  queue = lp.ReverbNode(launch_nodes.make_tables)
  program.add_node(queue, 'queue')
  program.add_node(
    lp.PyNode(
      launch_nodes.connect_ask_and_stop,
      service,
      queue.reverb_address,
      str(folder),
    ),
    'asker',
  )
  outcome = local.launch(program, None, tmp_path / 'run')
  assert outcome.kind == 'finished', outcome.describe()
  assert outcome.statuses['queue/0'] == 0
  assert (folder / 'asked').read_text() == 'answer'


def test_a_node_raises(tmp_path, folder):
  program = make_program(
    waiter=(launch_nodes.wait, str(folder), 'waiter'),
    learner=(launch_nodes.fail, str(folder), ['waiter']),
  )
  outcome = local.launch(program, None, tmp_path / 'run')
  assert (outcome.kind, outcome.exit_status) == ('failed', 1)
  assert outcome.failure.name == 'learner/0'
  assert outcome.failure.status == 'exit status 1'
  last = 'ValueError: the learning rate is not a number'
  assert outcome.failure.tail.splitlines()[-1] == last
  assert 'launch_nodes.py' in outcome.failure.tail
  assert outcome.statuses['waiter/0'] == 0
  assert_nothing_left(folder, tmp_path / 'run')
  assert not (tmp_path / 'run/.launch').exists()


def test_a_node_crashes_and_another_is_blocked(tmp_path, folder):
  program = make_program(
    blocked=(launch_nodes.block, str(folder), 'blocked'),
    actor=(launch_nodes.die, str(folder), ['blocked']),
  )
  outcome = local.launch(program, None, tmp_path / 'run', notice_seconds=0.5)
  assert outcome.failure.name == 'actor/0'
  assert outcome.failure.status == 'killed by SIGSEGV'
  assert 'in die' in outcome.failure.tail  # Where it was, by faulthandler.
  assert outcome.killed == ('blocked/0',)
  assert_nothing_left(folder, tmp_path / 'run')


def test_on_poll_raises(tmp_path, folder):
  program = make_program(waiter=(launch_nodes.wait, str(folder), 'waiter'))

  def on_poll(runner):
    if recorded(folder):
      raise OSError('the terminal is gone')

  with pytest.raises(OSError, match='the terminal is gone'):
    local.launch(program, None, tmp_path / 'run', on_poll)
  assert (folder / 'waiter.ended').exists()  # Gracefully, all the same.
  assert_nothing_left(folder, tmp_path / 'run')


def test_a_long_run_directory_has_room_for_sockets(tmp_path, folder):
  directory = tmp_path / ('long' * 20)
  program = make_program(node=(launch_nodes.use_temporary_folder, str(folder)))
  assert local.launch(program, None, directory).exit_status == 0
  used = pathlib.Path((folder / 'socket').read_text())
  assert used.parent.parent.name.startswith('launch-')
  assert not used.parent.parent.exists()


def test_one_launch_at_a_time_in_a_directory(tmp_path):
  program = make_program(node=(launch_nodes.fail, '', []))
  with (
    workspace.open_workspace(tmp_path),
    pytest.raises(ValueError, match='no other launch'),
  ):
    local.launch(program, None, tmp_path)
  assert not (tmp_path / '.launch').exists()


@contextlib.contextmanager
def launch_script(tmp_path, folder, *arguments):
  """The launcher as a process, its nodes running."""
  with subprocess.Popen(
    [sys.executable, str(TESTS / 'launch_script.py'), str(tmp_path / 'run')]
    + [str(folder), *arguments],
    stdout=subprocess.PIPE,
    text=True,
    cwd='/',
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
  ) as launcher:
    try:
      count = 3 if 'block' in arguments else 2
      processes.wait_until(lambda: len(recorded(folder)) == count, 15)
      assert all(map(processes.is_alive, recorded(folder).values()))
      yield launcher
    finally:
      launcher.kill()


def test_signal_to_the_launcher(tmp_path, folder):
  with launch_script(tmp_path, folder) as launcher:
    launcher.send_signal(signal.SIGTERM)
    text, _ = launcher.communicate(timeout=5)
  assert launcher.returncode == 128 + signal.SIGTERM
  assert 'interrupted by SIGTERM' in text
  assert 'SIGINT ignored as before' in text
  assert (folder / 'listener.ended').exists()
  assert_nothing_left(folder, tmp_path / 'run')
  assert not (tmp_path / 'run/.launch').exists()


def test_kill_of_the_launcher_leaves_no_process(tmp_path, folder):
  with launch_script(tmp_path, folder, 'block') as launcher:
    launcher.kill()
    launcher.wait()
    assert_nothing_left(folder, tmp_path / 'run', seconds=2)
