"""Gives a command a network of its own, in which it and its nodes are alone.

Reverb and Courier listen on all addresses, ask for no password, and Courier
runs what a client sends. In a network namespace with nothing but a loopback
device nobody else's packets come. To make one takes root, or a user namespace,
which a process with threads cannot enter: so the process is replaced by this
file run as a script, and that, when it is isolated, by the command again.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence

# '<process id> <why it is not isolated>', in the environment of the command.
_TRIED = 'LAUNCHING_ISOLATION'

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_INTERFACE = '16sh14x'


def require(is_required: bool) -> str:
  """Gives this command a network of its own, if the kernel allows it.

  Not where it was called as a function, and not as a command: the process is
  somebody else's.

  Returns:
    Why other machines can reach the ports of nodes; empty where they cannot.

  Raises:
    ValueError: They can, and `is_required` says that they must not.
  """
  spec = sys.modules['__main__'].__spec__
  package = __name__.partition('.')[0]
  reason = 'it was not started as a command'
  if spec is not None and spec.name.startswith(f'{package}.'):
    reason = enter()
  if not reason:
    return ''
  if is_required:
    raise ValueError(
      'require_isolation must be false where there is no network of its own '
      f'for this run, got true ({reason})'
    )
  return f'this machine allows no network of its own to the run ({reason})'


def warning(ports: Sequence[int], why: str) -> str:
  """What is said of ports that can be reached; `why` is as of `require`."""
  return (
    f'Ports {", ".join(map(str, sorted(ports)))} answer other machines, and '
    f'who reaches them can run code here: {why}'
  )


def enter() -> str:
  """Isolates this process; call it before anything is open or locked.

  The process begins anew, isolated if the kernel allows it, with the same
  process id, and returns when it comes here again.

  Returns:
    Why it is not isolated; empty where it is.
  """
  if _is_alone():
    return ''
  pid, _, reason = os.environ.get(_TRIED, '').partition(' ')
  if pid == str(os.getpid()):
    return reason
  sys.stdout.flush()
  sys.stderr.flush()
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execv(sys.executable, [sys.executable, '-I', '-S', __file__, *command])


def why_not() -> str:
  """Why a command cannot be isolated here; empty where it can, or is."""
  return '' if _is_alone() else _try()


def _main() -> None:
  reason = _try()
  if not reason:
    _isolate()
  os.environ[_TRIED] = f'{os.getpid()} {reason}'
  os.execv(sys.argv[1], sys.argv[1:])


def _is_alone() -> bool:
  """Whether no route leads to this network but the loopback device's."""
  for name, place in (('route', 0), ('ipv6_route', -1)):
    try:
      with open(f'/proc/self/net/{name}', encoding='ascii') as routes:
        devices = {line.split()[place] for line in routes}
    except FileNotFoundError:
      continue  # The kernel has no IPv6.
    if devices - {'Iface', 'lo'}:
      return False
  return True


def _try() -> str:
  """Isolates a child, since there is no way back; returns why it cannot."""
  readable, writable = os.pipe()
  pid = os.fork()
  if not pid:
    try:
      _isolate()
    except Exception as error:
      text = getattr(error, 'strerror', None) or str(error)
      os.write(writable, text.encode())
    finally:
      os._exit(0)
  os.close(writable)
  with os.fdopen(readable) as answer:
    reason = answer.read()
  os.waitpid(pid, 0)
  return reason


def _isolate() -> None:
  uid, gid = os.geteuid(), os.getegid()
  try:
    _unshare(_CLONE_NEWNET)
  except PermissionError:
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    for name, text in (
      ('setgroups', 'deny'),  # Without it the groups may not be mapped.
      ('uid_map', f'{uid} {uid} 1'),
      ('gid_map', f'{gid} {gid} 1'),
    ):
      with open(f'/proc/self/{name}', 'w', encoding='ascii') as file:
        file.write(text)
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    asked = struct.pack(_INTERFACE, b'lo', 0)
    found = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked)
    name, bits = struct.unpack(_INTERFACE, found)
    wanted = struct.pack(_INTERFACE, name, bits | _IFF_UP)
    fcntl.ioctl(any_socket, _SIOCSIFFLAGS, wanted)


def _unshare(namespaces: int) -> None:
  libc = ctypes.CDLL(None, use_errno=True)
  if libc.unshare(namespaces):
    number = ctypes.get_errno()
    raise OSError(number, f'unshare: {os.strerror(number)}')


if __name__ == '__main__':
  _main()
