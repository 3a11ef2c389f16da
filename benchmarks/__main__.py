"""`./impala benchmark NAME`: runs one benchmark, or several in rounds."""

import ast
import importlib
import pathlib
import signal
import sys
import types
from collections.abc import Sequence

from benchmarks import commands

# Name -> module, where they are not the same: a module `acme` or `queue` would
# hide the real one from whoever starts Python in this folder.
_MODULES = {
  'pipeline': 'pipeline',
  'acme': 'acme_impala',
  'components': 'components',
  'scaling': 'scaling',
  'queue': 'queues',
  'memory': 'memory',
  'monitoring': 'monitoring',
  'launching': 'launching',
  'machines': 'machines',
  'inference': 'inference',
  'peers': 'peers',
  'learning': 'learning',
}
# Those that are measured against each other.
_COMPARED = ('pipeline', 'acme', 'components')

_USAGE = """\
usage: ./impala benchmark NAME [--FLAG=VALUE ...] [flags of train ...]
       ./impala benchmark NAME NAME ... [--rounds=3] [...]

Measures the real program. Each prints a table and, as the last line, one JSON
object; --help after the name tells more. Progress goes to the standard error.
Leave the machine alone meanwhile.
"""


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs what is asked for; returns the exit status.

  Args:
    arguments: Names, then flags; by default, the command line's.
  """
  arguments = sys.argv[1:] if arguments is None else arguments
  if not arguments or arguments[0] in ('help', '-h', '--help'):
    _list()
    return 0
  names, rest = _split(arguments)
  unknown = [name for name in names if name not in _MODULES]
  if unknown or not names:
    wrong = unknown[0] if unknown else rest[0]
    return _refuse(f'NAME must be one of {", ".join(_MODULES)}, got {wrong!r}')
  # What was started is to be ended.
  before = signal.signal(
    signal.SIGTERM, lambda signum, _: sys.exit(128 + signum)
  )
  try:
    if len(names) == 1:
      return _load(names[0]).main(rest)
    if len(set(names)) < len(names) or not set(names) <= set(_COMPARED):
      return _refuse(
        f'several names must be distinct ones of {", ".join(_COMPARED)}, got '
        f'{" ".join(names)}'
      )
    return importlib.import_module('benchmarks.comparison').main(names, rest)
  except commands.Failed as failure:
    return failure.status
  except KeyboardInterrupt:
    return 130
  finally:
    signal.signal(signal.SIGTERM, before)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
  """Names, and what comes from the first flag on.

  'learning' takes a word of its own.
  """
  names: list[str] = []
  for index, argument in enumerate(arguments):
    if argument.startswith('-') or names == ['learning']:
      return names, list(arguments[index:])
    names.append(argument)
  return names, []


def _refuse(rule: str) -> int:
  print(f'./impala benchmark: {rule}', file=sys.stderr)
  return 2


def _list() -> None:
  """Shows each name with the first line of its module."""
  print(_USAGE)
  for name, module in _MODULES.items():
    path = pathlib.Path(__file__).with_name(f'{module}.py')
    # Not imported: TensorFlow would take seconds.
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
    print(f'  {name:<11} {(text or "").splitlines()[0]}')


def _load(name: str) -> types.ModuleType:
  return importlib.import_module(f'benchmarks.{_MODULES[name]}')


if __name__ == '__main__':
  sys.exit(main())
