"""The program of docs/graph_any_program.md, which is not IMPALA."""

import subprocess
import sys

import command_lines

from programs.commands import top
from programs.views import reading

EXAMPLE = command_lines.ROOT / 'docs/examples/graph_any_program.py'


def test_it_is_drawn_launched_and_watched(tmp_path):
  done = subprocess.run(
    [sys.executable, EXAMPLE, tmp_path, '3000'],
    env=command_lines.environment(),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert 'trainer/0 stopped the program' in done.stdout
  run = reading.Run(tmp_path)
  run.refresh()
  assert run.state == 'finished'
  nodes = {node.name: node for node in run.graph.nodes}
  assert nodes['worker/1'].about.startswith('Compute gradients')
  assert {(e.user, e.service, e.kind) for e in run.graph.edges} >= {
    ('worker/1', 'queue/0', 'insert'),
    ('worker/1', 'parameters/0', 'variables'),
    ('trainer/0', 'queue/0', 'sample'),
    ('trainer/0', 'parameters/0', 'call'),
    ('trainer/0', 'monitor/0', 'call'),
  }
  found = run.statistics
  assert found.nodes['trainer/0'].rates['steps'] > 0
  assert found.nodes['worker/0'].states['blocked'] > 0
  assert found.nodes['worker/0'].activities['computing'] > 0
  assert found.tables['gradients'].inserts_per_second > 0
  assert '--' not in run.verdict.sentence  # It has no flags of ours.
  status, text = command_lines.run_main(top, f'--logdir={tmp_path}')
  assert status == 0
  assert 'worker x 2' in text
