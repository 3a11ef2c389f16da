"""Checkouts with the launcher and a lock of one small package."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_TOOLS = 'awk bash cat df dirname env flock readlink rm sha256sum sleep touch'
# Prints how it was started and ends with a status of its own.
_PROBE = """
import os, sys
assert not os.path.exists('/proc/self/fd/9'), 'a run would keep the lock'
print(os.getcwd(), sys.argv[1:], os.environ['TF_ENABLE_ONEDNN_OPTS'])
sys.exit(7)
"""
PROBE_STATUS = 7


def locked(*names):
  """Return the entries of these packages in the project's lock."""
  lock = (_ROOT / 'requirements.lock').read_text()
  entries = re.findall(r'^\S+==(?:.*\\\n)(?: +--hash.*\n)+', lock, re.MULTILINE)
  chosen = [entry for entry in entries if entry.partition('==')[0] in names]
  assert len(chosen) == len(names)
  return ''.join(chosen)


class Checkout:
  """A folder with the launcher, a command and tiny locks."""

  def __init__(self, folder, path):
    self.folder = folder
    self.path = path
    (folder / 'programs/commands').mkdir(parents=True)
    for name in ('impala', '.python-version', 'programs/__init__.py'):
      shutil.copy(_ROOT / name, folder / name)
    shutil.copy(_ROOT / 'programs/startup.py', folder / 'programs')
    (folder / 'programs/commands/doctor.py').write_text(_PROBE)
    self.lock('six')
    self.lock('iniconfig', file='requirements-gpu.lock')
    self.lock('iniconfig', file='requirements-ray.lock')

  def lock(self, *names, file='requirements.lock'):
    (self.folder / file).write_text(locked(*names))

  def start(self, *arguments, cwd=None, path=None, **variables):
    environment = {**os.environ, 'PATH': path or self.path, **variables}
    environment.pop('PYTHONPATH', None)
    environment['PYTHONDONTWRITEBYTECODE'] = '1'  # As in many images.
    return subprocess.Popen(
      [str(self.folder / 'impala'), *(arguments or ['doctor'])],
      cwd=cwd or self.folder.parent,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  def run(self, *arguments, **keywords):
    process = self.start(*arguments, **keywords)
    try:
      process.stdout_text, process.stderr_text = process.communicate(
        timeout=120
      )
    finally:
      if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process

  def succeed(self, *arguments, **keywords):
    """Run the probe, which needs the package index if it installs."""
    process = self.run(*arguments, **keywords)
    assert process.returncode == PROBE_STATUS, (
      'these tests install a package: is the package index reachable?\n'
      + process.stderr_text
    )
    return process

  def has(self, module):
    python = self.folder / '.venv/bin/python'
    command = [str(python), '-c', f'import {module}']
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def make_path(folder, **scripts):
  """Return a PATH of basic tools and these scripts, without Python and uv."""
  folder.mkdir()
  for name in _TOOLS.split() + ['uname']:
    found = shutil.which(name)
    assert found, f'{name} is needed by this test'
    if name not in scripts:
      (folder / name).symlink_to(found)
  for name, text in scripts.items():
    (folder / name).write_text(f'#!/bin/bash\n{text}\n')
    (folder / name).chmod(0o755)
  return str(folder)


def path_without_uv():
  folders = os.environ['PATH'].split(':')
  return ':'.join(f for f in folders if not pathlib.Path(f, 'uv').exists())
