"""TCP ports and addresses of this machine."""

import contextlib
import socket

_TIMEOUT_SECONDS = 2.0


def hold_port(port: int) -> socket.socket:
  """Reserve a free TCP port until a server of ours takes it.

  Reverb shares its port: a second server on it starts without an error, and
  clients are connected to either. So a port on which a server listens must be
  refused, shared or not; and between choice and use, while nodes import their
  libraries, no other launcher and no outgoing connection may get it.

  Args:
    port: Its number; 0 takes one that the system chooses.

  Returns:
    A socket that never listens. It is bound without sharing, and then admits
    servers that bind with SO_REUSEADDR, as gRPC's (Reverb's and Courier's) do.
    Close it to release the port.

  Raises:
    OSError: The port is taken.
  """
  is_dual = socket.has_dualstack_ipv6()
  family = socket.AF_INET6 if is_dual else socket.AF_INET
  held = socket.socket(family, socket.SOCK_STREAM)
  try:
    if is_dual:
      held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    held.bind(('', port))
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  except BaseException:
    held.close()
    raise
  return held


def split_address(address: str) -> tuple[str, int]:
  """Return host and port of 'host:port'."""
  host, _, port = address.rpartition(':')
  return host, int(port)


def own_address(head: str) -> str:
  """Return this machine's address as machines see it in a network.

  Args:
    head: 'host:port' of a machine in that network. For 'auto' and '' the
      result is ''.
  """
  host, _, port = head.rpartition(':')
  if not host:
    return ''
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    with contextlib.suppress(OSError):
      probe.bind((host, 0))
      return host  # This machine is the head.
    with contextlib.suppress(OSError, ValueError):
      probe.connect((host, int(port)))  # Sends nothing.
      return str(probe.getsockname()[0])
  return ''


def connection_error(address: str) -> OSError | None:
  """Return why 'host:port' accepts no connection; None where it does."""
  try:
    socket.create_connection(split_address(address), _TIMEOUT_SECONDS).close()
  except OSError as error:
    return error
  return None
