"""Formatting, lint, types and tests in one go: `./impala check`."""

import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

from programs import downloads, roms, scenarios

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGES = ('agents', 'environments', 'programs', 'benchmarks', 'tests')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs every tool, says how each went, and returns the exit status.

  Args:
    arguments: What pytest is given; by default, the command line.
  """
  arguments = sys.argv[1:] if arguments is None else arguments
  if '--help' in arguments or '-h' in arguments:
    print(
      'usage: ./impala check [--all] [pytest arguments]\n\n'
      'Runs ruff format --check, ruff check, mypy and pytest in the checkout.\n'
      'With --all, tests too that show at length what others show in short:\n'
      'more games, command lines and benchmarks.\n'
      'Arguments go to pytest, for example: ./impala check -x -k losses\n'
      'Atari ROMs and ViZDoom scenarios that are not found are fetched first.'
    )
    return 0
  chosen = [] if '--all' in arguments else ['-m', 'not thorough']
  arguments = [argument for argument in arguments if argument != '--all']
  for files in (roms.files(), scenarios.files()):
    downloads.provide(files)
  packages = [name for name in _PACKAGES if (_ROOT / name).is_dir()]
  tools = {
    'ruff format': ['ruff', 'format', '--check', '.'],
    'ruff check': ['ruff', 'check', '.'],
    'mypy': ['mypy', *packages],
    # By file, so that what the tests of a file share is made once.
    'pytest': [
      'pytest',
      '--numprocesses=auto',
      '--maxprocesses=4',
      '--dist=loadfile',
      *chosen,
      *arguments,
    ],
  }
  summary = []
  for name, command in tools.items():
    print(f'\n== {name}', flush=True)
    start = time.monotonic()
    # From this environment, whatever PATH says, and with what startup set.
    status = subprocess.call([sys.executable, '-m', *command], cwd=_ROOT)
    seconds = time.monotonic() - start
    summary.append((name, status, seconds))
  print('\n== summary')
  for name, status, seconds in summary:
    outcome = f'FAILED (status {status})' if status else 'ok'
    print(f'{name:<12}{seconds:>7.1f} s  {outcome}')
  return 1 if any(status for _, status, _ in summary) else 0


if __name__ == '__main__':
  sys.exit(main())
