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


def test_an_early_failure_again_waits_ever_longer():
  counted = restarts.Restarts(100)
  pauses = [counted.grant('actor/0', lived_seconds=2.0) for _ in range(8)]
  assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]
  assert counted.grant('actor/1', 2.0) == 0
  # One that has worked for a while begins anew.
  assert counted.grant('actor/0', 60.0) == 0
  assert counted.grant('actor/0', 2.0) == 0
  assert counted.grant('actor/0', 2.0) == 1


def test_restarts_are_counted_over_the_last_hour():
  clock = Clock()
  counted = restarts.Restarts(2, clock)
  assert counted.grant('actor/0', 60.0) == 0
  clock.seconds += 1800
  assert counted.grant('actor/1', 60.0) == 0
  assert counted.count == 2
  clock.seconds += 1799
  assert counted.grant('actor/0', 60.0) is None  # And is not counted.
  clock.seconds += 1
  assert counted.count == 1
  assert counted.grant('actor/0', 60.0) == 0
  assert counted.grant('actor/0', 60.0) is None


def run(tmp_path, max_per_hour, *scripts, refusal=str):
  """Runs shell scripts as nodes to their end; returns the outcome."""
  commands = []
  for i, script in enumerate(scripts):
    command = children.NodeCommand(
      f'node/{i}', ('/bin/sh', '-c', script), dict(os.environ)
    )
    start = functools.partial(children.Child, command)
    commands.append(supervisor.Startable(command.name, start, refusal))
  with supervisor.Supervisor(
    commands,
    tmp_path / 'logs',
    tmp_path / 'stop',
    restarts=restarts.Restarts(max_per_hour),
  ) as runner:
    runner.start()
    deadline = time.monotonic() + 20
    while runner.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.02)
    return runner.stop()


def test_a_killed_node_is_started_again(tmp_path):
  once = f'test -e {tmp_path}/was || {{ touch {tmp_path}/was; kill -9 $$; }}'
  outcome = run(tmp_path, 5, f'{once}; echo back', 'sleep 0.3')
  assert (outcome.kind, outcome.exit_status) == ('finished', 0)
  assert outcome.statuses == {'node/0': 0, 'node/1': 0}
  lines = (tmp_path / 'logs/node_0.log').read_text().splitlines()
  assert len(lines) == 4  # The command, the failure, the command, its output.
  assert lines[1].endswith(
    'node/0: killed by SIGKILL; started again in 0 s, restart 1 of 5 within '
    'the hour'
  )
  assert lines[3] == 'back'


def test_who_waits_for_its_restart_keeps_the_program_running(tmp_path):
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


def test_who_fails_after_the_stop_is_not_started_again(tmp_path):
  stop = f'sleep 0.2; echo node/1 > {tmp_path}/stop'
  fail = (
    f'while ! test -e {tmp_path}/stop; do sleep 0.01; done; sleep 0.1; exit 3'
  )
  outcome = run(tmp_path, 5, fail, stop)
  assert outcome.kind == 'finished'
  assert 'started again' not in (tmp_path / 'logs/node_0.log').read_text()


def test_who_cannot_be_started_again_ends_the_program(tmp_path):
  outcome = run(
    tmp_path, 5, 'exit 7', 'sleep 60', refusal=lambda: 'its machine is lost'
  )
  assert outcome.failure.status == 'exit status 7, and its machine is lost'
  assert outcome.exit_status == 1
