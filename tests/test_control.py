import contextlib
import json
import socket
import threading
import time

import pytest

from programs.launching import control

WELCOME = {'addresses': {'queue/0/0': 'host:1'}}


@contextlib.contextmanager
def leading(tmp_path, nodes=('actor/0', 'actor/1'), port=0):
  leader = control.Leader(
    socket.create_server(('127.0.0.1', port)), nodes, WELCOME, tmp_path / 'logs'
  )
  try:
    yield leader
  finally:
    leader.close()


@pytest.fixture
def leader(tmp_path):
  with leading(tmp_path) as made:
    yield made


def port_of(leader):
  return leader._server.socket.getsockname()[1]


def join(leader, *nodes):
  link = control.Link('127.0.0.1', port_of(leader), nodes)
  assert link.join(5.0, lambda *_: None) == WELCOME
  return link


def wait_until(condition, seconds=10.0):
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def log_of(tmp_path, name):
  return (tmp_path / 'logs' / name).read_bytes()


def ask(leader, *lines):
  """What is answered to lines that a stranger sends."""
  with socket.create_connection(('127.0.0.1', port_of(leader)), 5) as there:
    stream = there.makefile('rwb')
    answers = []
    for line in lines:
      stream.write(line + b'\n')
      stream.flush()
      answers.append(stream.readline())
    return answers


def test_a_member_joins_beats_and_is_told_to_stop(leader, tmp_path):
  link = join(leader, 'actor/0')
  assert leader.machines() == {'actor/0': '127.0.0.1'}
  written = b'first\xff\xc3'

  def read(sent):
    return {'actor/0': written[sent.get('actor/0', 0) :][:4]}

  link.start(read)
  wait_until(lambda: written in log_of(tmp_path, 'actor_0.log'))
  written += b'\xa4 second'
  wait_until(lambda: written in log_of(tmp_path, 'actor_0.log'))
  assert link.stop() is None
  leader.tell_stop('finished', 'enough')
  wait_until(lambda: link.stop() == {'kind': 'finished', 'reason': 'enough'})
  link.leave('finished')
  assert leader.machines() == {}
  assert b'joins from 127.0.0.1\n' in log_of(tmp_path, 'actor_0.log')
  assert log_of(tmp_path, 'actor_0.log').endswith(b': leaves: finished\n')


def test_a_leader_waits_until_members_have_left(leader):
  link = join(leader, 'actor/0')
  link.start(lambda sent: {})
  began = time.monotonic()

  def leave():
    wait_until(lambda: link.stop() is not None)
    time.sleep(1.0)
    link.leave('done')

  thread = threading.Thread(target=leave)
  thread.start()
  leader.tell_stop('finished', 'enough')
  leader.wait()
  assert time.monotonic() - began >= 1.0
  assert not leader.machines()
  thread.join()


def test_what_nobody_knows_is_refused_and_what_runs_waits(leader):
  link = join(leader, 'actor/0')
  for nodes, message in (
    (['actor/7'], 'it has no actor/7 for others to run, but actor/0, actor/1'),
    ([], 'it has no node for others'),
  ):
    other = control.Link('127.0.0.1', port_of(leader), nodes)
    with pytest.raises(control.ControlError, match=message):
      other.join(5.0, lambda *_: None)
  successor = control.Link('127.0.0.1', port_of(leader), ['actor/0', 'actor/1'])
  waits = []

  def make_room(_, why):
    waits.append(why)
    link.leave('makes room')

  assert successor.join(5.0, make_room) == WELCOME
  assert waits == ['actor/0 runs already, on 127.0.0.1']
  assert set(leader.machines()) == {'actor/0', 'actor/1'}


def test_a_member_tells_of_its_end(leader, tmp_path):
  join(leader, 'actor/0').leave('finished', stopped_by='actor/0')
  assert leader.stopped_by() == 'actor/0' and leader.failed() is None
  join(leader, 'actor/1').leave('exit status 1', failed='actor/1')
  name, reason, log = leader.failed()
  assert (name, reason) == ('actor/1', 'exit status 1')
  assert log.path == tmp_path / 'logs' / 'actor_1.log'


def test_who_is_silent_is_given_up(leader, tmp_path, monkeypatch):
  monkeypatch.setattr(control, 'LOST_SECONDS', 0.5)
  silent = join(leader, 'actor/0')
  wait_until(lambda: leader.machines() == {})
  assert b'lost with 127.0.0.1, not heard' in log_of(tmp_path, 'actor_0.log')
  # It was alive after all, and its place is free: it is taken in again.
  monkeypatch.setattr(control, 'LOST_SECONDS', 17.0)
  silent.start(lambda sent: {})
  wait_until(lambda: leader.machines() == {'actor/0': '127.0.0.1'})
  silent.leave('done')


def test_a_broken_connection_is_made_again(tmp_path):
  """The leader is another one, of the same program, at the same address."""
  with leading(tmp_path) as first:
    port = port_of(first)
    link = join(first, 'actor/0')
    link.start(lambda sent: {})
  with leading(tmp_path, port=port) as second:
    wait_until(lambda: second.machines() == {'actor/0': '127.0.0.1'})
    assert link.stop() is None
    link.leave('done')


