"""Which way imports point, from the source of every file."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).absolute().parents[2]
ROOMS = ('agents', 'environments', 'programs', 'benchmarks', 'tests')

_AGNOSTIC = ('agents', 'environments', 'programs')
# Folder or file -> what it must not import, and what of that it may.
ARROWS = {
  'agents': (
    ('environments', 'programs', 'launchpad', 'absl.flags', 'argparse'),
    (),
  ),
  'agents/impala/acting.py': (('agents.impala.learning',), ()),
  'agents/impala/learning.py': (('agents.impala.acting',), ()),
  'environments': (
    ('agents', 'programs', 'tensorflow', 'reverb', 'launchpad', 'acme'),
    (),
  ),
  # They serve any program, and know their own folder alone.
  'programs/launching': (_AGNOSTIC, ('programs.launching',)),
  'programs/inspection': (
    _AGNOSTIC,
    ('programs.launching', 'programs.inspection'),
  ),
}
EMPTY_NAMES = {'utils', 'util', 'common', 'helpers', 'helper', 'base', 'misc'}


def imported(path):
  """Every module that a file imports, wherever in it."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path} imports relatively'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def is_below(module, packages):
  return any(f'{module}.'.startswith(f'{package}.') for package in packages)


def wrong_imports(root, place):
  forbidden, allowed = ARROWS[place]
  path = root / place
  files = [path] if path.suffix else sorted(path.rglob('*.py'))
  assert files
  return [
    f'{file.relative_to(root)} imports {module}'
    for file in files
    for module in imported(file)
    if is_below(module, forbidden) and not is_below(module, allowed)
  ]


@pytest.mark.parametrize('place', ARROWS)
def test_imports_point_one_way(place):
  assert wrong_imports(ROOT, place) == []


def test_names_say_what_things_are():
  files = [path for room in ROOMS for path in (ROOT / room).rglob('*.py')]
  assert len(files) > 20
  names = {
    part.removesuffix('.py')
    for path in files
    for part in path.relative_to(ROOT).parts
  }
  words = {word for name in names for word in name.split('_')}
  assert not words & EMPTY_NAMES
