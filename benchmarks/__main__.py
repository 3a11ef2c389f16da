"""Run benchmarks: `./impala benchmark NAME`."""

import importlib
import signal
import sys
from collections.abc import Sequence

from benchmarks import trial

# Can be given together.
_COMPARED = {
  'pipeline': 'How fast does the program learn?',
  'acme': "How fast are Acme's own IMPALA parts?",
  'components': 'What does each component cost, and what is the limit?',
  'rllib': "How fast is RLlib's IMPALA?",
  'sample_factory': 'How fast is Sample Factory?',
}
_PEERS = ('pipeline', 'rllib', 'sample_factory')
_OTHERS = {
  'peers': f'The same as {" ".join(_PEERS)}',
  'scaling': 'Do cost and memory stay flat as the program grows?',
  'queue': 'What is the throughput of the queue?',
  'memory': 'Does the memory of each process stay constant?',
  'learning': 'Does it learn, and which parts does it need?',
}
_MODULES = {'queue': 'queues'}  # Modules with another name.
_QUESTIONS = {**_COMPARED, **_OTHERS}

_USAGE = """\
usage: ./impala benchmark NAME [--FLAG=VALUE ...] [flags of train ...]
       ./impala benchmark NAME NAME ... [--rounds=3] [...]

Measures the real program. Each benchmark prints a table and, as the last line,
a JSON object; NAME --help describes it. Progress goes to standard error. The
first five can be run together. Keep the machine otherwise idle.
"""


def main(arguments: Sequence[str] | None = None) -> int:
  """Run benchmarks; return the exit status."""
  arguments = sys.argv[1:] if arguments is None else arguments
  if not arguments or arguments[0] in ('help', '-h', '--help'):
    print(_USAGE)
    for name, question in _QUESTIONS.items():
      print(f'  {name:<14} {question}')
    return 0
  names, rest = _split(arguments)
  unknown = [name for name in names if name not in _QUESTIONS]
  if unknown or not names:
    wrong = unknown[0] if unknown else rest[0]
    return _refuse(
      f'NAME must be one of {", ".join(_QUESTIONS)}, got {wrong!r}'
    )
  names = list(_PEERS) if names == ['peers'] else names
  is_compared = set(names) <= set(_COMPARED)
  if len(names) > 1 and (not is_compared or len(set(names)) < len(names)):
    return _refuse(
      f'several NAMEs must be distinct ones of {", ".join(_COMPARED)}, got '
      f'{" ".join(names)}'
    )
  # As an exception, so that started programs are stopped.
  before = signal.signal(
    signal.SIGTERM, lambda signum, _: sys.exit(128 + signum)
  )
  try:
    if is_compared:
      comparison = importlib.import_module('benchmarks.comparison')
      return comparison.main(names, rest)
    module = _MODULES.get(names[0], names[0])
    return importlib.import_module(f'benchmarks.{module}').main(rest)
  except trial.TrialError as error:
    print(f'./impala benchmark {" ".join(names)}: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    return 130
  finally:
    signal.signal(signal.SIGTERM, before)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
  """Return names and flags; an experiment's name follows 'learning'."""
  names: list[str] = []
  for index, argument in enumerate(arguments):
    if argument.startswith('-') or names == ['learning']:
      return names, list(arguments[index:])
    names.append(argument)
  return names, []


def _refuse(rule: str) -> int:
  print(f'./impala benchmark: {rule}', file=sys.stderr)
  return 2


if __name__ == '__main__':
  sys.exit(main())
