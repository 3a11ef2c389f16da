"""The program of docs/graph_any_program.md, which is not IMPALA."""

import json
import subprocess
import sys

import command_lines

from programs.commands import top
from programs.views import reading

EXAMPLE = command_lines.ROOT / 'docs/examples/graph_any_program.py'


def test_it_is_drawn_launched_and_watched(tmp_path):
  arguments = [sys.executable, EXAMPLE, tmp_path, '3000']
  done = subprocess.run(
    arguments,
    cwd=command_lines.ROOT,
    env=command_lines.environment(),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert 'trainer/0 stopped the program' in done.stdout
  drawn = json.loads((tmp_path / 'graph.json').read_text())
  about = {node['name']: node['about'] for node in drawn['nodes']}
  assert about['worker/1'].startswith('Computes gradients')
  edges = {(e['user'], e['service'], e['kind']) for e in drawn['edges']}
  assert edges >= {
    ('worker/0', 'queue/0', 'insert'),
    ('worker/0', 'parameters/0', 'variables'),
    ('trainer/0', 'queue/0', 'sample'),
    ('trainer/0', 'parameters/0', 'call'),
    ('trainer/0', 'monitor/0', 'call'),
  }
  records = (tmp_path / 'metrics/graph.jsonl').read_text().splitlines()
  nodes = json.loads(records[-1])['nodes']
  assert nodes['trainer/0']['counts']['steps'] > 0
  assert nodes['worker/0']['seconds']['computing'] > 0
  assert nodes['worker/0']['kinds']['waiting_for_queue'] == 'blocked'
  run = reading.Run(tmp_path)
  run.look()
  assert run.state == 'finished'
  assert run.figures.tables['gradients'].inserts_per_second > 0
  assert '--' not in run.verdict.sentence  # It has no flags of ours.
  status, text = command_lines.run_main(top, f'--logdir={tmp_path}')
  assert status == 0
  assert 'worker x 2' in text and 'steps' in text
