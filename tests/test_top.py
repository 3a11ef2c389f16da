"""A run in the terminal, from its directory alone."""

import datetime
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
import rich.console
from records import make_node, make_record, make_table

from programs import flags, impala, runs, top
from programs.inspection import figures as figures_lib
from programs.inspection import live, recording, terminal, wiring


def make_graph(**given):
  return wiring.make_graph(
    impala.make_program(flags.resolve({'logdir': 'runs/x', **given}))
  )


def make_records(now, blocked=0.2, num_actors=3, **more):
  """Ten seconds of a run."""
  for age, seconds in ((11, 0.0), (1, 10.0)):
    yield make_record(
      now - age,
      {
        'learner/0': make_node(
          'waiting_for_data',
          seconds={
            'waiting_for_data': 0.8 * seconds,
            'learner_step': 0.2 * seconds,
          },
          calls={
            'waiting_for_data': 1 + int(seconds * 4),
            'learner_step': int(seconds * 4),
          },
          gauges={'policy_lag_mean': 2.5},
        ),
        **{
          f'actor/{index}': make_node(
            'environment',
            seconds={
              'environment': (1 - blocked) * seconds,
              'waiting_for_queue': blocked * seconds,
            },
            calls={'environment': int(seconds * 50)},
            counts={'agent_steps': 100 * (index + 1) * seconds},
          )
          for index in range(num_actors)
        },
      },
      {
        'queue': make_table(
          size=8, inserts=int(40 * seconds), samples=int(39 * seconds)
        )
      },
      {
        'actor/0': {'cpu_seconds': 0.9 * seconds, 'rss_bytes': 500_000_000},
        'monitor/0': {'cpu_seconds': 0.0, 'rss_bytes': 300_000_000},
      },
      start=now - 100,
      **more,
    )


def write_run(directory, records, ended=None, started_ago=90, **given):
  run = runs.RunDirectory(directory)
  runs.write_text(directory / 'graph.json', make_graph(**given).to_json())
  started = datetime.datetime.now().astimezone() - datetime.timedelta(
    seconds=started_ago
  )
  run.update_meta(started=started.isoformat(), ended=ended)
  recorder = recording.Recorder(directory / 'metrics/graph.jsonl')
  for record in records:
    recorder.write(record)


ENDED = {
  'kind': 'finished',
  'time': '2999-01-01T00:00:00+00:00',
  'description': 'finished',
  'exit_status': 0,
}


def drawn(graph, figures, width=130):
  console = rich.console.Console(file=io.StringIO(), width=width)
  console.print(terminal.graph_text(graph, figures))
  return console.file.getvalue()


def test_the_graph_with_figures():
  figures = figures_lib.make_figures([*make_records(1000.0)])
  text = drawn(make_graph(num_actors=3), figures)
  heads = [line for line in text.splitlines() if line and line[0] != ' ']
  assert [head.split()[0] for head in heads] == [
    'actor',
    'queue',
    'learner',
    'evaluator',
    'monitor',
  ]
  for part in (
    'actor x 3',
    'busy 80%, blocked 20%',
    '█' * 19 + '▓' * 5,
    '█' * 5 + '▒' * 19,
    'environment 80% (16 ms), waiting for queue 20%',
    'agent steps 100/200/300/s',
    '8 of 32',
    'inserts wait 0%, samplers wait 0% of the time',
    '── insert 40/s ──▶ queue',
    '── sample 39/s ──▶ learner',
    'busy 20%, waiting 80%',
    'learner step 20% (50 ms)',
    'policy lag mean 2.50',
    '0.90 cores, 500 MB',
    '── variables ──▶ actor x 3',
  ):
    assert part in text, part
  assert sum('actor/' in line for line in text.splitlines()) == 3
  assert 'call' not in text


def test_many_nodes_are_told_as_one():
  records = [*make_records(1000.0, num_actors=64)]
  text = drawn(make_graph(num_actors=64), figures_lib.make_figures(records))
  assert 'agent steps 100/3,250/6,400/s' in text
  assert 'actor/' not in text


def test_a_silent_node_stands_out():
  first, last = make_records(1000.0)
  last['nodes']['actor/1']['age_seconds'] = 30
  text = drawn(
    make_graph(num_actors=3), figures_lib.make_figures([first, last])
  )
  (line,) = (line for line in text.splitlines() if 'actor/1' in line)
  assert 'silent' in line


def test_the_graph_alone():
  text = drawn(make_graph(num_actors=3), None)
  assert 'actor x 3' in text and '── insert ──▶ queue' in text
  assert '%' not in text


@pytest.mark.parametrize(
  ('ended', 'started_ago', 'age', 'expected'),
  [
    (None, 90, 0, 'running'),
    (None, 90, 60, 'lost'),
    ({**ENDED, 'kind': 'failed'}, 90, 60, 'failed'),
    (None, 0, 60, 'lost'),  # Resumed, and killed before its first record.
  ],
)
def test_how_a_run_fares(tmp_path, ended, started_ago, age, expected):
  write_run(tmp_path, make_records(time.time() - age), ended, started_ago)
  snapshot = live.Run(tmp_path).look()
  assert snapshot.state == expected
  assert snapshot.figures and snapshot.verdict