def test_a_member_gives_up_a_leader_that_is_gone(tmp_path, monkeypatch):
  monkeypatch.setattr(control, 'LEASE_SECONDS', 1.0)
  with leading(tmp_path) as leader:
    link = join(leader, 'actor/0')
    link.start(lambda sent: {})
  time.sleep(1.5)
  with pytest.raises(control.ControlError, match='has not answered for 1 s'):
    link.stop()


def test_a_member_does_not_follow_another_run(tmp_path, monkeypatch):
  with leading(tmp_path) as first:
    port = port_of(first)
    link = join(first, 'actor/0')
    link.start(lambda sent: {})
  monkeypatch.setitem(WELCOME, 'addresses', {})
  with leading(tmp_path, port=port):
    wait_until(lambda: link._error is not None)
    with pytest.raises(control.ControlError, match='leads another run now'):
      link.stop()


def test_nobody_answers(tmp_path):
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
  waits = []
  link = control.Link('127.0.0.1', port, ['actor/0'])
  with pytest.raises(control.ControlError, match='nobody answered'):
    link.join(1.0, lambda seconds, why: waits.append(why))
  assert 'refused' in waits[0]


def test_a_leader_that_is_about_to_end_takes_nobody_in(leader):
  leader.tell_stop('finished', 'enough')
  link = control.Link('127.0.0.1', port_of(leader), ['actor/0'])
  with pytest.raises(
    control.OverError, match='has ended there: enough'
  ) as over:
    link.join(5.0, lambda *_: None)
  assert over.value.kind == 'finished'


def test_a_lease_is_kept_whatever_keeps_the_beat(leader, monkeypatch):
  """As a name that is looked up for half a minute."""
  monkeypatch.setattr(control, 'LEASE_SECONDS', 1.5)
  link = join(leader, 'actor/0')
  over = threading.Event()
  link.start(lambda sent: over.wait(20) and {})
  time.sleep(1.0)
  assert link.stop() is None
  time.sleep(1.0)
  with pytest.raises(control.ControlError, match='has not answered'):
    link.stop()
  over.set()
  link.leave('late')


def test_an_unforeseen_error_is_told(leader):
  link = join(leader, 'actor/0')

  def fail(sent):
    raise KeyError('what')

  link.start(fail)
  wait_until(lambda: link._error is not None)
  with pytest.raises(control.ControlError, match="KeyError: 'what'"):
    link.stop()


def test_a_goodbye_arrives_after_all_output_whatever_breaks(leader, tmp_path):
  link = join(leader, 'actor/0')
  written = bytes(range(256)) * 5000
  size = control.MAX_OUTPUT_BYTES

  def read(sent):
    first = sent.get('actor/0', 0)
    return {'actor/0': written[first : first + size]}

  link._read = read
  ask, breaks = link._ask, [2, 4]

  def break_off(said):
    breaks[:] = [count - 1 for count in breaks]
    answer = ask(said)  # The leader has it, but its answer does not arrive.
    if 0 in breaks:
      raise ConnectionError
    return answer

  link._ask = break_off
  link.leave('exit status 1', failed='actor/0')
  assert leader.machines() == {}
  assert leader.failed()[:2] == ('actor/0', 'exit status 1')
  log = log_of(tmp_path, 'actor_0.log')
  assert log.count(written) == 1
  assert len(log) < len(written) + 1000


def test_a_log_that_cannot_be_written_is_the_leaders_trouble(leader):
  link = join(leader, 'actor/0')
  leader._log('actor/0').file.close()
  leader._log('actor/0').file = open('/dev/full', 'wb', buffering=0)  # noqa: SIM115
  link.start(lambda sent: {'actor/0': b'' if sent else b'some'})
  wait_until(lambda: leader._error is not None)
  with pytest.raises(OSError, match='No space left'):
    leader.machines()
  assert link.stop() is None  # It is none of the member's.
  leader._error = None
  link.leave('done')


def test_strangers_change_nothing(leader):
  link = join(leader, 'actor/0')
  assert ask(leader, b'GET / HTTP/1.1') == [b'']
  assert ask(leader, b'{"join": 3}') == [b'']
  assert ask(leader, b'{"beat": {"output": {}, "left": {}}}') == [
    b'{"later": "it was not heard of for too long"}\n'
  ]
  joins = {'id': 'x', 'nodes': ['actor/1'], 'host': 'h', 'expects': None}
  said = json.dumps({'join': joins})
  forged = [0, 'forged']
  beat = {'output': {'actor/0': forged, '../x/0': forged}, 'left': None}
  _, answer = ask(leader, said.encode(), json.dumps({'beat': beat}).encode())
  assert answer == b'{"stop": null}\n'
  assert 'forged' not in leader._log('actor/0').path.read_text()
  assert set(leader.machines()) == {'actor/0', 'actor/1'}
  link.leave('done')
