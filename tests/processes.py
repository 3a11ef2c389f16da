"""Processes that tests start."""

import contextlib
import os
import pathlib
import threading
import time


def is_alive(pid):
  """Return whether a process runs; a zombie does not."""
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
  """Return other processes with a path in command line or environment."""
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
  """Stop a Reverb server in a thread; open streams delay it by 5 s."""
  threading.Thread(target=server.stop).start()
