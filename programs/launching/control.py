"""How launchers of one program on several machines keep in touch: plain TCP.

One launcher leads: it runs the servers of the program. The others, its members,
run nodes that nobody has a handle to. A member joins, learns what it needs, and
then says once a second how its nodes fare; the answer is that it is to go on or
to stop. Every message is a line of JSON: nothing that is received is run.

  member: {"join": {"id": ..., "nodes": [...], "host": ..., "expects": ...}}
  leader: {"welcome": {...}}, {"refused": "why"}, {"later": "why"} or a stop
  member: {"beat": {"output": {node: [offset, text]}, "left": null or {...}}}
  leader: {"stop": null or {"kind": ..., "reason": ...}}
"""

import contextlib
import dataclasses
import json
import pathlib
import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from programs.launching import logs

BEAT_SECONDS = 1.0
# A member that the leader has not answered for so long ends its nodes, within
# NOTICE_SECONDS. The leader gives up a member later than that, so that a node
# does not run twice.
LEASE_SECONDS = 12.0
NOTICE_SECONDS = 3.0
LOST_SECONDS = 17.0
_ATTEMPT_SECONDS = 2.0  # Of one connection or answer, on a link that is down.
# How long a leader waits for its members' end, and a member for an answer to
# its goodbye.
_PARTING_SECONDS = 15.0
_GOODBYE_SECONDS = 5.0
MAX_OUTPUT_BYTES = 1 << 18  # Of a node, in one beat.
_MAX_LINE_BYTES = 1 << 26
# Bytes that are no UTF-8, or half of a character, arrive as they were.
_BYTES = 'surrogateescape'


class ControlError(Exception):
  """The launchers cannot go on together; the message says why."""


class OverError(ControlError):
  """The program has ended, or is about to.

  Attributes:
    kind: As of an `outcomes.Outcome`.
    reason: In words.
  """

  def __init__(self, kind: str, reason: str) -> None:
    super().__init__(f'the run has ended there: {reason}')
    self.kind, self.reason = kind, reason


@dataclasses.dataclass
class _Member:
  """A launcher that has joined, as the leader knows it.

  Attributes:
    id: Of its own making; the same after its connection broke.
    host: Its machine.
    nodes: What it runs.
    heard_at: When it was heard of last, as `time.monotonic` counts.
    received: Node -> bytes of its output that have come.
  """

  id: str
  host: str
  nodes: Sequence[str]
  heard_at: float
  received: dict[str, int] = dataclasses.field(default_factory=dict)


