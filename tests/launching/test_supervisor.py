import functools
import os
import signal
import threading
import time

import processes
import pytest

from programs.launching import children, supervisor


def make_node(name, *argv):
  command = children.NodeCommand(name, argv, dict(os.environ))
  return supervisor.Node(name, functools.partial(children.Child, command))


def make_supervisor(tmp_path, *scripts, notice_seconds=5.0, noncritical=()):
  """A supervisor of shell scripts: node/0, node/1, ..."""
  commands = [
    make_node(f'node/{i}', '/bin/sh', '-c', script)
    for i, script in enumerate(scripts)
  ]
  return supervisor.Supervisor(
    commands, tmp_path / 'logs', tmp_path / 'stop', notice_seconds, noncritical
  )


def poll_until_outcome(runner, seconds=10.0):
  deadline = time.monotonic() + seconds
  while (outcome := runner.poll()) is None:
    assert time.monotonic() < deadline
    time.sleep(0.02)
  return outcome


def wait_for_output(tmp_path):
  """The first line that node/0 wrote."""
  log = tmp_path / 'logs/node_0.log'
  processes.wait_until(lambda: len(log.read_text().splitlines()) == 2, 10)
  return log.read_text().splitlines()[1]


def test_all_nodes_return(tmp_path):
  with make_supervisor(tmp_path, 'echo one', 'echo two >&2') as runner:
    runner.start()
    assert poll_until_outcome(runner).kind == 'finished'
    outcome = runner.stop()
  assert outcome.exit_status == 0
  assert outcome.describe() == 'finished: every node returned'
  assert outcome.statuses == {'node/0': 0, 'node/1': 0}
  assert (tmp_path / 'logs/node_1.log').read_text().endswith('\ntwo\n')


@pytest.mark.parametrize(
  ('script', 'noncritical', 'kind'),
  [
    ('kill -9 $$', ('node',), 'finished'),
    ('kill -9 $$', ('other',), 'failed'),
    ('exit 1', ('node',), 'failed'),
  ],
)
def test_noncritical_nodes_may_be_killed(tmp_path, script, noncritical, kind):
  with make_supervisor(
    tmp_path, script, 'sleep 0.5', noncritical=noncritical
  ) as runner:
    runner.start()
    assert poll_until_outcome(runner).kind == kind
    assert runner.stop().exit_status == (0 if kind == 'finished' else 1)


def test_first_failure_is_reported_with_its_own_tail(tmp_path):
  script = 'for i in $(seq 40); do echo line $i; done; exit 3'
  with make_supervisor(tmp_path, 'echo fine; exec sleep 60', script) as runner:
    runner.start()
    poll_until_outcome(runner)
    outcome = runner.stop()
  assert (outcome.kind, outcome.exit_status) == ('failed', 1)
  assert outcome.failure.name == 'node/1'
  assert outcome.failure.status == 'exit status 3'
  lines = outcome.failure.tail.splitlines()
  assert lines == [f'line {i}' for i in range(11, 41)]
  assert 'node/1 failed: exit status 3\n  | line 11\n' in outcome.describe()
  assert outcome.statuses == {'node/0': -signal.SIGTERM, 'node/1': 3}
  assert 'after the stop' not in outcome.describe()


def test_of_two_failures_seen_at_once_the_earlier_is_first(tmp_path):
  scripts = ['sleep 0.4; echo late; exit 1', 'echo early; exit 2']
  with make_supervisor(tmp_path, *scripts) as runner:
    runner.start()
    time.sleep(1.2)
    assert runner.poll().failure.name == 'node/1'


def test_failure_right_after_the_stop_does_not_count(tmp_path):
  asks = f'echo -n node/0 > {tmp_path}/stop; sleep 60'
  fails = f'until [ -s {tmp_path}/stop ]; do sleep 0.1; done; echo gone; exit 1'
  with make_supervisor(tmp_path, asks, fails) as runner:
    runner.start()
    time.sleep(1.2)
    outcome = runner.poll()
    assert (outcome.kind, outcome.stopped_by) == ('finished', 'node/0')
    outcome = runner.stop()
  assert outcome.exit_status == 0
  text = outcome.describe()
  assert text.startswith('finished: node/0 stopped the program\n')
  assert 'after the stop: node/1 (exit status 1)' in text


def test_failure_right_before_the_stop_counts(tmp_path):
  asks = f'sleep 0.5; echo -n node/0 > {tmp_path}/stop; sleep 60'
  with make_supervisor(tmp_path, asks, 'echo lost; exit 1') as runner:
    runner.start()
    time.sleep(1.2)
    assert runner.poll().failure.name == 'node/1'


