"""The bottleneck of real runs with a slow side, and of shares of time."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import launch_slow
import processes
import pytest
from records import make_node, make_record, make_table

from programs import program as impala
from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics, recording, verdict, wiring
from programs.runs import flags

ROOT = pathlib.Path(__file__).absolute().parents[2]
SECONDS = 200  # Most of it are imports.


def run_slow(side, directory):
  """Launch a run with a slow side; returns its verdict."""
  with subprocess.Popen(
    [sys.executable, launch_slow.__file__, side, str(directory)],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    start_new_session=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': str(directory)},
  ) as launcher:
    try:
      output, _ = launcher.communicate(timeout=SECONDS)
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGKILL)
  assert launcher.returncode == 0, output
  processes.wait_until(lambda: not processes.naming(directory), 5)
  program = graph_lib.ProgramGraph.from_json(
    (directory / 'graph.json').read_text()
  )
  records = recording.Reader(directory / 'metrics/graph.jsonl').read()
  learning = [
    record
    for record in records
    if record['nodes'].get('learner/0', {}).get('activity')
    in ('learner_step', 'waiting_for_data')
    and record['nodes']['learner/0']['calls'].get('learner_step', 0) > 2
  ]
  return verdict.judge(program, node_statistics.make_statistics(learning))


@pytest.mark.parametrize(
  ('side', 'expected', 'words'),
  [
    ('environment', 'producers', 'environment'),
    ('learner', 'consumers', 'learner step'),
    ('queue', 'queue', 'holds 1'),
  ],
)
def test_the_slow_side_of_a_run_is_found(tmp_path, side, expected, words):
  found = run_slow(side, tmp_path)
  assert found.side == expected, found
  assert words in found.sentence


def make_graph(num_actors):
  return wiring.make_graph(
    impala.make_program(
      flags.resolve({'logdir': 'runs/x', 'num_actors': num_actors})
    )
  )


def judge(
  num_actors=2,
  waiting=0.0,
  actor=None,
  machine_busy=0.5,
  held=0.0,
  starved=0.0,
):
  """Return the verdict on shares of time."""
  actor = actor or {'environment': 1.0}
  last = make_record(
    10.0,
    {
      'learner/0': make_node(
        'learner_step',
        seconds={
          'waiting_for_data': 10 * waiting,
          'learner_step': 10 - 10 * waiting,
        },
      ),
      **{
        f'actor/{index}': make_node(
          seconds={name: 10 * share for name, share in actor.items()}
        )
        for index in range(num_actors)
      },
    },
    {
      'queue': make_table(
        waiting_for_samples_seconds=10 * held,
        waiting_for_inserts_seconds=10 * starved,
      )
    },
    machine={
      'cores': 4,
      'busy_seconds': 40 * machine_busy,
      'total_seconds': 40.0,
    },
  )
  first = make_record(0.0, tables={'queue': make_table()})
  return verdict.judge(
    make_graph(num_actors), node_statistics.make_statistics([first, last])
  )


def test_the_sentence_has_bottleneck_shares_and_remedy():
  found = judge(
    waiting=0.83,
    actor={
      'environment': 0.71,
      'forward_pass': 0.12,
      'fetching_variables': 0.17,
    },
  )
  assert found.side == 'producers'
  shares = 'environment 71%, fetching variables 17%, forward pass 12%'
  for part in ('data 83%', shares, '--num_actors'):
    assert part in found.sentence


@pytest.mark.parametrize(
  ('activity', 'remedy'),
  [
    ('forward_pass', '--num_envs_per_actor'),
    ('fetching_variables', '--unroll_length'),
    ('waiting_for_inference', '--inference_min_batch'),
    ('environment', '--env_processes'),
  ],
)
def test_the_remedy_follows_the_longest_activity(activity, remedy):
  other = 'forward_pass' if activity == 'environment' else 'environment'
  found = judge(waiting=0.5, actor={activity: 0.6, other: 0.4})
  assert remedy in found.sentence


@pytest.mark.parametrize(
  ('waiting', 'blocked', 'side'),
  [
    (0.09, 0.09, 'none'),
    (0.11, 0.0, 'producers'),
    (0.0, 0.11, 'consumers'),  # A learner that never waits.
    (0.7, 0.3, 'producers'),
    (0.3, 0.7, 'consumers'),
    (0.4, 0.3, 'queue'),
    (0.3, 0.4, 'queue'),
    (0.15, 0.09, 'producers'),
  ],
)
def test_thresholds_of_the_sides(waiting, blocked, side):
  actor = {'environment': 1 - blocked, 'waiting_for_queue': blocked}
  assert judge(waiting=waiting, actor=actor).side == side


@pytest.mark.parametrize(
  ('held', 'starved', 'side'),
  [
    (0.31, 0.36, 'sampling'),
    (0.04, 0.38, 'producers'),
    (0.05, 0.0, 'producers'),
    (0.15, 0.4, 'producers'),
  ],
)
def test_slow_sampling_from_reverb(held, starved, side):
  """Blame Reverb if the learner waits although the queue is full."""
  found = judge(waiting=0.7, held=held, starved=starved)
  assert found.side == side
  assert ('31%' in found.sentence) == (held == 0.31)


def test_no_more_processes_without_free_cores():
  found = judge(waiting=0.5, machine_busy=0.97)
  assert '97%' in found.sentence
  assert '--num_actors' not in found.sentence
