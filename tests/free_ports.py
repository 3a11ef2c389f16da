"""Ports in a row that nobody has."""

import contextlib
import socket


def find(count):
  """The first of so many, free on all addresses."""
  while True:
    with contextlib.ExitStack() as held:
      sockets = [held.enter_context(socket.socket()) for _ in range(count)]
      sockets[0].bind(('', 0))
      port = sockets[0].getsockname()[1]
      with contextlib.suppress(OSError, OverflowError):
        for offset, other in enumerate(sockets[1:], 1):
          other.bind(('', port + offset))
        return port
