"""`./impala benchmark NAME`: runs one benchmark, or several in rounds."""

import importlib
import signal
import sys
from collections.abc import Sequence

from benchmarks import trial

# Can be given together.
_COMPARED = {
  'pipeline': 'How fast does the program learn?',
  'acme': "How fast are Acme's own IMPALA parts?",
  'components': 'What does each part cost alone, and what is the limit?',
  'rllib': "How fast is RLlib's IMPALA?",
  'sample_factory': 'How fast is Sample Factory?',
}
_PEERS = ('pipeline', 'rllib', 'sample_factory')
_OTHERS = {
  'peers': f'The same as {" ".join(_PEERS)}',
  'scaling': 'Do cost and memory stay flat as the program grows?',
  'queue': 'How much goes through the queue alone?',
  'memory': 'Does the memory of each process stay as it is?',
  'learning': 'Does it learn, and what does it need for that?',
}
_MODULES = {'queue': 'queues'}  # Where they are not called as the benchmark.
_QUESTIONS = {**_COMPARED, **_OTHERS}

_USAGE = """\
usage: ./impala benchmark NAME [--FLAG=VALUE ...] [flags of train ...]
       ./impala benchmark NAME NAME ... [--rounds=3] [...]

Measures the real program. Each prints a table and, as the last line, one JSON
object; --help after the name tells more. Progress goes to the standard error.
The first five can be given together. Leave the machine alone meanwhile.
"""


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs what names and flags ask for; returns the exit status."""
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
      f'several names must be distinct ones of {", ".join(_COMPARED)}, got '
      f'{" ".join(names)}'
    )
  # What was started is to be ended.
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
  """Names, and the rest; 'learning' takes a word of its own."""
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