def test_a_run_that_starts_again_has_no_figures_yet(tmp_path):
  write_run(tmp_path, make_records(time.time() - 60), None, started_ago=0)
  with runs.RunDirectory(tmp_path).locked():
    snapshot = live.Run(tmp_path).look()
  assert (snapshot.state, snapshot.figures) == ('running', None)


@pytest.mark.parametrize('calls', [{}, {'waiting_for_data': 9}])
@pytest.mark.parametrize('ended', [None, ENDED])
def test_no_verdict_while_no_data_flows(tmp_path, calls, ended):
  """While all start, and while the last evaluation runs."""
  records = [*make_records(time.time())]
  for record in records:
    activity = 'nothing_to_do' if calls else 'waiting_for_data'
    record['nodes']['learner/0'] |= {'calls': calls, 'activity': activity}
    record['nodes']['learner/0']['kinds'] |= {'nothing_to_do': 'idle'}
  write_run(tmp_path, records, ended)
  snapshot = live.Run(tmp_path).look()
  assert snapshot.figures and snapshot.verdict is None


def test_of_a_run_that_ended_only_what_flowed_is_judged(tmp_path):
  now = time.time()
  *_, last = make_records(now, blocked=0.1)
  write_run(tmp_path, make_records(now, blocked=0.1), ENDED)
  for name, node in last['nodes'].items():
    # A long evaluation, for which actors wait and the learner has no work.
    idle = name == 'learner/0'
    node['activity'] = 'nothing_to_do' if idle else 'waiting_for_queue'
    node['kinds']['nothing_to_do'] = 'idle'
    node['seconds'][node['activity']] = 1000.0
  write_run(tmp_path, [{**last, 'time': now + 1000}], ENDED)
  snapshot = live.Run(tmp_path).look()
  assert snapshot.verdict.side == 'producers'


def test_figures_of_now_and_of_all_of_a_run(tmp_path):
  now = time.time()
  early = [
    {**record, 'time': record['time'] - 50}
    for record in make_records(now, blocked=0.9)
  ]
  write_run(tmp_path, early)
  late = []
  for record in make_records(now, blocked=0.9):
    for node in record['nodes'].values():
      node['seconds'] = {n: s + 10 for n, s in node['seconds'].items()}
    late.append(record)
  for second in range(11):  # As many as the window takes.
    write_run(tmp_path, [{**late[0], 'time': now - 11 + second}])
  write_run(tmp_path, late[1:])
  run = live.Run(tmp_path)
  assert run.look().figures.seconds == pytest.approx(9, abs=0.1)
  runs.RunDirectory(tmp_path).update_meta(ended=ENDED)
  assert run.look().figures.seconds == pytest.approx(60, abs=0.1)


def test_another_run_in_the_same_place(tmp_path):
  directory = tmp_path / 'run'
  write_run(directory, make_records(time.time()), ENDED)
  run = live.Run(directory)
  assert run.look().state == 'finished'
  directory.rename(tmp_path / 'aside')
  assert run.look() is None
  write_run(directory, make_records(time.time(), blocked=1.0), num_actors=7)
  snapshot = run.look()
  assert snapshot.state == 'running'
  assert len(snapshot.graph.roles['actor']) == 7
  assert snapshot.figures.nodes['actor/0'].states['blocked'] == 1.0


def test_the_command_on_a_finished_run(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '200')
  records = [*make_records(time.time(), warnings=['Stuck [here].'])]
  write_run(tmp_path, records, ENDED, num_actors=3)
  (tmp_path / 'metrics/learner.csv').write_text(
    'episode_return,frames\n0.5,1000\n'
  )
  assert top.main([f'--logdir={tmp_path}']) == 0
  text = capsys.readouterr().out
  line = text.splitlines()[0]
  assert re.search(r'  finished  .* days, .*  frames 1,000  return 0.50$', line)
  assert 'actor x 3' in text and 'machine' in text
  assert 'Stuck [here].' in text
  assert 'The learner waits for data 80% of the time: the actors' in text


def test_the_command_before_there_are_figures(tmp_path, capsys):
  write_run(tmp_path, [])
  assert top.main([f'--logdir={tmp_path}']) == 0
  assert 'No figures yet' in capsys.readouterr().out


def test_no_run(tmp_path, capsys):
  assert top.main([f'--logdir={tmp_path}/none']) == 2
  assert 'must be a run directory' in capsys.readouterr().err


def test_in_a_terminal_it_follows_the_run_to_its_end(tmp_path):
  write_run(tmp_path, make_records(time.time()))
  main, other = pty.openpty()
  with subprocess.Popen(
    [sys.executable, '-m', 'programs.top', f'--logdir={tmp_path}'],
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
        if (
          'insert' in text
          and json.loads((tmp_path / 'meta.json').read_text())['ended'] is None
        ):
          runs.RunDirectory(tmp_path).update_meta(ended=ENDED)
      assert process.wait(10) == 0
    finally:
      process.kill()
      os.close(main)
  assert 'running' in text
