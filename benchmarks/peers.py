"""How fast are RLlib's IMPALA and Sample Factory with the same network?"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from benchmarks import commands, comparison, measurement, pipeline, trial

# As the peers' programs get them.
_SETTINGS = {
  'unroll_length': 20,
  'batch_agent_steps': 20 * 32,
  'num_action_repeats': 4,
  'num_workers': 2,
  'num_envs_per_worker': 64,
}
_PEERS = ('rllib', 'sample_factory')

_DESCRIPTION = """\
Trains Pong with this project's program and with each peer in turns, and
compares the agent steps that their learners take. 84x84 pixels, 4 stacked,
action repeat 4; convolutions 16 8x8/4 and 32 4x4/2, a layer of 256; unrolls of
20 agent steps, 32 in a batch; V-trace. The peers have 2 workers of 64 games,
which is faster for them than fewer; Sample Factory has its games in EnvPool.

They are installed first, each into an environment of its own: Python 3.11, 2 GB
each.

  ./impala benchmark peers
  ./impala benchmark peers --rounds=1 --contestants=pipeline,rllib

Flags of train are those of this project's program. Prints tables and, as the
last line, one JSON object. Leave the machine alone meanwhile."""

_PROGRAMS = pathlib.Path(__file__).with_name('peer')
_PYTHON = 'python3.11'
_MARK = 'IMPALA_BENCHMARK_PEER'  # In the environment of all its processes.


def main(arguments: Sequence[str]) -> int:
  """Installs, measures and prints; returns the exit status."""
  everybody = ','.join(('pipeline', *_PEERS))
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  parser = commands.make_parser(
    'peers',
    _DESCRIPTION,
    warmup_seconds=(30.0, commands.WARMUP),
    window_seconds=(60.0, commands.WINDOW),
    rounds=(2, 'turns of each'),
  )
  parser.add_argument(
    '--contestants',
    default=everybody,
    metavar='LIST',
    help=f'who is measured, the first against the others [default {everybody}]',
  )
  parser.add_argument(
    '--folder',
    type=pathlib.Path,
    default=pathlib.Path(cache, 'impala', 'peers'),
    metavar='DIR',
    help='where the peers are installed [default %(default)s]',
  )
  given, train_flags = commands.parse(
    parser, arguments, 'window_seconds', 'rounds'
  )
  names = given.contestants.split(',')
  if not set(names) <= {'pipeline', *_PEERS} or len(set(names)) < len(names):
    parser.error(
      f'--contestants must be distinct ones of {everybody}, got '
      f'{given.contestants}'
    )
  contestants: dict[str, comparison.Contestant] = {
    name: functools.partial(pipeline.run, train_flags)
    if name == 'pipeline'
    else functools.partial(run, install(name, given.folder), name)
    for name in names
  }
  rounds = comparison.run_rounds(contestants, given)
  result = {
    'benchmark': 'peers',
    **commands.machine(),
    'settings': _SETTINGS,
    'versions': {name: _pins(name) for name in names if name in _PEERS},
    **comparison.summarise(rounds),
  }
  shown = [
    table
    for name in names
    for table in measurement.make_tables(
      name, comparison.median_round(name, rounds)
    )
  ]
  commands.finish(
    result, [*shown, *comparison.make_tables(result)], given.output
  )
  return 0


def run(
  python: str, name: str, warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Starts a peer, measures it and ends it, with all that it has started.

  Args:
    python: Of the peer's own environment.
    name: Of its program in `peer`, without '_pong.py'.
    warmup_seconds: See `measurement.measure`.
    window_seconds: See there.

  Raises:
    trial.TrialError: It ended, or learned nothing for minutes.
  """
  with tempfile.TemporaryDirectory(prefix='impala_peer_') as folder:
    path = pathlib.Path(folder, 'run')
    (path / 'metrics').mkdir(parents=True)
    program = str(_PROGRAMS / f'{name}_pong.py')
    progress = str(path / 'metrics' / 'learner.csv')
    with (
      _marked_environment(folder) as environment,
      trial.start_in(
        path, (python, program, json.dumps(_SETTINGS), progress), environment
      ) as started,
    ):
      return measurement.measure(
        started,
        _SETTINGS['num_action_repeats'],
        warmup_seconds,
        window_seconds,
      )


@contextlib.contextmanager
def _marked_environment(folder: str) -> Iterator[dict[str, str]]:
  """Of a peer's processes, nothing of this project's; kills them at the end.

  Ray's leave their parent's group and session.

  Args:
    folder: For what they write.
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


def install(name: str, root: pathlib.Path) -> str:
  """Installs a peer unless it is there as its list of packages says.

  Args:
    name: Of the list, `peer/<name>.txt`.
    root: Folder of the peers' environments.

  Returns:
    The Python of its environment.

  Raises:
    trial.TrialError: It cannot be installed; says why and what helps.
  """
  folder, requirements = root / name, _PROGRAMS / f'{name}.txt'
  python, stamp = str(folder / 'bin' / 'python'), folder / 'stamp'
  wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
  if stamp.exists() and stamp.read_text() == wanted:
    return python
  trial.tell(f'installing {name} into {folder}: 2 GB, a few minutes')
  shutil.rmtree(folder, ignore_errors=True)
  folder.parent.mkdir(parents=True, exist_ok=True)
  for command in (
    [_PYTHON, '-m', 'venv', str(folder)],
    [python, '-m', 'pip', 'install', '-q', '-r', str(requirements)],
  ):
    try:
      # Outside of a checkout whose .python-version would have pyenv insist on
      # another Python.
      subprocess.run(
        command, cwd='/', capture_output=True, text=True, check=True
      )
    except (OSError, subprocess.CalledProcessError) as error:
      said = getattr(error, 'stderr', None) or str(error)
      raise trial.TrialError(
        f'{name} could not be installed:\n{said[-2000:]}\nSee that '
        f'{_PYTHON} is on PATH, and to the network and the room on the disk, '
        'or name your package index in PIP_INDEX_URL; then start this again.'
      ) from error
  stamp.write_text(wanted)
  return python


def _pins(name: str) -> Mapping[str, str]:
  """Package -> version, of those that are wanted and not what they need."""
  text = (_PROGRAMS / f'{name}.txt').read_text()
  chosen = text.partition('# What they need')[0].splitlines()
  pins = [line.split('==') for line in chosen if '==' in line]
  return {package: version for package, version in pins}
