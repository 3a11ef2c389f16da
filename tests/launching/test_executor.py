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

from programs.launching import executor as executor_lib
from programs.launching import ports, serialization, tasks

ROOT = pathlib.Path(__file__).absolute().parents[2]
PATH = [str(ROOT), str(ROOT / 'tests'), str(ROOT / 'tests/launching')]


@pytest.fixture
def executor():
  made = executor_lib.Executor(60.0, PATH)
  yield made
  made.close()


def make_task(function, *arguments, keys=()):
  """A task of the group 'node' that calls a function."""
  payload = cloudpickle.dumps([lambda: function(*arguments)])
  return tasks.Task('node', 0, keys, False, payload)


def test_long_output_is_returned_in_pieces(executor):
  executor.start(make_task(print, 'x' * 300_000), {}, {'PYTHONUNBUFFERED': '1'})
  output = b''

  def poll():
    nonlocal output
    found = executor.status({'node/0': len(output)}).nodes['node/0']
    assert len(found.output) <= executor_lib.MAX_OUTPUT_BYTES
    output += found.output
    return found

  processes.wait_until(lambda: poll().returncode is not None)
  assert poll().returncode == 0
  assert output.count(b'x' * 300_000) == 1
  assert output.startswith(b'=== ')
  assert poll().output == b''
  assert 0 <= poll().silent_seconds < 20


def test_a_second_start_has_its_own_environment(executor, tmp_path):
  task = make_task(launch_nodes.tell_environment, str(tmp_path), 'GIVEN')
  for value in ('one', 'two'):
    executor.start(task, {}, {'GIVEN': value})
    processes.wait_until(
      lambda: executor.status({}).nodes['node/0'].returncode is not None
    )
    assert (tmp_path / 'environment').read_text() == value
  assert executor.status({}).nodes['node/0'].output.count(b'=== ') == 2


def test_a_stop_is_reported(executor, tmp_path):
  assert executor.status({}).stopped_by is None
  program = lp.Program('test')
  program.add_node(
    lp.PyNode(launch_nodes.stop_program, str(tmp_path), []), 'node'
  )
  (task,) = serialization.make_tasks(program)
  executor.start(task, {}, {})
  processes.wait_until(lambda: executor.status({}).stopped_by == 'node/0')
  assert 0 <= executor.status({}).stopped_seconds < 20


def test_terminate_and_kill(executor, tmp_path):
  executor.start(make_task(launch_nodes.block, str(tmp_path), 'node'), {}, {})
  processes.wait_until((tmp_path / 'node.pid').exists)
  executor.terminate('node/0')
  time.sleep(0.3)
  status = executor.status({}).nodes['node/0']
  assert status.returncode is None
  assert status.pid == int((tmp_path / 'node.pid').read_text())
  executor.kill('node/0')
  processes.wait_until(
    lambda: executor.status({}).nodes['node/0'].returncode == -signal.SIGKILL
  )


def test_an_address_that_only_the_node_uses_is_chosen_here(executor, tmp_path):
  task = make_task(
    launch_nodes.tell_environment, str(tmp_path), tasks.ADDRESSES, keys=('k',)
  )
  executor.start(task, {'other': 'machine:1'}, {})
  processes.wait_until(
    lambda: executor.status({}).nodes['node/0'].returncode == 0
  )
  found = (tmp_path / 'environment').read_text()
  assert '"other": "machine:1"' in found
  assert '"k": "localhost:' in found


def test_ports_are_held(executor):
  first = executor.hold_ports({'a': 0, 'b': 0})
  assert len(set(first.values())) == 2
  assert executor.hold_ports({'a': 0}) == {'a': first['a']}
  with pytest.raises(OSError, match='in use'):
    ports.hold_port(first['a'])
  with pytest.raises(OSError, match='in use'):
    executor.hold_ports({'c': first['a']})


_ABANDONED = """
import pathlib, sys, time
from programs.launching import executor as executor_lib
import test_executor, launch_nodes
executor = executor_lib.Executor(1.0, test_executor.PATH)
task = test_executor.make_task(launch_nodes.keep_child, sys.argv[1], 'node')
executor.start(task, {}, {})
while len(list(pathlib.Path(sys.argv[1]).glob('*.pid'))) < 2:
  executor.status({})
  time.sleep(0.1)
print(executor._folder, flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize('is_killed', [False, True])
def test_no_process_survives_the_lease(tmp_path, is_killed):
  """The launcher is unreachable, or the executor is killed."""
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
