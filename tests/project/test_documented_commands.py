"""Run every `./impala` command of README.md and docs/*.md in a fresh clone.

Commands that run until they are interrupted have to show first that they work.
`./impala check --all -s tests/project/test_documented_commands.py` prints a
line for each command: page, status and last words, seconds.
"""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

import command_lines
import processes
import pytest

ROOT = command_lines.ROOT
PAGES = {
  path.name: path.read_text(encoding='utf-8')
  for path in (ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')))
}
# Lines of code, or inline; and whether the page shows next that it is refused.
COMMAND = re.compile(
  r'(?:^ *(?:\w*\$ +)?(?P<line>\./impala [a-z]+(?!\S)(?:\\\n|[^\n`])*)$'
  r'|`(?P<inline>\./impala [a-z]+\s[^`]+)`)'
  r'(?P<refusal>\n *\./impala [a-z]+: )?',
  re.MULTILINE,
)
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
READ_RUNS = ('dashboard', 'evaluate', 'report', 'top')
ALIVE = (
  r'frames [1-9]|http://|(warming up|measuring|watching) for|'
  r'joins the run|Ray runtime started|^[0-9:]+ \S+_1$'
)
WAITS = "waits for the learner's job"
SECONDS = 300  # Enough for 100 games of Pong.


def find_commands():
  """Return command -> where it is shown first, and whether it is refused."""
  found = {}
  for page, text in PAGES.items():
    for match in COMMAND.finditer(text):
      shown = (match['line'] or match['inline']).replace('\\\n', ' ')
      words = shlex.split(re.split('[|&;<>]', shown)[0], comments=True)
      place = f'{page}:{text.count(chr(10), 0, match.start()) + 1}'
      if not re.search(r'\$|\.\.\.', shown):
        found.setdefault(shlex.join(words), (place, bool(match['refusal'])))
  return found


COMMANDS = find_commands()


def adapt(command):
  """Return the words of a command as it is run here."""
  for shown, here in REPLACED.items():
    command = command.replace(shown, here)
  words = shlex.split(command)
  flags = {word.partition('=')[0] for word in words}
  added = ADDED.get(words[1], [])
  return words + [w for w in added if w.partition('=')[0] not in flags]


def find_partner(words):
  """Return what has to run meanwhile: a cluster's head, or the other role."""
  wanted = None
  if any(word.endswith(':6379') for word in words):
    wanted = 'cluster --head'
  elif '--cluster=cluster.json' in words:
    role = 'actor' if '--job_name=learner' in words else 'learner'
    wanted = f'--cluster=cluster.json --job_name={role}'
  return adapt(next(c for c in COMMANDS if wanted in c)) if wanted else None


def wait(process, log, sign):
  """Wait until a process ends, or its output has the sign."""
  deadline = time.monotonic() + SECONDS
  while process.poll() is None:
    if sign and re.search(sign, log.read_text(errors='replace'), re.MULTILINE):
      return
    assert time.monotonic() < deadline, log.read_text(errors='replace')
    time.sleep(0.2)


def run(words, clone):
  """Run a command to its end or interrupt it; return status and output."""
  variables = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  log, beside = clone.with_name('log'), clone.with_name('beside')
  with contextlib.ExitStack() as held:
    if partner := find_partner(words):
      other = held.enter_context(
        command_lines.running(partner, clone, beside, variables)
      )
      held.callback(other.wait, SECONDS)
      held.callback(other.terminate)
      wait(other, beside, f'Ray runtime started|Run directory|{WAITS}')
    process = held.enter_context(
      command_lines.running(words, clone, log, variables)
    )
    alive = WAITS if '--job_name=actor' in words and not partner else ALIVE
    goes_on = words[1] in GO_ON and '--help' not in words
    wait(process, log, alive if goes_on else None)
    if process.poll() is None:
      process.send_signal(signal.SIGINT)
    status = process.wait(SECONDS)
  processes.wait_until(lambda: not processes.naming(clone), 60)
  return status, log.read_text(errors='replace')


@pytest.fixture(scope='module')
def clone():
  """A fresh clone, and beside it runs that were interrupted."""
  with tempfile.TemporaryDirectory(prefix='docs-') as folder:
    path = pathlib.Path(folder, 'impala')
    subprocess.run(['git', 'clone', '--quiet', ROOT, path], check=True)
    file = re.search(r'{"learner": \["10.0.0.1:\d+"\]}', PAGES['cluster.md'])
    text = file[0].replace('10.0.0.1', REPLACED['10.0.0.1'])
    (path / 'cluster.json').write_text(text)
    for name, level in (('catch', 'catch'), ('pong', 'atari_pong')):
      flags = f'--level_name={level} --logdir={folder}/{name}'
      status, text = run(shlex.split(f'./impala train {flags}'), path)
      assert status == 130, text
    yield path


def prepare(words, clone):
  """Remove all runs, and copy those that a command reads to their places."""
  for name in ('runs', 'logdir', 'agent'):
    shutil.rmtree(clone / name, ignore_errors=True)
  is_reader = words[1] in READ_RUNS or '--mode=test' in words
  for word in words if is_reader else ():
    name = word.removeprefix('--logdir=')
    if re.fullmatch(r'(runs|logdir)/\w+|agent', name):
      run_name = 'pong' if 'pong' in name else 'catch'
      shutil.copytree(clone.parent / run_name, clone / name)


@pytest.mark.thorough
@pytest.mark.parametrize(
  'command', COMMANDS, ids=[place for place, _ in COMMANDS.values()]
)
def test_a_documented_command_runs(command, clone):
  place, is_refused = COMMANDS[command]
  for pattern, why in LEFT_OUT.items():
    if re.search(pattern, command):
      pytest.skip(f'{command} {why}')
  words = adapt(command)
  prepare(words, clone)
  start = time.monotonic()
  status, text = run(words, clone)
  last = (text.strip().splitlines() or [''])[-1]
  ended = f'{status}: {last} | {time.monotonic() - start:.0f} s'
  print(f'\n{place} | {command} | {ended}', flush=True)
  assert 'Traceback' not in text, text
  if status == 2:
    assert is_refused or 'needs DeepMind Lab' in last, text
  else:
    assert status in (0, 130), text
