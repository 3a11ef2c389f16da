"""Where the peers are installed: each in an environment of its own, on demand.

Their packages do not go together with this project's, nor with each other.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import trial

PYTHONS = ('python3.11', 'python3', '/usr/bin/python3')
PYTHON_VERSION = (3, 11)
_REQUIREMENTS = pathlib.Path(__file__).with_name('peer')
_GIGABYTE = 1e9
_TELL = """import sys
print('%d.%d' % sys.version_info[:2], sys.executable)"""
_STAMP = 'stamp'


class Installation(NamedTuple):
  """A peer that can be run.

  Attributes:
    python: Of its environment.
    versions: Package -> version of what is pinned by name.
    gigabytes: On the disk.
    seconds: That it took to install, then.
  """

  python: pathlib.Path
  versions: dict[str, str]
  gigabytes: float
  seconds: float


def ensure(name: str, root: pathlib.Path | None = None) -> Installation:
  """Installs a peer if it is not there, as its list of packages says.

  Args:
    name: Of the list, `peer/<name>.txt`.
    root: Folder of the environments; by default one for the user's caches.

  Returns:
    Where it is.

  Raises:
    trial.TrialError: It cannot be installed; says why and what helps.
  """
  folder = (root or default_root()) / name
  requirements = _REQUIREMENTS / f'{name}.txt'
  wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
  stamp = folder / _STAMP
  if not stamp.exists() or stamp.read_text().split()[0] != wanted:
    seconds = _install(name, folder, requirements)
    stamp.write_text(f'{wanted} {seconds:.0f} {_size(folder):.2f}\n')
  _, seconds_text, gigabytes = stamp.read_text().split()
  return Installation(
    python=folder / 'bin' / 'python',
    versions=read_pins(requirements),
    gigabytes=float(gigabytes),
    seconds=float(seconds_text),
  )


def default_root() -> pathlib.Path:
  """Where peers are without another wish."""
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return pathlib.Path(cache, 'impala', 'peers')


def read_pins(requirements: pathlib.Path) -> dict[str, str]:
  """Package -> version, of those that are wanted and not what they need."""
  chosen = requirements.read_text().partition('# What they need')[0]
  lines = [line for line in chosen.splitlines() if '==' in line]
  return dict(line.partition(' ')[0].split('==') for line in lines)


def find_python(candidates: Sequence[str]) -> str:
  """The first Python of the version that the lists are made for.

  Raises:
    trial.TrialError: There is none.
  """
  for candidate in candidates:
    # Outside of a checkout whose .python-version would have pyenv insist on
    # another one.
    command = [candidate, '-c', _TELL]
    try:
      told = subprocess.run(
        command, cwd='/', capture_output=True, text=True, check=True
      )
    except (OSError, subprocess.CalledProcessError):
      continue
    version, _, path = told.stdout.strip().partition(' ')
    if version == '.'.join(map(str, PYTHON_VERSION)):
      return path
  version = '.'.join(map(str, PYTHON_VERSION))
  raise trial.TrialError(
    f'the peers are installed with Python {version}, and none of '
    f'{", ".join(candidates)} is one: put a python{version} on PATH'
  )


def _install(
  name: str, folder: pathlib.Path, requirements: pathlib.Path
) -> float:
  """Makes the environment anew; returns the seconds it took.

  Raises:
    trial.TrialError: It did not work; says why and what helps.
  """
  python = find_python(PYTHONS)
  trial.tell(f'installing {name} into {folder}: 2 GB, a few minutes')
  started = time.monotonic()
  shutil.rmtree(folder, ignore_errors=True)
  folder.parent.mkdir(parents=True, exist_ok=True)
  pip = str(folder / 'bin' / 'python')
  for command in (
    [python, '-m', 'venv', str(folder)],
    [pip, '-m', 'pip', 'install', '-q', '-r', str(requirements)],
  ):
    done = subprocess.run(
      command, cwd='/', stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
      said = '\n'.join((done.stdout + done.stderr).splitlines()[-20:])
      raise trial.TrialError(
        f'{name} could not be installed:\n{said}\nCheck the network and the '
        'room on the disk, or name your package index in PIP_INDEX_URL; then '
        'start this again.'
      )
  return time.monotonic() - started


def _size(folder: pathlib.Path) -> float:
  """Gigabytes of all files below."""
  files = (path for path in folder.rglob('*') if not path.is_symlink())
  return sum(path.stat().st_size for path in files) / _GIGABYTE