def test_the_node_that_stops_the_program_must_not_fail(tmp_path):
  script = f'echo -n node/0 > {tmp_path}/stop; sleep 0.3; echo full; exit 1'
  with make_supervisor(tmp_path, 'trap "" TERM; ' + script) as runner:
    runner.start()
    assert poll_until_outcome(runner).kind == 'finished'
    outcome = runner.stop()
  assert (outcome.kind, outcome.exit_status) == ('failed', 1)
  assert outcome.failure.tail == 'full'


def test_a_stop_file_of_an_earlier_run_is_ignored(tmp_path):
  (tmp_path / 'stop').write_text('node/0')
  with make_supervisor(tmp_path, 'sleep 60') as runner:
    runner.start()
    assert runner.poll() is None


def test_node_that_ignores_the_notice_is_killed_with_its_children(tmp_path):
  ignores = 'trap "" TERM; sleep 61 & echo $!; wait; sleep 62'
  with make_supervisor(
    tmp_path, ignores, 'exec sleep 60', notice_seconds=0.5
  ) as runner:
    runner.start()
    child = int(wait_for_output(tmp_path))
    assert processes.is_alive(child)
    begin = time.monotonic()
    outcome = runner.stop()
    assert 0.4 < time.monotonic() - begin < 3.0
  assert outcome.killed == ('node/0',)
  assert 'did not stop in time, killed: node/0' in outcome.describe()
  assert 'after the stop' not in outcome.describe()
  processes.wait_until(lambda: not processes.is_alive(child), 10)


def test_children_of_a_node_that_returned_are_gone(tmp_path):
  with make_supervisor(tmp_path, 'sleep 60 & echo $!', 'sleep 60') as runner:
    runner.start()
    processes.wait_until(
      lambda: runner.poll() or len(runner.processes()) == 1, 10
    )
    child = int(wait_for_output(tmp_path))
    processes.wait_until(lambda: not processes.is_alive(child), 10)


def test_second_sigint_ends_the_notice(tmp_path):
  script = 'trap "" TERM; echo ready; sleep 60; sleep 60'
  with make_supervisor(tmp_path, script) as runner:
    runner.start()
    wait_for_output(tmp_path)
    runner.interrupt(signal.SIGINT)
    assert runner.poll().exit_status == 130
    timer = threading.Timer(0.3, runner.interrupt, (signal.SIGINT,))
    timer.start()
    begin = time.monotonic()
    outcome = runner.stop()
    assert time.monotonic() - begin < 3.0
    timer.join()
  assert outcome.killed == ('node/0',)
  assert outcome.describe().startswith('interrupted by SIGINT\n')


def test_a_second_sigterm_does_not_shorten_the_notice(tmp_path):
  script = 'trap "sleep 0.6; exit 0" TERM; echo ready; sleep 60 & wait'
  with make_supervisor(tmp_path, script) as runner:
    runner.start()
    wait_for_output(tmp_path)
    runner.interrupt(signal.SIGTERM)
    runner.interrupt(signal.SIGTERM)
    outcome = runner.stop()
  assert outcome.exit_status == 143
  assert (outcome.killed, outcome.statuses) == ((), {'node/0': 0})


def test_logs_are_appended_and_the_tail_is_of_this_start(tmp_path):
  for text in ('first', 'second'):
    with make_supervisor(tmp_path, f'echo {text}; exit 1') as runner:
      runner.start()
      outcome = poll_until_outcome(runner)
    assert outcome.failure.tail == text
  lines = outcome.failure.log.read_text().splitlines()
  assert [line for line in lines if line[:3] != '==='] == ['first', 'second']
  assert len(lines) == 4
  assert 'node/0: /bin/sh -c' in lines[2]


def test_command_that_does_not_exist_fails(tmp_path):
  command = make_node('node/0', '/no/such')
  with supervisor.Supervisor([command], tmp_path, tmp_path / 'stop') as runner:
    runner.start()
    tail = poll_until_outcome(runner).failure.tail
  assert tail == '/no/such cannot be run: No such file or directory'


def test_a_partial_start_leaves_no_process(tmp_path):
  (tmp_path / 'logs/node_1.log').mkdir(parents=True)
  script = f'sleep 60; : {tmp_path}'
  runner = make_supervisor(tmp_path, script, script)
  with pytest.raises(IsADirectoryError):
    runner.start()
  processes.wait_until(lambda: not processes.naming(tmp_path), 2)
  assert runner.processes() == {}


def test_leaving_the_context_kills(tmp_path):
  with make_supervisor(tmp_path, 'trap "" TERM; sleep 60; sleep 60') as runner:
    runner.start()
    pid = runner.processes()['node/0']
    assert processes.is_alive(pid)
  assert not processes.is_alive(pid)
