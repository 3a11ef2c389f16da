"""Looks at processes that tests started, and ends them."""

import contextlib
import os
import pathlib
import threading
import time


def is_alive(pid):
  """Whether a process runs; a zombie does not."""
  try:
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except (FileNotFoundError, ProcessLookupError):
    return False
  return stat.rsplit(')', 1)[1].split()[0] not in 'ZX'


def wait_until(condition, seconds=20.0):
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline, f'not within {seconds} s'
    time.sleep(0.05)


def naming(path):
  """Processes with a path in command line or environment, but for this one."""
  found = []
  for entry in pathlib.Path('/proc').iterdir():
    if entry.name.isdigit() and int(entry.name) != os.getpid():
      with contextlib.suppress(OSError):
        text = (entry / 'cmdline').read_bytes() + (
          entry / 'environ'
        ).read_bytes()
        if str(path).encode() in text:
          found.append(int(entry.name))
  return [pid for pid in found if is_alive(pid)]


def stop_later(server):
  """Stops a Reverb server; with open streams that takes it five seconds."""
  threading.Thread(target=server.stop).start()
