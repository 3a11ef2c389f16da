"""What README and help say exists, and what exists they name."""

import collections
import contextlib
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from programs import startup

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_README = (_ROOT / 'README.md').read_text(encoding='utf-8')


# Commands whose module has another name than they, and what it is told.
_MODULES = {
  'benchmark': 'benchmarks.__main__',
  'gpu': 'programs.commands.doctor',
  'roms': 'programs.commands.fetch roms',
  'scenarios': 'programs.commands.fetch scenarios',
}


def module_of(command):
  return _MODULES.get(command, f'programs.commands.{command}')


def uses():
  """(module and names, flags) of each command that README shows."""
  for line in _README.splitlines():
    for text in re.split(r'`', line):
      match = re.search(r'\./impala (\w+)(.*)', text)
      if match:
        name, rest = match.groups()
        flags = re.findall(r'--[\w-]+', rest)
        module = module_of(name)
        if name == 'benchmark':
          module += rest.partition(' --')[0]
        yield module, flags


def known_flags(command, monkeypatch, capsys):
  """The flags that a command's own help shows."""
  module, *names = command.split()
  monkeypatch.setattr(sys, 'argv', [module, '--help'])
  capsys.readouterr()
  with contextlib.suppress(SystemExit):
    main = importlib.import_module(module).main
    main([*names, '--help']) if names else main()
  return set(re.findall(r'--[\w-]+', capsys.readouterr().out))


def test_no_place_is_left_to_fill_in():
  assert '@@' not in _README


def test_help_launcher_modules_and_readme_have_the_same_commands():
  launcher = _ROOT / 'impala'
  script = launcher.read_text(encoding='utf-8')
  launched = set(re.search(r'\n  (train .*)\) shift', script)[1].split(' | '))
  said = subprocess.run([launcher, 'help'], stdout=subprocess.PIPE, text=True)
  helped = set(re.findall(r'^  (\w+) +\w', said.stdout, re.MULTILINE))
  assert helped == launched | {'help'}
  modules = {
    '.'.join(path.relative_to(_ROOT).with_suffix('').parts)
    for pattern in ('programs/commands/*.py', 'benchmarks/__main__.py')
    for path in _ROOT.glob(pattern)
    if '\ndef main(' in path.read_text(encoding='utf-8')
  }
  wanted = {module_of(name) for name in launched}
  assert {module.split()[0] for module in wanted} == modules
  shown = {module.split()[0] for module, _ in uses()} - {module_of('help')}
  assert shown == modules


def test_flags_that_are_shown_exist(monkeypatch, capsys):
  shown = collections.defaultdict(set)
  for module, flags in uses():
    shown[module] |= set(flags)
  del shown[module_of('help')]
  of_train = known_flags('programs.commands.train', monkeypatch, capsys)
  everything = set(of_train)
  for module, flags in shown.items():
    known = known_flags(module, monkeypatch, capsys)
    everything |= known
    if module.startswith('benchmarks.'):
      known |= of_train  # Which they pass on.
    assert flags <= known, module
  # And those that the text names without their command.
  for line in _README.splitlines():
    if not re.search(r'docker|\bpip\b|uv |DEEPMIND_LAB_WHEEL', line):
      assert set(re.findall(r'--[a-z]\w*', line)) <= everything, line


@pytest.mark.parametrize(
  'name', ['dm-reverb', 'dm-launchpad', 'TensorFlow', 'numpy', 'protobuf']
)
def test_versions_are_the_pinned_ones(name):
  package = {'TensorFlow': 'tensorflow-cpu'}.get(name, name)
  pins = (_ROOT / 'requirements.txt').read_text(encoding='utf-8')
  version = re.search(rf'^{package}==(\S+)', pins, re.MULTILINE)[1]
  assert re.search(rf'{name} (must be )?{re.escape(version)}', _README)


def test_the_python_library_is_the_one_looked_for():
  assert startup.LIBPYTHON in _README


def test_the_python_example_builds_a_program(tmp_path, monkeypatch):
  code = re.search(r'```python\n(.*?)\n```', _README, re.DOTALL)[1]
  monkeypatch.chdir(tmp_path)
  names = {}
  exec(code.replace('app.run(main)', ''), names)
  launched = []
  monkeypatch.setattr(
    names['lp'], 'launch', lambda *given, **_: launched.append(given)
  )
  names['main'](None)
  ((program, launch_type),) = launched
  assert list(program.groups) == [
    'monitor',
    'queue',
    'learner',
    'actor',
    'evaluator',
  ]
  assert launch_type == 'local_mp'
