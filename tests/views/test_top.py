"""The command `top`."""

import io
import os
import pty
import select
import subprocess
import sys
import time

import rich.console
from run_files import (
  ENDED,
  LEARNER,
  make_graph,
  make_records,
  record,
  write_csv,
  write_run,
)

from programs.commands import top
from programs.monitoring import node_statistics
from programs.views import terminal


def drawn(graph, records=None):
  statistics = records and node_statistics.make_statistics([*records])
  console = rich.console.Console(file=io.StringIO(), width=130)
  console.print(terminal.graph_text(graph, statistics))
  return console.file.getvalue()


def test_the_graph_with_figures():
  text = drawn(make_graph(num_actors=3), make_records(1000.0))
  heads = [line for line in text.splitlines() if line and line[0] != ' ']
  assert [head.split()[0] for head in heads] == [
    *('actor', 'queue', 'learner', 'evaluator', 'monitor')
  ]
  for part in (
    'actor x 3',
    'busy 80%, blocked 20%',
    '█' * 19 + '▓' * 5,
    '█' * 5 + '▒' * 19,
    'environment 80% (16 ms), waiting for queue 20%',
    'agent steps 100/200/300/s',
    '8 of 32',
    '── insert 40/s ──▶ queue',
    '── sample 30/s ──▶ learner',
    'learner step 20% (50.0 ms)',
    'policy lag mean 2.50',
    '0.50 cores, 100 MB',
    '── variables 6/s ──▶ actor x 3',
  ):
    assert part in text, part
  assert 'call' not in text


def test_a_silent_node_stands_out():
  first, last = make_records(1000.0)
  last['nodes']['actor/1']['age_seconds'] = 30
  text = drawn(make_graph(num_actors=3), [first, last])
  assert 'silent: actor/1\n' in text.replace(' \n', '\n')


def test_the_graph_alone():
  text = drawn(make_graph(num_actors=3))
  assert 'actor x 3' in text and '── insert ──▶ queue' in text
  assert '%' not in text


def test_the_command_on_a_finished_run(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '200')
  write_run(tmp_path, ended=ENDED, num_actors=3)
  record(tmp_path, make_records(time.time() - 11, warnings=['Stuck [here].']))
  write_csv(tmp_path / 'metrics/learner.csv', LEARNER)
  assert top.main([f'--logdir={tmp_path}']) == 0
  text = capsys.readouterr().out
  for part in (
    *('finished', '640 of 500,000', 'actor x 3', 'Stuck [here].'),
    'waits for data 80% of the time',
  ):
    assert part in text


def test_no_run(tmp_path, capsys):
  assert top.main([f'--logdir={tmp_path}/none']) == 2
  assert 'must be a run directory' in capsys.readouterr().err


def test_a_terminal_follows_the_run_to_its_end(tmp_path):
  directory = write_run(tmp_path)
  record(tmp_path, make_records(time.time() - 11))
  main, other = pty.openpty()
  with subprocess.Popen(
    [sys.executable, '-m', 'programs.commands.top', f'--logdir={tmp_path}'],
    stdin=subprocess.DEVNULL,
    stdout=other,
    stderr=other,
    env={**os.environ, 'TERM': 'xterm', 'COLUMNS': '120'},
  ) as process:
    os.close(other)
    try:
      text, deadline = '', time.monotonic() + 60
      while 'finished' not in text:
        assert time.monotonic() < deadline, text
        if select.select([main], [], [], 0.2)[0]:
          text += os.read(main, 65536).decode(errors='replace')
        if 'insert' in text and directory.read_meta()['ended'] is None:
          directory.update_meta(ended=ENDED)
      assert process.wait(10) == 0
    finally:
      process.kill()
      os.close(main)
  assert 'running' in text