class Leader:
  """Takes in members, writes their nodes' logs, and tells them when to stop."""

  def __init__(
    self,
    listening: socket.socket,
    nodes: Sequence[str],
    welcome: Mapping[str, Any],
    log_directory: pathlib.Path,
  ) -> None:
    """Serves from now on.

    Args:
      listening: Bound, and listening; closed by `close`.
      nodes: `<group>/<index>` of those that members run.
      welcome: What every member is told when it joins; goes into JSON.
      log_directory: Takes the logs of the members' nodes.
    """
    self._nodes = frozenset(nodes)
    self._welcome = json.loads(json.dumps(welcome))
    self._log_directory = log_directory
    self._lock = threading.Lock()
    self._members: dict[str, _Member] = {}
    self._logs: dict[str, logs.Log] = {}
    self._stop: dict[str, str] | None = None
    self._stopped_by: str | None = None
    self._failed: tuple[str, str, logs.Log] | None = None
    self._error: OSError | None = None
    self._server = _Server(listening, self)
    self._thread = threading.Thread(
      target=self._server.serve_forever, kwargs={'poll_interval': 0.1}
    )
    self._thread.start()

  def machines(self) -> dict[str, str]:
    """Node -> machine, of members' nodes that run; forgets who is lost.

    Raises:
      OSError: A log could not be written.
    """
    with self._lock:
      if self._error is not None:
        raise self._error
      self._forget_lost()
      return {
        name: member.host
        for member in self._members.values()
        for name in member.nodes
      }

  def stopped_by(self) -> str | None:
    """The member's node that stopped the program, where one did."""
    return self._stopped_by

  def failed(self) -> tuple[str, str, logs.Log] | None:
    """A member's node that failed once too often, how, and its log."""
    return self._failed

  def tell_stop(self, kind: str, reason: str) -> None:
    """Has all members told to stop, those that come from now on, too.

    Args:
      kind: As of an `outcomes.Outcome`.
      reason: In words.
    """
    with self._lock:
      self._stop = self._stop or {'kind': kind, 'reason': reason}

  def wait(self) -> None:
    """Waits until all members have left, or for as long as they may take."""
    deadline = time.monotonic() + _PARTING_SECONDS
    while self.machines() and time.monotonic() < deadline:
      time.sleep(0.05)

  def close(self) -> None:
    """Ends serving."""
    self._server.is_closed = True
    self._server.shutdown()
    self._server.server_close()
    self._thread.join()
    with self._lock:
      for log in self._logs.values():
        log.close()

  def join(self, said: Mapping[str, Any]) -> dict[str, Any]:
    """Answers who wants to join."""
    member = _Member(
      str(said['id']), str(said['host']), list(said['nodes']), time.monotonic()
    )
    with self._lock:
      self._forget_lost()
      if self._stop is not None:
        return {'stop': self._stop}
      if said['expects'] not in (None, self._welcome):
        return {'refused': 'it leads another run now, or with other flags'}
      unknown = [name for name in member.nodes if name not in self._nodes]
      if unknown or not member.nodes:
        return {
          'refused': f'it has no {", ".join(unknown) or "node"} for others to '
          f'run, but {_listed(sorted(self._nodes))}'
        }
      for other in self._members.values():
        taken = set(other.nodes) & set(member.nodes)
        if other.id != member.id and taken:
          return {
            'later': f'{_listed(sorted(taken))} runs already, on {other.host}'
          }
      if member.id in self._members:
        self._members[member.id].heard_at = member.heard_at
      else:
        self._members[member.id] = member
        for name in member.nodes:
          self._write(name, f'joins from {member.host}')
      return {'welcome': self._welcome}

  def hear(self, id_: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Takes in a member's beat, and answers it."""
    with self._lock:
      member = self._members.get(id_)
      if member is None:  # It was given up meanwhile; it may join again.
        return {'later': 'it was not heard of for too long'}
      member.heard_at = time.monotonic()
      for name, (offset, text) in said['output'].items():
        if name in member.nodes:
          piece = text.encode(errors=_BYTES)
          # Where an answer did not arrive, the same comes again.
          known = max(0, member.received.get(name, offset) - offset)
          self._write(name, piece[known:])
          member.received[name] = offset + len(piece)
      if left := said['left']:
        del self._members[id_]
        for name in member.nodes:
          self._write(name, f'leaves: {left["reason"]}')
        self._stopped_by = self._stopped_by or left['stopped_by']
        name = left['failed']
        if name in member.nodes and self._failed is None:
          self._failed = name, left['reason'], self._log(name)
      return {'stop': self._stop}

  def _write(self, name: str, what: str | bytes) -> None:
    """Adds a sentence of ours, or what a node has written, to its log."""
    try:
      if isinstance(what, str):
        self._log(name).say(what)
      else:
        self._log(name).file.write(what)
    except OSError as error:  # It is no fault of the member's.
      self._error = error

  def _forget_lost(self) -> None:
    """Gives up members that were not heard of for too long."""
    now = time.monotonic()
    for member in list(self._members.values()):
      if now - member.heard_at > LOST_SECONDS:
        del self._members[member.id]
        for name in member.nodes:
          self._write(
            name,
            f'lost with {member.host}, not heard of for {LOST_SECONDS:g} s',
          )

  def _log(self, name: str) -> logs.Log:
    if name not in self._logs:
      self._log_directory.mkdir(parents=True, exist_ok=True)
      group, _, index = name.rpartition('/')
      path = self._log_directory / logs.file_name(group, int(index))
      self._logs[name] = logs.Log(path, name)
    return self._logs[name]


class _Server(socketserver.ThreadingTCPServer):
  """A thread for each member."""

  daemon_threads = True
  block_on_close = False

  def __init__(self, listening: socket.socket, leader: Leader) -> None:
    super().__init__(
      listening.getsockname(), _Connection, bind_and_activate=False
    )
    self.socket.close()
    self.socket = listening
    self.leader = leader
    self.is_closed = False

  def handle_error(self, *_: object) -> None:
    """What somebody says that is no message ends the connection, no more."""


class _Connection(socketserver.StreamRequestHandler):
  """One member's; it is closed when nothing was said for long."""

  timeout = LOST_SECONDS
  server: _Server

  def handle(self) -> None:
    id_ = None
    while line := self.rfile.readline(_MAX_LINE_BYTES):
      if self.server.is_closed:
        return
      said = json.loads(line)
      if 'join' in said:
        answer = self.server.leader.join(said['join'])
        id_ = str(said['join']['id'])
      else:
        answer = self.server.leader.hear(str(id_), said['beat'])
      self.wfile.write(json.dumps(answer).encode() + b'\n')


class Link:
  """A member's connection to its leader, made again whenever it breaks."""

  def __init__(self, host: str, port: int, nodes: Sequence[str]) -> None:
    """Is not connected yet.

    Args:
      host: The leader's machine.
      port: Where it serves.
      nodes: `<group>/<index>` of those that run here.
    """
    self._address = (host, port)
    self.nodes = tuple(nodes)
    self.welcome: Mapping[str, Any] = {}  # What the leader said first.
    self._id = uuid.uuid4().hex
    self._stream: Any = None
    self._sent: dict[str, int] = {}
    self._answered_at = time.monotonic()
    self._trouble = ''
    self._read: Callable[[Mapping[str, int]], Mapping[str, bytes]] = (
      lambda sent: {}
    )
    self._error: ControlError | None = None
    self._stop: Mapping[str, str] | None = None
    self._is_over = threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)

  def join(
    self, patience_seconds: float, on_wait: Callable[[float, str], None]
  ) -> Mapping[str, Any]:
    """Waits for the leader.

    Args:
      patience_seconds: How long.
      on_wait: Called a few times a second with the seconds since, and with why
        there is no answer yet.

    Returns:
      What the leader tells its members.

    Raises:
      OverError: The program is about to end.
      ControlError: There was no leader, or it does not want this member.
    """
    started = time.monotonic()
    while True:
      try:
        self.welcome = self._connect(None)
        self._answered_at = time.monotonic()
        return self.welcome
      except (OSError, ValueError) as error:
        waited = time.monotonic() - started
        if waited > patience_seconds:
          raise ControlError(
            f'nobody answered at {self._where()} for {patience_seconds:g} s '
            f'({error})'
          ) from error
        on_wait(waited, str(error))
        time.sleep(0.3)

  def start(
    self, read: Callable[[Mapping[str, int]], Mapping[str, bytes]]
  ) -> None:
    """Sends a beat a second from now on, from a thread of its own.

    Args:
      read: Called with node -> bytes that were sent of its output; returns node
        -> the next ones.
    """
    self._read = read
    self._answered_at = time.monotonic()
    self._thread.start()

  def stop(self) -> Mapping[str, str] | None:
    """Why the leader wants the nodes to stop, once it does.

    Whatever keeps the thread that asks: call it several times a second.

    Raises:
      ControlError: The leader is gone, or has become another run's.
    """
    if self._error is not None:
      raise self._error
    if time.monotonic() - self._answered_at > LEASE_SECONDS:
      raise ControlError(
        f'{self._where()} has not answered for {LEASE_SECONDS:g} s '
        f'({self._trouble or "no answer"})'
      )
    return self._stop

  def leave(
    self,
    reason: str,
    stopped_by: str | None = None,
    failed: str | None = None,
  ) -> None:
    """Tells the leader how the nodes ended; waits a little for its answer.

    Args:
      reason: In words, in one line.
      stopped_by: The node that stopped the program.
      failed: The node that failed once too often.

    Only the first call does anything.
    """
    if self._is_over.is_set():
      return
    left = {'reason': reason, 'stopped_by': stopped_by, 'failed': failed}
    deadline = time.monotonic() + _GOODBYE_SECONDS
    self._is_over.set()
    if self._thread.ident is not None:
      self._thread.join(_GOODBYE_SECONDS)
      if self._thread.is_alive():  # Somebody does not tell it an address.
        return
    while self._error is None and time.monotonic() < deadline:
      try:
        while self._beat(None):  # What the nodes wrote last comes first.
          pass
        self._beat(left)
        break
      except (OSError, ValueError):
        self._disconnect()
        time.sleep(0.2)
      except ControlError:
        break
    self._disconnect()

  def _run(self) -> None:
    while not self._is_over.wait(BEAT_SECONDS):
      try:
        self._beat(None)
      except (OSError, ValueError) as error:
        self._trouble = str(error)
        self._disconnect()
      except ControlError as error:
        self._error = error
        return
      except Exception as error:  # Nobody else would notice.
        self._error = ControlError(f'{type(error).__name__}: {error}')
        return

  def _beat(self, left: Mapping[str, Any] | None) -> bool:
    """Says how the nodes fare; returns whether they had written anything.

    Args:
      left: How they ended, once they have.

    Raises:
      OSError: The connection broke.
      ValueError: It is not a leader that answers.
      ControlError: It leads something else now.
    """
    began = time.monotonic()
    if self._stream is None:
      try:
        self._connect(self.welcome)
      except OverError as over:
        self._stop = {'kind': over.kind, 'reason': over.reason}
        return False
    output = self._read(self._sent)
    said = {
      'output': {
        name: [self._sent.get(name, 0), piece.decode(errors=_BYTES)]
        for name, piece in output.items()
        if piece
      },
      'left': left,
    }
    answer = self._ask({'beat': said})
    if 'later' in answer:  # Given up for lost: it joins anew.
      raise ConnectionError(answer['later'])
    self._answered_at = began
    self._stop = answer['stop']
    for name, piece in output.items():
      self._sent[name] = self._sent.get(name, 0) + len(piece)
    return bool(said['output'])

  def _connect(self, expects: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Joins; returns what the leader tells its members.

    Args:
      expects: What that must be; None: whatever it is.
    """
    connection = socket.create_connection(self._address, _ATTEMPT_SECONDS)
    said = {
      'id': self._id,
      'nodes': self.nodes,
      'host': connection.getsockname()[0],
      'expects': expects,
    }
    self._stream = connection.makefile('rwb')
    connection.close()  # The stream keeps it open.
    try:
      answer = self._ask({'join': said})
      if 'refused' in answer:
        raise ControlError(
          f'{self._where()} does not take in {_listed(self.nodes)}: '
          f'{answer["refused"]}'
        )
      if 'later' in answer:
        raise ConnectionError(answer['later'])
      if 'stop' in answer:
        raise OverError(**answer['stop'])
      return answer['welcome']
    except BaseException:
      self._disconnect()
      raise

  def _ask(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
    self._stream.write(json.dumps(said).encode() + b'\n')
    self._stream.flush()
    line = self._stream.readline(_MAX_LINE_BYTES)
    if not line.endswith(b'\n'):
      raise ConnectionError('the connection was closed')
    answer = json.loads(line)
    if not isinstance(answer, dict) or not (
      {'welcome', 'refused', 'later', 'stop'} & set(answer)
    ):
      raise ValueError('it is no launcher of this program that answers')
    return answer

  def _disconnect(self) -> None:
    if self._stream is not None:
      with contextlib.suppress(OSError):
        self._stream.close()
      self._stream = None

  def _where(self) -> str:
    return f'{self._address[0]}:{self._address[1]}'


def _listed(names: Sequence[str]) -> str:
  """Names in words, the first and the last where there are many."""
  if len(names) <= 3:
    return ', '.join(names)
  return f'{names[0]} ... {names[-1]}'
