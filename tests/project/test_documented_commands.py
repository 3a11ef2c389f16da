"""Runs every `./impala` command of README.md and docs/*.md in a fresh clone.

What goes on until it is interrupted has to show first that it works. With -s,
as `./impala check --all -s tests/project/test_documented_commands.py`, prints
where each command stands, what it said last, and how long it took.
"""

import contextlib
import itertools
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

import processes
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = {
  path.name: path.read_text(encoding='utf-8')
  for path in (ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')))
}
# A line of code, or inline; and whether the page shows next that it is refused.
COMMAND = re.compile(
  r'(?:^ *(?:\w*\$ +)?(?P<line>\./impala [a-z]+(?!\S)(?:\\\n|[^\n`])*)$'
  r'|`(?P<inline>\./impala [a-z]+\s[^`]+)`)'
  r'(?P<refusal>\n *\./impala [a-z]+: )?',
  re.MULTILINE,
)
CLUSTER_FILE = re.compile(r'\{"learner": \["[\d.]+:\d+"\]\}')
# This machine instead of several, fewer actors, nothing outside of the clone.
REPLACED = {
  '10.0.0.1': '127.0.0.2',
  '10.0.0.2': '127.0.0.3',
  '/tmp/agent': 'agent',
  'DIR': 'runs/catch',
  '--num_actors=20': '--num_actors=2',
  '--task=0-19': '--task=0-1',
}
ADDED = {
  'check': ['--collect-only', '--numprocesses=0'],
  'dashboard': ['--port=0'],
  'experiment': ['--logdir=agent'],
}
LEFT_OUT = {
  r'gpu$': 'installs 6 GB',
  r'benchmark .*(peers|rllib)': 'installs RLlib and Sample Factory',
}
GO_ON = ('benchmark', 'cluster', 'dashboard', 'experiment', 'train')
READ = ('dashboard', 'evaluate', 'report', 'top')
ALIVE = re.compile(
  r'frames [1-9]|http://|warming up for|measuring for|_1$|'
  r'joins the run|Ray runtime started',
  re.MULTILINE,
)
WAITS = re.compile(r"waits for the learner's job")
SECONDS = 180


def documented():
  """Command -> where it is shown first, and whether it is refused."""
  found = {}
  for page, text in PAGES.items():
    for match in COMMAND.finditer(text):
      shown = (match['line'] or match['inline']).replace('\\\n', ' ')
      lexer = shlex.shlex(shown, posix=True, punctuation_chars='|&;<>')
      lexer.whitespace_split = True
      words = [*itertools.takewhile(lambda word: word[0] not in '|&;<>', lexer)]
      if not {'$', '...'} & {*re.findall(r'\$|\.\.\.', shown)}:
        line = text.count('\n', 0, match.start()) + 1
        facts = f'{page}:{line}', bool(match['refusal'])
        found.setdefault(shlex.join(words), facts)
  return found


COMMANDS = documented()
pytestmark = pytest.mark.thorough


def adapted(command):
  """The words of a command as it is run here."""
  for shown, here in REPLACED.items():
    command = command.replace(shown, here)
  words = shlex.split(command)
  added = ADDED.get(words[1], [])
  names = [word.partition('=')[0] for word in words]
  return words + [w for w in added if w.partition('=')[0] not in names]


def partner(words):
  """What has to run meanwhile: the head of the cluster, or the other role."""
  wanted = ''
  if any(word.endswith(':6379') for word in words):
    wanted = 'cluster --head'
  elif '--cluster=cluster.json' in words:
    is_learner = '--job_name=learner' in words
    role = 'actor' if is_learner else 'learner'
    wanted = f'--cluster=cluster.json --job_name={role}'
  found = [each for each in COMMANDS if wanted in each]
  return adapted(found[0]) if wanted else None


class Clone:
  """A fresh clone, and short runs there to be read."""

  def __init__(self, folder):
    self.path = folder / 'impala'
    self._logs = itertools.count()
    clone = ['git', 'clone', '--quiet', '--no-hardlinks', ROOT, self.path]
    subprocess.run(clone, check=True)
    file = CLUSTER_FILE.search('\n'.join(PAGES.values()))
    text = file[0].replace('10.0.0.1', REPLACED['10.0.0.1']) if file else ''
    (self.path / 'cluster.json').write_text(text)
    for name, level in (('catch', 'catch'), ('pong', 'atari_pong')):
      flags = f'--level_name={level} --logdir={folder / name}'
      status, text = self.run(shlex.split(f'./impala train {flags}'))
      assert status == 130, text

  def prepare(self, words):
    """Has the clone without runs, but for those that the command reads."""
    for name in ('runs', 'logdir', 'agent'):
      shutil.rmtree(self.path / name, ignore_errors=True)
    is_reader = words[1] in READ or '--mode=test' in words
    for word in words if is_reader else ():
      name = word.removeprefix('--logdir=')
      if re.fullmatch(r'(runs|logdir)/\w+|agent', name):
        example = 'pong' if 'pong' in name else 'catch'
        shutil.copytree(self.path.parent / example, self.path / name)

  @contextlib.contextmanager
  def started(self, words):
    """A command as a process, and a function that returns what it has said."""
    log = self.path.with_name(f'{next(self._logs)}.log')
    with open(log, 'wb') as file:
      process = subprocess.Popen(
        words,
        cwd=self.path,
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
    try:
      yield process, lambda: log.read_text(errors='replace')
    finally:
      process.terminate()
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS)
      process.kill()

  def run(self, words):
    """Runs a command until it ends or has shown that it works."""
    with contextlib.ExitStack() as held:
      if other := partner(words):
        beside, read = held.enter_context(self.started(other))
        is_up = re.compile(f'Ray runtime started|Run directory|{WAITS.pattern}')
        self._wait(beside, read, is_up)
      process, read = held.enter_context(self.started(words))
      goes_on = words[1] in GO_ON and '--help' not in words
      waits = '--job_name=actor' in words and not other
      self._wait(
        process, read, (WAITS if waits else ALIVE) if goes_on else None
      )
      if process.poll() is None:
        is_stopped = waits or words[1] == 'cluster'
        process.send_signal(signal.SIGTERM if is_stopped else signal.SIGINT)
      status = process.wait(SECONDS)
    processes.wait_until(lambda: not processes.naming(self.path), 60)
    return status, read()

  @staticmethod
  def _wait(process, read, alive):
    """Waits until a process ends or says something."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and not (alive and alive.search(read())):
      assert time.monotonic() < deadline, read()
      time.sleep(0.2)


@pytest.fixture(scope='module')
def clone():
  with tempfile.TemporaryDirectory(prefix='docs-') as folder:
    yield Clone(pathlib.Path(folder))


@pytest.mark.parametrize(
  'command', COMMANDS, ids=[where for where, _ in COMMANDS.values()]
)
def test_a_documented_command_runs(command, clone):
  where, is_refused = COMMANDS[command]
  for pattern, why in LEFT_OUT.items():
    if re.search(pattern, command):
      pytest.skip(f'{command} {why}')
  words = adapted(command)
  clone.prepare(words)
  start = time.monotonic()
  status, text = clone.run(words)
  last = (text.strip().splitlines() or [''])[-1]
  seconds = time.monotonic() - start
  print(f'\n{where} | {command} | {status}: {last} | {seconds:.0f} s')
  assert 'Traceback' not in text, text
  if status == 2:
    assert is_refused or 'needs DeepMind Lab' in last, text
  else:
    assert status in (0, 130, 143), text
