"""README and docs: commands, flags, links, paths and snippets exist."""

import collections
import contextlib
import importlib
import pathlib
import re
import subprocess
import sys

import launchpad as lp
import pytest
from absl import app

from programs import startup

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_README = _ROOT / 'README.md'
_PAGES = {
  path: path.read_text(encoding='utf-8')
  for path in (_README, *sorted((_ROOT / 'docs').glob('*.md')))
}

# Command -> its module, where the names differ, and a first argument.
_MODULES = {
  'benchmark': 'benchmarks.__main__',
  'gpu': 'programs.commands.doctor',
  'roms': 'programs.commands.fetch roms',
  'scenarios': 'programs.commands.fetch scenarios',
}


def module_of(command):
  return _MODULES.get(command, f'programs.commands.{command}')


def uses():
  """Yields page, module with arguments, and flags of each command shown."""
  for path, text in _PAGES.items():
    for part in re.split(r'[`\n]', text.replace('\\\n', ' ')):
      match = re.search(r'\./impala (\w+)(.*)', part)
      if match and match[1] != 'help':
        name, rest = match.groups()
        module = module_of(name)
        if name == 'benchmark':
          module += rest.partition(' --')[0]
        yield path.name, module, set(re.findall(r'--[\w-]+', rest))


def known_flags(command, monkeypatch, capsys):
  """Returns the flags that a command's own help shows."""
  module, *names = command.split()
  monkeypatch.setattr(sys, 'argv', [module, '--help'])
  capsys.readouterr()
  with contextlib.suppress(SystemExit):
    main = importlib.import_module(module).main
    main([*names, '--help']) if names else main()
  return set(re.findall(r'--[\w-]+', capsys.readouterr().out))


def anchors(path):
  titles = re.findall(r'^#+ (.*)$', _PAGES[path], re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', t.lower()).replace(' ', '-') for t in titles}


def test_launcher_help_modules_and_pages_have_the_same_commands():
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
  assert {module_of(name).split()[0] for name in launched} == modules
  assert {module.split()[0] for _, module, _ in uses()} == modules


def test_flags_that_pages_show_exist(monkeypatch, capsys):
  shown = collections.defaultdict(set)
  for page, module, flags in uses():
    shown[module] |= {(page, flag) for flag in flags}
  of_train = known_flags('programs.commands.train', monkeypatch, capsys)
  everything = set(of_train)
  for module, flags in shown.items():
    known = known_flags(module, monkeypatch, capsys)
    everything |= known
    if module.startswith('benchmarks.'):
      known |= of_train  # Benchmarks pass them on.
    assert not {each for each in flags if each[1] not in known}, module
  for path, text in _PAGES.items():
    alone = set(re.findall(r'`(--\w+)', text))
    assert alone <= everything, path.name


@pytest.mark.parametrize('path', _PAGES, ids=lambda path: path.name)
def test_links_and_paths_lead_somewhere(path):
  for target in re.findall(r'\]\(([^)]+)\)', _PAGES[path]):
    if not target.startswith('http'):
      name, _, anchor = target.partition('#')
      page = (path.parent / name).resolve() if name else path
      assert page.exists(), target
      assert not anchor or anchor in anchors(page), target
  rooms = 'agents|environments|programs|benchmarks|tests|docs'
  for name in re.findall(rf'`((?:{rooms})/[\w./*]*)`', _PAGES[path]):
    assert list(_ROOT.glob(name)), name


def test_readme_is_short_and_has_an_index_of_all_pages():
  assert len(_PAGES[_README].splitlines()) <= 220
  linked = set(re.findall(r'\]\(docs/(\w+\.md)\)', _PAGES[_README]))
  assert linked >= {path.name for path in _PAGES} - {'README.md'}


def test_versions_are_the_pinned_ones():
  page = _PAGES[_ROOT / 'docs/install.md']
  pins = (_ROOT / 'requirements.txt').read_text(encoding='utf-8')
  packages = 'dm-reverb dm-launchpad tensorflow-cpu numpy protobuf'
  for package in packages.split():
    version = re.search(rf'^{package}==(\S+)', pins, re.MULTILINE)[1]
    name = package.replace('tensorflow-cpu', 'TensorFlow')
    assert re.search(rf'{name} (must be )?{re.escape(version)}', page)
  assert startup.LIBPYTHON in page


@pytest.mark.parametrize(
  'code',
  re.findall(r'```python\n(.*?)\n```', '\n'.join(_PAGES.values()), re.DOTALL),
)
def test_python_snippets_launch_a_program(code, tmp_path, monkeypatch):
  launched = []
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(app, 'run', lambda main: main([]))
  monkeypatch.setattr(lp, 'launch', lambda *given, **_: launched.append(given))
  exec(code, {'__name__': '__main__'})
  ((program, launch_type),) = launched
  assert {'queue', 'learner', 'actor', 'evaluator'} <= set(program.groups)
  assert launch_type == 'local_mp'
