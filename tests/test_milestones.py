"""What processes reached on their way to work, and the phases made of it."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from programs.inspection import milestones, phases

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_CHILD = """
import pathlib, sys, time
directory, node = pathlib.Path(sys.argv[1]), sys.argv[2]
time.sleep(0.3)
from programs.inspection import milestones
notes = milestones.Notes(directory, node)
notes.begin()
room = bytearray(80_000_000)
for number in range(200):
  notes.reach(f'step_{number}')
"""


def run_children(directory, nodes):
  """Processes that note side by side."""
  children = [
    subprocess.Popen(
      [sys.executable, '-c', _CHILD, str(directory), node], cwd=_ROOT
    )
    for node in nodes
  ]
  assert [child.wait(60) for child in children] == [0] * len(nodes)


def test_processes_note_side_by_side(tmp_path):
  start = time.time()
  command = milestones.Notes(tmp_path, milestones.COMMAND)
  command.begin()
  made = time.time() - milestones.process_start().time
  run_children(tmp_path, ['actor/0', 'actor/1', 'learner/0'])
  found = milestones.read(tmp_path)
  assert [each.seconds for each in found] == sorted(e.seconds for e in found)
  for node in ('actor/0', 'actor/1', 'learner/0'):
    own = {each.name: each for each in found if each.node == node}
    assert len(own) == 202
    begun, imported = own[milestones.BEGUN], own[milestones.IMPORTED]
    # Seconds count from the command's own process, which pytest is.
    assert made - 0.1 < begun.seconds < made + time.time() - start
    assert imported.seconds - begun.seconds > 0.28  # Its sleep.
    assert (begun.cpu_seconds, begun.rss_bytes) == (0, 0)
    last = own['step_199']
    assert 0 < imported.cpu_seconds <= last.cpu_seconds
    assert last.rss_bytes > imported.rss_bytes + 70e6


def test_the_last_start_counts(tmp_path):
  for node in ('command', 'actor/0', 'command', 'actor/0'):
    milestones.Notes(tmp_path, node).begin()
  found = milestones.read(tmp_path)
  assert len(found) == 4
  (path,) = (tmp_path / 'metrics').iterdir()
  with open(path, 'a', encoding='utf-8') as file:
    file.write('{"time": 1, "node"')  # A crash.
  assert milestones.read(tmp_path) == found


def test_a_run_without_milestones(tmp_path):
  assert milestones.read(tmp_path) == []
  assert phases.make_phases([]) == phases.make_starts([]) == []
  assert phases.sentence([]) == ''


def test_who_cannot_note_goes_on(tmp_path):
  (tmp_path / 'metrics').write_text('no folder')
  milestones.Notes(tmp_path, 'actor/0').begin()
  assert milestones.read(tmp_path) == []


def story(*lines):
  """Milestones of 'seconds node name' lines."""
  split = [line.split() for line in lines]
  return [
    milestones.Milestone(node, name, float(seconds), float(seconds) / 2, 10)
    for seconds, node, name in split
  ]


STORY = story(
  '0.0 command begun',
  '1.0 command imported',
  '1.5 command checked',
  '1.5 command wired',
  '1.75 command launched',
  '1.6 queue/0 begun',
  '1.6 learner/0 begun',
  '1.6 actor/0 begun',
  '1.7 actor/1 begun',
  '4.0 queue/0 imported',
  '4.25 queue/0 network_made',
  '3.0 learner/0 imported',
  '3.5 learner/0 network_made',
  '3.0 actor/0 imported',
  '3.5 actor/0 network_made',
  '5.0 actor/0 environments_made',
  '6.5 learner/0 ready',
  '7.0 actor/0 fetching_variables',
  '7.5 actor/0 forward_pass',
  '8.0 actor/0 waiting_for_queue',
  '8.0 learner/0 waiting_for_data',
  '9.0 learner/0 learner_step',
  # Too late to matter.
  '20.0 actor/1 imported',
  '21.0 actor/1 network_made',
  '22.0 actor/1 environments_made',
)


def test_phases_add_up_to_the_first_learner_step():
  # The second actor, for whom nobody waited, did not come up in time: what the
  # first did after the last import has no part of its own.
  assert dict(phases.make_phases(STORY[:-3])) == {
    'imports of the command': 1.0,
    'configuration and levels checked': 0.5,
    'program made and drawn': 0.0,
    'processes started': 0.25,
    'imports of the nodes': 2.25,
    'networks made': 0.25,
    'environments made': 0.75,
    'variables fetched': 2.0,
    'first forward pass': 0.5,
    'first unrolls in the queue': 0.5,
    'first batch': 0.0,
    'first learner step': 1.0,
  }
  late = phases.make_phases(STORY)
  assert sum(phase.seconds for phase in late) == 9.0
  assert all(phase.seconds >= 0 for phase in late)


def test_phases_in_a_sentence():
  assert phases.sentence(phases.make_phases(STORY[:-3])) == (
    'first learner step after 9.0 s: imports of the command 1.0, configuration '
    'and levels checked 0.5, processes started 0.2, imports of the nodes 2.2, '
    'networks made 0.2, environments made 0.8, variables fetched 2.0, first '
    'forward pass 0.5, first unrolls in the queue 0.5, first learner step 1.0'
  )
  # There is none as long as nothing was learned.
  assert phases.sentence(phases.make_phases(STORY[:-4])) == ''


def test_of_a_role_the_slowest_counts():
  starts = {start.role: start for start in phases.make_starts(STORY)}
  assert list(starts) == ['command', 'queue', 'learner', 'actor']
  assert starts['queue'].import_seconds == pytest.approx(2.4)
  assert starts['learner'].ready_seconds == pytest.approx(4.9)
  assert starts['actor'].import_seconds == pytest.approx(18.3)
  assert starts['actor'].ready_cpu_seconds == 11.0
  assert starts['command'].ready_seconds == 1.75


def test_lines_are_as_they_are_explained(tmp_path):
  milestones.Notes(tmp_path, 'actor/0').begin()
  (path,) = (tmp_path / 'metrics').iterdir()
  page = (_ROOT / 'docs/metrics.md').read_text(encoding='utf-8')
  section = page.partition(f'\n## {path.name}')[2].partition('\n## ')[0]
  for line in path.read_text(encoding='utf-8').splitlines():
    noted = json.loads(line)
    for name in (*noted, noted['milestone']):
      assert f'\n| `{name}` |' in section


def test_an_installation_before_the_command_does_not_count(monkeypatch):
  of_this = f'{os.getpid()} 1700000000.250000000'
  monkeypatch.setenv('IMPALA_INSTALLED_AT', of_this)
  assert milestones.process_start().time == 1_700_000_000.25
  # Of this process alone: its children have starts of their own.
  monkeypatch.setenv('IMPALA_INSTALLED_AT', of_this.replace(' ', '0 '))
  assert milestones.process_start().time > 1_700_000_001
