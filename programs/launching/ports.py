"""Ports of this machine, held from the moment they are chosen."""

import contextlib
import socket
from collections.abc import Iterable

import launchpad as lp
from launchpad import address as lp_address

_MAX_TRIES = 20
_LOCAL_PREFIX = 'localhost:'


def hold_port(port: int) -> socket.socket:
  """Takes a TCP port that nobody has, so that only a server of ours gets it.

  Reverb shares its port: a second server on it starts without an error, and
  every client is connected to either. So a port must be refused that somebody
  listens on, shared or not; and between choice and use, while the nodes import
  their libraries, no other launcher and no outgoing connection may get it.

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


def hold_addresses(
  addresses: Iterable[lp.Address], held: contextlib.ExitStack
) -> None:
  """Holds the port of every bound local address; a taken one is bound anew.

  Args:
    addresses: Each once. Addresses elsewhere than on localhost are left alone.
    held: Lets go of the ports when it is closed.

  Raises:
    RuntimeError: No free port was found.
  """
  for address in addresses:
    for _ in range(_MAX_TRIES):
      resolved = address.resolve()
      if not resolved.startswith(_LOCAL_PREFIX):
        break
      try:
        held.enter_context(hold_port(lp.get_port_from_address(resolved)))
        break
      except OSError:
        address.bind(lp_address.SimpleLocalAddressBuilder())
    else:
      raise RuntimeError(f'no free port found in {_MAX_TRIES} tries')
