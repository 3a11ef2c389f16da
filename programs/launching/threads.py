"""Launch of a program as threads of this process, by Launchpad itself."""

import threading
from collections.abc import Callable, Sequence

import launchpad as lp

from programs.launching import ports

_POLL_SECONDS = 0.25


def launch(
  program: lp.Program,
  on_poll: Callable[[], None],
  on_ports: Callable[[Sequence[int]], None],
) -> Exception | None:
  """Run a program to its end; return the exception of a node that failed."""
  is_over = threading.Event()

  def poll() -> None:
    while not is_over.wait(_POLL_SECONDS):
      on_poll()

  manager = lp.launch(program, lp.LaunchType.LOCAL_MULTI_THREADING)
  on_ports(
    [
      ports.split_address(address.resolve())[1]
      for nodes in program.groups.values()
      for node in nodes
      for address in node.addresses
    ]
  )
  thread = threading.Thread(target=poll, daemon=True)
  thread.start()
  try:
    manager.wait()
  except Exception as error:
    return error
  finally:
    is_over.set()
    thread.join()
  return None
