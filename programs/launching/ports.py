"""Ports of this machine, held from the moment they are chosen."""

import contextlib
import socket

_PROBE_SECONDS = 2.0


def hold_port(port: int) -> socket.socket:
  """Takes a TCP port that nobody has, so that only a server of ours gets it.

  Reverb shares its port: a second server on it starts without an error, and
  every client is connected to either. So a port must be refused that somebody
  listens on, shared or not; and between choice and use, while the nodes import
  their libraries, no other launcher and no outgoing connection may get it.

  Args:
    port: Its number; 0 takes one that the system chooses.

  Returns:
    A socket that is bound without sharing, and then lets in those who bind with
    SO_REUSEADDR, as servers do (gRPC's, hence Reverb's and Courier's, too). It
    never listens. Close it to let go of the port.

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


def of(address: str) -> int:
  """The port of 'host:port'."""
  return int(address.rpartition(':')[2])


def own_address(head: str) -> str:
  """This machine's in the network of 'host:port'; '' for none or 'auto'."""
  host, _, port = head.rpartition(':')
  if not host:
    return ''
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    with contextlib.suppress(OSError):
      probe.bind((host, 0))
      return host  # It is the head itself.
    with contextlib.suppress(OSError, ValueError):
      probe.connect((host, int(port)))  # Sends nothing.
      return str(probe.getsockname()[0])
  return ''


def find_trouble(address: str) -> OSError | None:
  """Why nobody can be reached at 'host:port'; None where somebody can."""
  try:
    socket.create_connection(
      (address.rpartition(':')[0], of(address)), _PROBE_SECONDS
    ).close()
  except OSError as error:
    return error
  return None
