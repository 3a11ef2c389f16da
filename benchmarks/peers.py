"""Runs of RLlib and Sample Factory on Pong, in their own virtualenvs."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

import psutil

from benchmarks import commands, measurement, trial

_SETTINGS = {
  'unroll_length': 20,
  'batch_agent_steps': 20 * 32,
  'num_action_repeats': 4,
  'num_workers': 2,
  'num_envs_per_worker': 64,
}

_PROGRAMS = pathlib.Path(__file__).with_name('peer')
_PYTHON = 'python3.11'
_MARK = 'IMPALA_BENCHMARK_PEER'  # Environment variable of its processes.


def run(
  name: str, warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Start a peer, measure it and end all its processes."""
  python = install(name)
  with tempfile.TemporaryDirectory(prefix='impala_peer_') as folder:
    path = pathlib.Path(folder, 'run')
    (path / 'metrics').mkdir(parents=True)
    program = str(_PROGRAMS / f'{name}_pong.py')
    progress = str(path / 'metrics' / 'learner.csv')
    command = (python, program, json.dumps(_SETTINGS), progress)
    with (
      _marked_environment(folder) as environment,
      trial.start_in(path, command, environment) as started,
    ):
      repeats = _SETTINGS['num_action_repeats']
      return {
        'level_name': 'atari_pong',
        'num_actors': _SETTINGS['num_workers'],
        'num_envs_per_actor': _SETTINGS['num_envs_per_worker'],
        **commands.machine(),
        **measurement.measure(started, repeats, warmup_seconds, window_seconds),
      }


@contextlib.contextmanager
def _marked_environment(folder: str) -> Iterator[dict[str, str]]:
  """Yield an environment with a mark; at the end kill all that have it.

  Ray's processes leave their parent's group and session.
  """
  ours = ('PYTHONPATH', 'LD_LIBRARY_PATH', 'VIRTUAL_ENV', 'MALLOC_ARENA_MAX')
  kept = {name: text for name, text in os.environ.items() if name not in ours}
  mine = {'PYTHONUNBUFFERED': '1', 'HOME': folder, 'TMPDIR': folder}
  mark = uuid.uuid4().hex
  try:
    yield {**kept, **mine, _MARK: mark}
  finally:
    for process in psutil.process_iter():
      with contextlib.suppress(psutil.Error):
        if process.environ().get(_MARK) == mark:
          process.kill()
          process.wait(10)


def install(name: str) -> str:
  """Install `peer/<name>.txt` into a virtualenv; return its Python."""
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  folder = pathlib.Path(cache, 'impala', 'peers', name)
  requirements = _PROGRAMS / f'{name}.txt'
  python, stamp = str(folder / 'bin' / 'python'), folder / 'stamp'
  wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
  if stamp.exists() and stamp.read_text() == wanted:
    return python
  trial.log(f'installing {name} into {folder}: 2 GB, a few minutes')
  shutil.rmtree(folder, ignore_errors=True)
  folder.parent.mkdir(parents=True, exist_ok=True)
  for command in (
    [_PYTHON, '-m', 'venv', str(folder)],
    [python, '-m', 'pip', 'install', '-q', '-r', str(requirements)],
  ):
    try:
      # Not in this checkout, where .python-version tells pyenv another Python.
      subprocess.run(
        command, cwd='/', capture_output=True, text=True, check=True
      )
    except (OSError, subprocess.CalledProcessError) as error:
      output = getattr(error, 'stderr', None) or str(error)
      raise trial.TrialError(
        f'{name} could not be installed:\n{output[-2000:]}\nIt needs '
        f'{_PYTHON} on PATH, 2 GB of disk, and a package index (name yours in '
        'PIP_INDEX_URL).'
      ) from error
  stamp.write_text(wanted)
  return python
