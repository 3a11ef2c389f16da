"""Runs a command in a private network namespace.

Reverb and Courier listen on all addresses without a password, and Courier runs
code that a client sends. A network namespace with only a loopback device
receives no packets from outside. Creating one takes root or a user namespace,
which a process with threads cannot enter. So the process is replaced by this
file as a script, which enters the namespaces and is replaced by the command.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence

# Environment variable: '<process id> <why it is not isolated>'.
_TRIED = 'LAUNCHING_ISOLATION'

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_INTERFACE = '16sh14x'


def require(is_required: bool) -> str:
  """Give this command a private network namespace, if the kernel allows it.

  Where it was called as a function, the process is left as it is.

  Returns:
    Why other machines can reach the ports of nodes; '' if they cannot.

  Raises:
    ValueError: They can, although `is_required`.
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
      'require_isolation must be false where no private network namespace can '
      f'be created, got true ({reason})'
    )
  return f'no private network namespace could be created ({reason})'


def warning(ports: Sequence[int], reason: str) -> str:
  """Return a warning of open ports, with the reason that `require` returned."""
  return (
    f'Ports {", ".join(map(str, sorted(ports)))} are open to other machines, '
    f'and whoever reaches them can run code here: {reason}'
  )


def enter() -> str:
  """Isolate this process; call it before it opens or locks anything.

  The command is executed again, with the same process id and isolated if the
  kernel allows it. This function returns in the new execution.

  Returns:
    Why the process is not isolated; '' if it is.
  """
  if _is_isolated():
    return ''
  pid, _, reason = os.environ.get(_TRIED, '').partition(' ')
  if pid == str(os.getpid()):
    return reason
  sys.stdout.flush()
  sys.stderr.flush()
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execv(sys.executable, [sys.executable, '-I', '-S', __file__, *command])


def why_impossible() -> str:
  """Return why commands cannot be isolated here; '' if they can, or are."""
  return '' if _is_isolated() else _try()


def _main() -> None:
  reason = _try()
  if not reason:
    _isolate()
  os.environ[_TRIED] = f'{os.getpid()} {reason}'
  os.execv(sys.argv[1], sys.argv[1:])


def _is_isolated() -> bool:
  """Return whether all routes are those of the loopback device."""
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
  """Isolate a child process as a trial; return why it failed."""
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
