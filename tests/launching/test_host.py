import os
import pathlib
import signal
import subprocess
import sys
import time

import cloudpickle
import launch_nodes
import launchpad as lp
import processes
import pytest

from programs.launching import host as host_lib
from programs.launching import ports, serialization, tasks

ROOT = pathlib.Path(__file__).absolute().parents[2]
PATH = [str(ROOT), str(ROOT / 'tests'), str(ROOT / 'tests/launching')]


@pytest.fixture
def host():
  made = host_lib.Host(60.0, PATH)
  yield made
  made.close()


def make_task(function, *arguments, keys=()):
  """A task of the group 'node' that calls a function."""
  payload = cloudpickle.dumps([lambda: function(*arguments)])
  return tasks.Task('node', 0, keys, False, payload)


def test_a_task_is_reported_piece_by_piece(host):
  host.start(make_task(print, 'x' * 300_000), {}, {'PYTHONUNBUFFERED': '1'})
  output = b''

  def report():
    nonlocal output
    found = host.look({'node/0': len(output)}).reports['node/0']
    assert len(found.output) <= host_lib.MAX_OUTPUT_BYTES
    output += found.output
    return found

  processes.wait_until(lambda: report().returncode is not None)
  assert report().returncode == 0
  assert output.count(b'x' * 300_000) == 1
  assert output.startswith(b'=== ')
  assert report().output == b''
  assert 0 <= report().silent_seconds < 20


def test_a_task_is_started_again_with_its_environment(host, tmp_path):
  task = make_task(launch_nodes.tell_environment, str(tmp_path), 'GIVEN')
  for value in ('one', 'two'):
    host.start(task, {}, {'GIVEN': value})
    processes.wait_until(
      lambda: host.look({}).reports['node/0'].returncode is not None
    )
    assert (tmp_path / 'environment').read_text() == value
  assert host.look({}).reports['node/0'].output.count(b'=== ') == 2


def test_a_stop_is_reported(host, tmp_path):
  assert host.look({}).stopped_by is None
  program = lp.Program('test')
  program.add_node(
    lp.PyNode(launch_nodes.stop_program, str(tmp_path), []), 'node'
  )
  (task,) = serialization.make_tasks(program)
  host.start(task, {}, {})
  processes.wait_until(lambda: host.look({}).stopped_by == 'node/0')
  assert 0 <= host.look({}).stopped_seconds < 20


def test_notice_and_kill(host, tmp_path):
  host.start(make_task(launch_nodes.block, str(tmp_path), 'node'), {}, {})
  processes.wait_until((tmp_path / 'node.pid').exists)
  host.terminate('node/0')
  time.sleep(0.3)
  report = host.look({}).reports['node/0']
  assert report.returncode is None
  assert report.pid == int((tmp_path / 'node.pid').read_text())
  host.kill('node/0')
  processes.wait_until(
    lambda: host.look({}).reports['node/0'].returncode == -signal.SIGKILL
  )


def test_what_nobody_else_knows_gets_an_address_here(host, tmp_path):
  task = make_task(
    launch_nodes.tell_environment, str(tmp_path), tasks.ADDRESSES, keys=('k',)
  )
  host.start(task, {'other': 'machine:1'}, {})
  processes.wait_until(lambda: host.look({}).reports['node/0'].returncode == 0)
  found = (tmp_path / 'environment').read_text()
  assert '"other": "machine:1"' in found
  assert '"k": "localhost:' in found


def test_ports_are_held_and_come_back(host):
  first = host.hold({'a': 0, 'b': 0})
  assert len(set(first.values())) == 2
  assert host.hold({'a': 0}) == {'a': first['a']}
  with pytest.raises(OSError, match='in use'):
    ports.hold_port(first['a'])
  with pytest.raises(OSError, match='in use'):
    host.hold({'c': first['a']})


_ABANDONED = """
import pathlib, sys, time
from programs.launching import host as host_lib
import test_host, launch_nodes
host = host_lib.Host(1.0, test_host.PATH)
host.start(test_host.make_task(launch_nodes.keep_child, sys.argv[1], 'node'),
           {}, {})
while len(list(pathlib.Path(sys.argv[1]).glob('*.pid'))) < 2:
  host.look({})
  time.sleep(0.1)
print(host._folder, flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize('is_killed', [False, True])
def test_nothing_is_left_when_nobody_calls(tmp_path, is_killed):
  """The launcher is cut off; or somebody kills the host."""
  with subprocess.Popen(
    [sys.executable, '-c', _ABANDONED, str(tmp_path)],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(PATH)},
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    try:
      folder = pathlib.Path(process.stdout.readline().strip())
      pids = [int(path.read_text()) for path in tmp_path.glob('*.pid')]
      assert len(pids) == 2 and all(map(processes.is_alive, pids))
      if is_killed:
        process.kill()
      assert process.wait(20) == -signal.SIGKILL
      processes.wait_until(lambda: not any(map(processes.is_alive, pids)))
      processes.wait_until(lambda: not folder.exists())
    finally:
      process.kill()
