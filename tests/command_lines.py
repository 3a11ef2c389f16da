"""Starts of commands, as users start them."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).absolute().parent.parent


def environment():
  return {**os.environ, 'PYTHONPATH': str(ROOT)}


@contextlib.contextmanager
def running(command, folder, log, variables=None):
  """Start a command in a folder; yield its process, and kill it at the end."""
  with (
    open(log, 'wb') as file,
    subprocess.Popen(
      command,
      stdout=file,
      stderr=subprocess.STDOUT,
      stdin=subprocess.DEVNULL,
      start_new_session=True,
      cwd=folder,
      env=variables or environment(),
    ) as process,
  ):
    try:
      yield process
    finally:
      process.kill()


@contextlib.contextmanager
def started(module, directory, *flags):
  """Start a command of a run; yield its process and the path of its output."""
  log = directory.with_name(f'{directory.name}.{time.monotonic_ns()}.out')
  command = [sys.executable, '-m', module.__name__, f'--logdir={directory}']
  with running([*command, *flags], directory.parent, log) as process:
    yield process, log


def run_main(module, *arguments):
  """Run a command in this process; return its status and output."""
  output = io.StringIO()
  with (
    contextlib.redirect_stdout(output),
    contextlib.redirect_stderr(output),
  ):
    try:
      status = module.main([*map(str, arguments)])
    except SystemExit as exit_:
      status = exit_.code
  return status, output.getvalue()
