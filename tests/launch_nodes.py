"""Functions and classes of the nodes of test programs."""

import ctypes
import multiprocessing.connection
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import launchpad as lp


def record(folder, name, pid=None):
  """Writes a process id for the test to read."""
  path = pathlib.Path(folder, f'{name}.pid')
  written = path.with_suffix('.new')
  written.write_text(str(pid or os.getpid()))
  written.rename(path)


def wait_for(folder, names):
  while not all(pathlib.Path(folder, f'{name}.pid').exists() for name in names):
    time.sleep(0.02)


def wait(folder, name):
  """Waits for the stop, and records it."""
  record(folder, name)
  lp.wait_for_stop()
  pathlib.Path(folder, f'{name}.ended').touch()


def stop_program(folder, names):
  wait_for(folder, names)
  lp.stop()


def fail(folder, names):
  wait_for(folder, names)
  raise ValueError('the learning rate is not a number')


def die(folder, names):
  wait_for(folder, names)
  os.kill(os.getpid(), signal.SIGSEGV)


def block(folder, name):
  """Waits in native code, where no Python signal handler ever runs."""
  record(folder, name)
  mutex = ctypes.create_string_buffer(64)
  ctypes.CDLL(None).pthread_mutex_lock(mutex)
  ctypes.CDLL(None).pthread_mutex_lock(mutex)


def keep_child(folder, name):
  """Starts a child process and does not end it."""
  child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)
  record(folder, f'{name}_child', child.pid)
  wait(folder, name)


def use_temporary_folder(folder):
  """Creates a file and a socket in the temporary folder."""
  tempfile.mkdtemp()
  with multiprocessing.connection.Listener(family='AF_UNIX') as listener:
    pathlib.Path(folder, 'socket').write_text(str(listener.address))


def tell_environment(folder, *names):
  values = [os.environ.get(name, '') for name in names]
  pathlib.Path(folder, 'environment').write_text('\n'.join(values))


class Service:
  """Courier server with one method."""

  def ask(self):
    return 'answer'


def ask_and_stop(service, folder):
  pathlib.Path(folder, 'asked').write_text(service.ask())
  lp.stop()


def make_tables():
  import reverb

  return [reverb.Table.queue('queue', 10)]


def connect_ask_and_stop(service, address, folder):
  """Waits for a listener at the address, then asks."""
  port = lp.get_port_from_address(address.resolve())
  while True:
    with socket.socket() as client:
      if client.connect_ex(('localhost', port)) == 0:
        break
    time.sleep(0.05)
  ask_and_stop(service, folder)


def tell_address(address, folder):
  pathlib.Path(folder, 'address').write_text(address.resolve())
