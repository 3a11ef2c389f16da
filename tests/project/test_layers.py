"""Which way imports point, from the source of every file."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).absolute().parents[2]
FOLDERS = ('agents', 'environments', 'programs', 'benchmarks', 'tests')

# Room -> rooms of the project that it may import, besides itself.
ARROWS = {
  'agents': set(),
  'environments': set(),
  'programs/startup.py': set(),
  'programs/launching': set(),
  'programs/monitoring': set(),
  'programs/runs': {
    'agents',
    'environments',
    'programs.monitoring',
    'programs.startup',
  },
  'programs/nodes': {
    'agents',
    'environments',
    'programs.monitoring',
    'programs.runs',
  },
  'programs/evaluation': {
    'agents',
    'environments',
    'programs.monitoring',
    'programs.runs',
    'programs.nodes',
  },
  'programs/views': {
    'environments.suites',
    'programs.monitoring',
    'programs.runs',
  },
  'programs/program.py': {
    'programs.evaluation',
    'programs.monitoring',
    'programs.nodes',
    'programs.runs',
  },
  'programs/commands': {'agents', 'environments', 'programs'},
}
# Room -> libraries that it must not import.
WITHOUT = {
  'agents': ('launchpad', 'absl.flags', 'argparse'),
  'environments': ('tensorflow', 'reverb', 'launchpad', 'acme'),
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


def files_of(room):
  path = ROOT / room
  files = [path] if path.suffix else sorted(path.rglob('*.py'))
  assert files
  return files


@pytest.mark.parametrize('room', ARROWS)
def test_imports_point_one_way(room):
  own = room.removesuffix('.py').replace('/', '.')
  allowed = {own, *ARROWS[room]}
  wrong = [
    f'{file.relative_to(ROOT)} imports {module}'
    for file in files_of(room)
    for module in imported(file)
    if is_below(module, WITHOUT.get(room, ()))
    or (is_below(module, FOLDERS) and not is_below(module, allowed))
  ]
  assert wrong == []


def test_every_file_of_programs_has_a_room():
  rooms = {path.split('/')[1] for path in ARROWS if '/' in path}
  folder = ROOT / 'programs'
  found = {path.relative_to(folder).parts[0] for path in folder.rglob('*.py')}
  assert found - rooms == {'__init__.py'}
  assert len([room for room in rooms if not room.endswith('.py')]) <= 8


def test_acting_and_learning_meet_in_the_queue_alone():
  for one, other in (('acting', 'learning'), ('learning', 'acting')):
    modules = [*imported(ROOT / f'agents/impala/{one}.py')]
    assert modules and f'agents.impala.{other}' not in modules


def test_no_command_imports_a_command():
  commands = {
    f'programs.commands.{path.stem}': path
    for path in (ROOT / 'programs/commands').glob('*.py')
    if '\ndef main(' in path.read_text(encoding='utf-8')
  }
  assert len(commands) > 8
  wrong = [
    f'{command} imports {module}'
    for command, path in commands.items()
    for module in imported(path)
    if module in commands
  ]
  assert wrong == []


def test_names_say_what_things_are():
  files = [path for room in FOLDERS for path in (ROOT / room).rglob('*.py')]
  assert len(files) > 20
  names = {
    part.removesuffix('.py')
    for path in files
    for part in path.relative_to(ROOT).parts
  }
  words = {word for name in names for word in name.split('_')}
  assert not words & EMPTY_NAMES
