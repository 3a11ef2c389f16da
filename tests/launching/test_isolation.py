"""Runs are in a private network namespace, or name their open ports."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import psutil
import pytest

from programs.commands import placement
from programs.launching import isolation
from programs.runs import run_directory

ROOT = pathlib.Path(__file__).absolute().parents[2]
TRAIN = [
  *(
    sys.executable,
    '-m',
    'programs.commands.train',
    '--num_actors=1',
    '--batch_size=2',
  ),
  *('--unroll_length=5', '--evaluation_period_frames=0'),
  '--test_num_episodes=1',
]
# No namespace is allowed in here, as in most containers.
DENIED = [
  *('unshare', '--user', '--map-root-user', 'sh', '-c'),
  'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"',
  'sh',
]


def is_allowed():
  with contextlib.suppress(OSError):
    command = ['unshare', '--user', '--map-root-user', '--net', 'true']
    return not subprocess.run(command, stderr=subprocess.DEVNULL).returncode
  return False


needs_namespaces = pytest.mark.skipif(
  not is_allowed(), reason='the kernel or the container allows no namespaces'
)


def listening(pid):
  """Ports with a listener in the network namespace of a process."""
  lines = []
  for name in ('tcp', 'tcp6'):
    text = pathlib.Path(f'/proc/{pid}/net/{name}').read_text()
    lines += [line.split() for line in text.splitlines()[1:]]
  return {
    int(words[1].rpartition(':')[2], 16) for words in lines if words[3] == '0A'
  }


def answers(port):
  with socket.socket() as client:
    client.settimeout(5)
    return not client.connect_ex(('127.0.0.1', port))


@needs_namespaces
def test_the_ports_of_a_run_are_unreachable(tmp_path):
  directory = tmp_path / 'run'
  with subprocess.Popen(
    [*TRAIN, '--require_isolation', f'--logdir={directory}'],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    try:
      rows = directory / 'metrics/learner.csv'
      while not (rows.exists() and len(rows.read_text().splitlines()) > 2):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
      here = os.stat('/proc/self/ns/net')
      there = psutil.Process(process.pid).children(recursive=True)
      for node in (process, *there):
        with contextlib.suppress(FileNotFoundError):  # It has just ended.
          assert os.stat(f'/proc/{node.pid}/ns/net') != here
      ports = listening(process.pid)
      assert len(ports) >= 3  # Monitor, queue, learner.
      assert not ports & listening(os.getpid())
      assert not any(map(answers, ports))
    finally:
      process.terminate()
    output = process.stdout.read()
  assert process.returncode in (130, 143), output
  assert 'are open to other machines' not in output


@needs_namespaces
def test_a_run_without_isolation_names_its_ports(tmp_path):
  with subprocess.Popen(
    [*DENIED, *TRAIN, f'--logdir={tmp_path / "run"}'],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    warning, output = None, ''
    while not warning:
      line = process.stdout.readline()
      assert line, output
      output += line
      warning = re.match(r'Ports (.*) are open to other machines, ', line)
    process.terminate()
    output += process.stdout.read()
  assert len(warning[1].split(', ')) == 3
  assert output.count('are open to other machines') == 1
  assert '(unshare: No space left on device)' in output


@needs_namespaces
@pytest.mark.parametrize('command', ['train', 'evaluate'])
def test_required_isolation_that_is_impossible_is_refused(tmp_path, command):
  done = subprocess.run(
    [*DENIED, sys.executable, '-m', f'programs.commands.{command}']
    + ['--require_isolation', f'--logdir={tmp_path / "run"}'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 2
  assert done.stderr.count('\n') == 1
  assert done.stderr.startswith(
    f'./impala {command}: require_isolation must be false where '
  )
  assert 'got true (unshare: No space left on' in done.stderr
  assert not (tmp_path / 'run').exists()


@needs_namespaces
def test_an_isolated_process_is_not_replaced():
  """As in a container without a network, which allows no namespaces."""
  code = (
    'import os; from programs.launching import isolation; '
    'before = os.getpid(), os.readlink("/proc/self/ns/net"); '
    'assert isolation.enter() == isolation.why_impossible() == ""; '
    'assert before == (os.getpid(), os.readlink("/proc/self/ns/net"))'
  )
  alone = ['unshare', '--user', '--map-root-user', '--net']
  done = subprocess.run(
    [*alone, *DENIED[3:], sys.executable, '-c', code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert not done.returncode, done.stderr


def test_isolation_is_refused_with_several_machines():
  given = {'launch': 'local', 'task': '0', 'require_isolation': True}
  with pytest.raises(
    run_directory.RunError, match='must be left out with --task or'
  ):
    placement.make_plan(given)
  plan = placement.make_plan({**given, 'require_isolation': False})
  assert 'docs/cluster.md' in plan.exposure and plan.role.job == 'learner'


def test_a_function_does_not_replace_the_process_of_its_caller():
  assert isolation.require(False).endswith('(it was not started as a command)')
  with pytest.raises(ValueError, match='require_isolation must be false'):
    isolation.require(True)
