import functools
import os
import signal
import time

from programs.launching import children, restarts, supervisor


class Clock:
  def __init__(self):
    self.seconds = 1000.0

  def __call__(self):
    return self.seconds


def test_early_failures_back_off_exponentially():
  counted = restarts.RestartPolicy(100)
  pauses = [counted.next_delay('actor/0', uptime_seconds=2.0) for _ in range(8)]
  assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]
  assert counted.next_delay('actor/1', 2.0) == 0
  # One that has worked for a while begins anew.
  assert counted.next_delay('actor/0', 60.0) == 0
  assert counted.next_delay('actor/0', 2.0) == 0
  assert counted.next_delay('actor/0', 2.0) == 1


def test_restarts_are_counted_over_the_last_hour():
  clock = Clock()
  counted = restarts.RestartPolicy(2, clock)
  assert counted.next_delay('actor/0', 60.0) == 0
  clock.seconds += 1800
  assert counted.next_delay('actor/1', 60.0) == 0
  assert counted.count == 2
  clock.seconds += 1799
  assert counted.next_delay('actor/0', 60.0) is None  # And is not counted.
  clock.seconds += 1
  assert counted.count == 1
  assert counted.next_delay('actor/0', 60.0) == 0
  assert counted.next_delay('actor/0', 60.0) is None


def run(tmp_path, max_per_hour, *scripts, refusal=str):
  """Runs shell scripts as nodes to their end; returns the outcome."""
  commands = []
  for i, script in enumerate(scripts):
    command = children.NodeCommand(
      f'node/{i}', ('/bin/sh', '-c', script), dict(os.environ)
    )
    start = functools.partial(children.Child, command)
    commands.append(supervisor.Node(command.name, start, refusal))
  with supervisor.Supervisor(
    commands,
    tmp_path / 'logs',
    tmp_path / 'stop',
    restarts=restarts.RestartPolicy(max_per_hour),
  ) as runner:
    runner.start()
    deadline = time.monotonic() + 20
    while runner.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.02)
    return runner.stop()


def test_a_killed_node_restarts(tmp_path):
  once = f'test -e {tmp_path}/was || {{ touch {tmp_path}/was; kill -9 $$; }}'
  outcome = run(tmp_path, 5, f'{once}; echo back', 'sleep 0.3')
  assert (outcome.kind, outcome.exit_status) == ('finished', 0)
  assert outcome.statuses == {'node/0': 0, 'node/1': 0}
  lines = (tmp_path / 'logs/node_0.log').read_text().splitlines()
  assert len(lines) == 4  # The command, the failure, the command, its output.
  assert 'node/0: killed by SIGKILL; restarts in 0 s' in lines[1]
  assert 'restart 1 of at most 5' in lines[1]
  assert lines[3] == 'back'


def test_a_pending_restart_keeps_the_program_running(tmp_path):
  """All others have returned by then."""
  twice = (
    f'echo x >> {tmp_path}/n; test $(wc -l < {tmp_path}/n) -ge 3 || exit 7'
  )
  begin = time.monotonic()
  outcome = run(tmp_path, 5, twice)
  assert time.monotonic() - begin >= 1.0
  assert outcome.statuses == {'node/0': 0}


def test_too_many_restarts_end_the_program(tmp_path):
  outcome = run(tmp_path, 2, 'echo broken; exit 7', 'sleep 60')
  assert (outcome.kind, outcome.exit_status) == ('failed', 1)
  assert outcome.failure.name == 'node/0'
  assert outcome.failure.status == (
    'exit status 7, after 2 restarts within an hour'
  )
  assert outcome.failure.tail == 'broken'
  assert outcome.statuses['node/1'] == -signal.SIGTERM


def test_a_failure_after_the_stop_does_not_restart(tmp_path):
  stop = f'sleep 0.2; echo node/1 > {tmp_path}/stop'
  fail = (
    f'while ! test -e {tmp_path}/stop; do sleep 0.01; done; sleep 0.1; exit 3'
  )
  outcome = run(tmp_path, 5, fail, stop)
  assert outcome.kind == 'finished'
  assert 'restarts in' not in (tmp_path / 'logs/node_0.log').read_text()


def test_a_node_that_cannot_restart_ends_the_program(tmp_path):
  outcome = run(
    tmp_path, 5, 'exit 7', 'sleep 60', refusal=lambda: 'its machine is lost'
  )
  assert outcome.failure.status == 'exit status 7, and its machine is lost'
  assert outcome.exit_status == 1
