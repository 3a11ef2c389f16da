"""The commands `train` and `evaluate`, as a user starts them.

A start takes ten seconds and more, so one run is told as a story: its
environments are killed and it is stopped by SIGINT; gone on with, its launcher
is killed; gone on with to its end; started anew in its place, its learner
hangs. The tests look at the chapters.
"""

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import command_lines
import numpy as np
import processes
import psutil
import pytest

from agents.impala import metrics
from programs import startup
from programs.commands import train
from programs.evaluation import results
from programs.monitoring import recording
from programs.runs import checkpoints, run_directory

ROOT = pathlib.Path(__file__).absolute().parents[2]
TOTAL = 20_000
STEP_FRAMES = 40  # Of a learner step: half a batch x unroll length.
LEARNING_RATE = 0.002
FLAGS = (
  f'--total_environment_frames={TOTAL}',
  '--batch_size=8',
  '--unroll_length=10',
  '--queue_capacity=8',
  # What is off otherwise, so that it is seen to work and to be resumed.
  '--lstm',
  '--replay_proportion=0.5',
  '--extra_policy_lag=2',
  '--correction=one_step',
  f'--learning_rate={LEARNING_RATE}',
  '--num_actors=1',
  '--num_envs_per_actor=8',
  '--env_processes=2',
  '--log_period_seconds=0.2',
  '--evaluation_period_frames=0',
  '--test_num_episodes=3',
)
NUM_KILLED = 3  # Processes of four environments each.
START_SECONDS = 150  # Five imports of TensorFlow; quiet machines need 15.
STOP_SECONDS = 15


@dataclasses.dataclass(frozen=True)
class Chapter:
  """One start: what it said, and what was there when it had ended."""

  status: int
  output: str
  seconds: float  # From the signal to the end.
  meta: dict
  rows: list
  saved_frames: int | None


def read_rows(directory):
  """Whole rows of the learner's metrics."""
  path = directory / 'metrics/learner.csv'
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  whole = [line for line in lines if line.endswith('\n')]
  return [
    {name: float(value) for name, value in row.items()}
    for row in csv.DictReader(whole)
  ]


def read_saved_frames(directory):
  """Frames of the newest checkpoint."""
  counts = metrics.Counts()
  saved = checkpoints.Checkpoints(directory / 'checkpoints', {'counts': counts})
  return int(counts.frames.numpy()) if saved.restore() else None


def read_meta(directory):
  return run_directory.RunDirectory(directory).read_meta()


def wait_for_nodes(directory, process, before=None):
  """Waits for the process ids of this start; returns them."""

  def noted():
    assert process.poll() is None, 'ended before its nodes were started'
    return read_meta(directory).get('processes') not in (None, {}, before)

  processes.wait_until(noted, START_SECONDS)
  return read_meta(directory)['processes']


def wait_for_learning(directory, process, num_rows):
  def is_learning():
    assert process.poll() is None, 'ended before it had learned'
    return len(read_rows(directory)) > num_rows

  processes.wait_until(is_learning, START_SECONDS)


def end(directory, process, log, timeout):
  """Waits for the end; nothing may be left then."""
  begin = time.monotonic()
  status = process.wait(timeout)
  seconds = time.monotonic() - begin
  pids = read_meta(directory)['processes'].values()
  assert not [pid for pid in pids if processes.is_alive(pid)]
  assert not processes.naming(directory)
  assert not (directory / '.launch').exists()
  return Chapter(
    status=status,
    output=log.read_text(),
    seconds=seconds,
    meta=read_meta(directory),
    rows=read_rows(directory),
    saved_frames=read_saved_frames(directory),
  )


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tmp_path_factory.mktemp('story') / 'run'


def environment_processes(actor):
  """Process ids of an actor's environments, the longest running first."""
  found = []
  for child in psutil.Process(actor).children():
    with contextlib.suppress(psutil.Error):
      if 'child.main()' in ' '.join(child.cmdline()):
        found.append((child.create_time(), child.pid))
  return [pid for _, pid in sorted(found)]


@pytest.fixture(scope='module')
def interrupted(directory):
  killed = set()
  with command_lines.started(train, directory, *FLAGS) as (process, log):
    wait_for_learning(directory, process, 0)
    actor = read_meta(directory)['processes']['actor/0']
    while len(killed) < NUM_KILLED:
      pids = environment_processes(actor)
      if len(pids) == 2 and pids[0] not in killed:
        os.kill(pids[0], signal.SIGKILL)
        killed.add(pids[0])
      wait_for_learning(directory, process, len(read_rows(directory)))
    processes.wait_until(
      lambda: (
        read_rows(directory)[-1]['environment_restarts'] >= 4 * NUM_KILLED
      ),
      30,
    )
    process.send_signal(signal.SIGINT)
    return end(directory, process, log, STOP_SECONDS)


@pytest.fixture(scope='module')
def killed(directory, interrupted):
  """What a second start said meanwhile."""
  with command_lines.started(train, directory) as (process, _):
    pids = wait_for_nodes(directory, process, interrupted.meta['processes'])
    refused = command_lines.run_main(train, f'--logdir={directory}')
    process.kill()
    process.wait()
    processes.wait_until(
      lambda: not any(map(processes.is_alive, pids.values())), 5
    )
    processes.wait_until(lambda: not processes.naming(directory), 5)
    return refused


@pytest.fixture(scope='module')
def finished(directory, killed):
  with command_lines.started(train, directory) as (process, log):
    return end(directory, process, log, START_SECONDS + 60)


@pytest.fixture(scope='module')
def copy(directory, finished, tmp_path_factory):
  """The finished run, in another place."""
  path = tmp_path_factory.mktemp('copy') / 'moved'
  shutil.copytree(directory, path)
  return path


def test_a_signal_ends_it_with_a_checkpoint(interrupted):
  chapter = interrupted
  assert chapter.status == 128 + signal.SIGINT
  assert 'interrupted by SIGINT' in chapter.output
  assert 'killed' not in chapter.output
  assert 'Traceback' not in chapter.output
  assert chapter.seconds < STOP_SECONDS
  assert chapter.meta['ended']['kind'] == 'interrupted'
  assert chapter.meta['ended']['exit_status'] == 128 + signal.SIGINT
  assert 'finished_frames' not in chapter.meta
  # Everything that was learned is there.
  assert 0 < chapter.saved_frames < TOTAL
  assert chapter.saved_frames == chapter.rows[-1]['frames']


def test_a_run_outlives_its_environments(directory, interrupted):
  log = (directory / 'logs/actor_0.log').read_text()
  assert log.count('SIGKILL; starting another') == NUM_KILLED
  restarts = [row['environment_restarts'] for row in interrupted.rows]
  assert restarts == sorted(restarts) and restarts[-1] == 4 * NUM_KILLED
  last = interrupted.rows[-1]
  # Rows of last observations are of games, or of episodes that were cut.
  cut = last['frames'] - last['executed_frames'] - last['episodes']
  assert 0 < cut <= restarts[-1]


def test_it_goes_on_where_it_stopped(interrupted, finished):
  assert 'Resuming' not in interrupted.output
  assert 'Resuming the run' in finished.output
  count = len(interrupted.rows)
  np.testing.assert_equal(finished.rows[:count], interrupted.rows)  # NaN too.
  assert finished.rows[count]['frames'] > interrupted.saved_frames
  assert finished.saved_frames == TOTAL
  rows = finished.rows
  frames = [row['frames'] for row in rows]
  assert frames == sorted(set(frames)) and frames[-1] == TOTAL
  for row in rows:
    assert row['frames'] == STEP_FRAMES * row['learner_steps']
  episodes = [row['episodes'] for row in rows]
  assert episodes == sorted(episodes)


def test_the_learning_rate_goes_on_over_stops(finished):
  """A row holds the mean since the row before."""

  def rate(frames):
    return LEARNING_RATE * (1 - frames / TOTAL)

  first = 0
  for row in finished.rows:
    last = row['frames'] - STEP_FRAMES
    mean = rate((first + last) / 2)
    assert row['learning_rate'] == pytest.approx(mean, rel=1e-3, abs=1e-7)
    first = row['frames']


def test_a_second_train_in_the_directory_is_refused(directory, killed):
  status, output = killed
  assert status == 2
  assert f'{directory} is in use by process ' in output
  assert 'Traceback' not in output


def test_it_finishes(directory, finished):
  assert finished.status == 0
  assert 'finished: learner/0 stopped the program' in finished.output
  assert 'ended badly' not in finished.output
  assert finished.meta['finished_frames'] == TOTAL
  assert finished.meta['ended']['kind'] == 'finished'
  assert finished.meta['ended']['exit_status'] == 0
  assert finished.meta['command_line'][1:3] == ['-m', 'programs.commands.train']
  assert set(finished.meta['processes']) == {
    'queue/0',
    'monitor/0',
    'learner/0',
    'actor/0',
    'evaluator/0',
  }


def test_everything_is_in_the_run_directory(directory, interrupted, finished):
  names = {path.name for path in directory.iterdir()}
  assert names - {'.lock'} == {
    *('logs', 'metrics', 'tensorboard', 'checkpoints', 'evaluations', 'report'),
    *('config.json', 'meta.json', 'graph.html', 'graph.json', 'graph.mmd'),
  }
  assert (directory / 'report/index.html').exists()
  # After three starts: TensorBoard keeps the first configuration it finds.
  assert len([*(directory / 'tensorboard').glob('events*')]) == 1
  logs = {path.stem for path in (directory / 'logs').iterdir()}
  assert {log.replace('_', '/') for log in logs} == {
    *finished.meta['processes']
  }
  # Of all three starts.
  log = (directory / 'logs/learner_0.log').read_text()
  assert log.count('=== ') == 3
  assert f'Resumed at frame {interrupted.saved_frames}' in log
  assert list((directory / 'tensorboard/learner').glob('events.out.tfevents.*'))
  config = run_directory.RunDirectory(directory).read_config()
  assert config['agent']['batch_size'] == 8
  assert config['run']['logdir'] == str(directory)
  assert config['agent']['network'] == 'mlp'  # Also what a preset chose.


def explained(file):
  """The names that docs/metrics.md explains for a file."""
  page = (ROOT / 'docs/metrics.md').read_text(encoding='utf-8')
  section = page.partition(f'\n## {file}')[2].partition('\n## ')[0]
  rows = [line for line in section.splitlines() if line.startswith('| `')]
  names = [re.findall('`(.*?)`', row.split(' | ')[0]) for row in rows]
  return [name for each in names for name in each]


def columns(directory, file):
  with open(directory / 'metrics' / file, encoding='utf-8') as lines:
    return next(csv.reader(lines))


def test_every_metric_is_explained(directory, finished):
  for file in ('learner.csv', 'levels.csv'):
    assert sorted(explained(file)) == sorted(columns(directory, file))
  # Human scores are those of a suite's levels alone.
  scored = results.LevelResult('atari_pong', [1.0], [9], 36)
  names = {'time', 'frames', *results.summarise([scored])}
  assert set(columns(directory, 'evaluator.csv')) <= names
  assert sorted(explained('evaluator.csv')) == sorted(names)
  training = {f'training_{score}' for score in ('no_cap', 'cap_100', 'median')}
  assert set(explained('atari57.csv')) == {'time', 'frames', *training}


def test_the_monitor_has_seen_all_nodes(directory, finished):
  records = recording.Reader(directory / 'metrics/graph.jsonl').read()
  assert len({record['start'] for record in records}) >= 2
  assert all(not record['warnings'] for record in records)
  told = set().union(*(record['nodes'] for record in records))
  used = set().union(*(record['processes'] for record in records))
  assert told == {'learner/0', 'actor/0', 'evaluator/0'}
  assert used == set(finished.meta['processes'])


def test_the_graph_names_each_process(directory, finished):
  page = (directory / 'graph.html').read_text()
  for name, pid in finished.meta['processes'].items():
    row = page.partition(f'<tr><th>{name}</th>')[2].partition('</tr>')[0]
    assert f'<dt>process</dt><dd>{pid}</dd>' in row


def test_actors_are_as_far_behind_as_asked_for(finished):
  # Sampled a while after the start, when there are variables so old.
  lags = [row['policy_lag_min'] for row in finished.rows[-5:]]
  assert min(lags) >= 2


def test_every_episode_is_counted(directory, finished):
  with open(directory / 'metrics/levels.csv', encoding='utf-8') as file:
    rows = list(csv.DictReader(file))
  episodes = sum(int(row['episodes']) for row in rows)
  assert episodes == finished.rows[-1]['episodes'] > 0
  path = directory / 'evaluations' / str(TOTAL) / 'results.json'
  content = json.loads(path.read_text())
  (level,) = content['levels']
  assert level['episodes'] == len(level['returns']) == 3
  assert level['steps'] == [9, 9, 9] and level['frames'] == 27
  best = json.loads((directory / 'checkpoints/best/best.json').read_text())
  assert best['frames'] == content['trained_frames'] == TOTAL
  assert best['score'] == content['summary']['mean_return']


def snapshot(directory):
  """Every file with its time of change."""
  return {
    path: path.stat().st_mtime_ns
    for path in directory.rglob('*')
    if path.is_file() and path.name != '.lock'
  }


@pytest.mark.parametrize('flags', [(), ('--learning_rate=0.5',)])
def test_a_finished_run_is_left_as_it_is(copy, flags):
  before = snapshot(copy)
  status, output = command_lines.run_main(train, f'--logdir={copy}', *flags)
  assert status == 0
  assert 'This run has finished' in output
  assert snapshot(copy) == before


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--on_existing=fail', ('on_existing=fail', 'must not hold a run')),
    (
      '--network=shallow_atari',
      ('network must stay', "'mlp'", 'shallow_atari'),
    ),
    (
      '--lstm=false',
      ('lstm must stay True', 'got False', 'on_existing=restart'),
    ),
    ('--full_action_set', ('full_action_set must stay False', 'got True')),
    ('--unroll_length=0', ('unroll_length must be greater than 0, got 0',)),
  ],
)
def test_what_a_run_cannot_follow_is_refused(copy, flag, words):
  before = snapshot(copy)
  status, output = command_lines.run_main(train, f'--logdir={copy}', flag)
  assert status == 2
  assert all(word in ' '.join(output.split()) for word in words), output
  assert snapshot(copy) == before


BAD_FLAGS = [
  ('--level_name=atari_pongg', ('level_name', 'atari_pong', "'atari_pongg'")),
  ('--unroll_length=0', ('unroll_length', 'greater than 0', 'got 0')),
  ('--network=foo', ('network', 'one of deep', "'foo'")),
  (
    '--on_existing=ask',
    ('on_existing', "'resume', 'fail', 'restart'", "'ask'"),
  ),
  ('--network=deep', ('lstm must be true', 'network=deep')),
  ('--network=deep_atari', ('network deep_atari', '(10, 5)')),
  ('--network=shallow_atari', ('network shallow_atari', '(10, 5)')),
  ('--preset=foo', ('preset must be one of catch', "got 'foo'")),
  ('--level_name=catch,memory', ('same observations and actions',)),
  ('--replay_proportion=0.3', ('multiple of 1/32 below 1', 'got 0.3')),
  ('--level_name=rooms_watermaze', ('needs DeepMind Lab',)),
]


@pytest.mark.parametrize(('flag', 'words'), BAD_FLAGS, ids=lambda x: x[:20])
@pytest.mark.parametrize('has_logdir', [True, False])
def test_a_bad_flag_ends_it_before_anything_is_launched(
  tmp_path, monkeypatch, flag, words, has_logdir
):
  monkeypatch.chdir(tmp_path)
  given = [f'--logdir={tmp_path / "run"}'] if has_logdir else []
  status, output = command_lines.run_main(train, *given, flag)
  assert status == 2
  sentence = output.splitlines()[-1]
  assert sentence.startswith('./impala train: ')
  assert all(word in sentence for word in words), sentence
  assert list(tmp_path.iterdir()) == []


def test_a_processor_without_the_instructions_is_told(tmp_path, monkeypatch):
  monkeypatch.setattr(startup, 'vector_instructions', lambda: ['avx', 'avx2'])
  level = ('--level_name=doom_basic', '--precision=bfloat16')
  status, output = command_lines.run_main(
    train, f'--logdir={tmp_path / "run"}', *level
  )
  assert status == 2
  assert 'precision must be float32 on a processor without AVX-512' in output
  assert not (tmp_path / 'run').exists()


def test_a_bad_flag_of_the_real_command(tmp_path):
  command = subprocess.run(
    [sys.executable, '-m', 'programs.commands.train', '--unroll_length=0'],
    capture_output=True,
    text=True,
    check=False,
    env=command_lines.environment(),
    cwd=tmp_path,
    timeout=START_SECONDS,
  )
  assert command.returncode == 2
  sentence = 'unroll_length must be greater than 0, got 0'
  assert command.stderr == f'./impala train: {sentence}\n'
  assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def restarted(directory, finished):
  """Started anew in the place of the finished run; its learner hangs."""
  flags = ('--on_existing=restart', '--watchdog=stop', '--watchdog_seconds=6')
  old_config = (directory / 'config.json').read_text()
  with command_lines.started(train, directory, *FLAGS, *flags) as (
    process,
    log,
  ):
    # Until it is set aside the old run stands there.
    pids = wait_for_nodes(directory, process, finished.meta['processes'])
    wait_for_learning(directory, process, 0)
    learner = psutil.Process(pids['learner/0'])
    learner.suspend()
    try:
      return end(directory, process, log, 60), old_config
    finally:
      with contextlib.suppress(psutil.NoSuchProcess):
        learner.resume()


def test_restart_keeps_the_old_run_aside(directory, copy, restarted):
  chapter, old_config = restarted
  (aside,) = directory.parent.glob('run.before-*')
  assert f'old run to {aside}' in ' '.join(chapter.output.split())
  assert (aside / 'config.json').read_text() == old_config
  assert read_saved_frames(aside) == TOTAL
  assert read_meta(aside)['finished_frames'] == TOTAL
  assert 'finished_frames' not in chapter.meta
  assert 'Resuming' not in chapter.output


def test_a_node_that_hangs_ends_the_run_and_is_named(directory, restarted):
  chapter, _ = restarted
  assert chapter.status == 1
  assert 'monitor/0 failed: exit status 1' in chapter.output
  assert 'StuckError: ' in chapter.output
  assert str(directory / 'logs/monitor_0.log') in chapter.output
  assert chapter.meta['ended']['kind'] == 'failed'
  assert chapter.meta['ended']['exit_status'] == 1
  assert 'monitor/0' in chapter.meta['ended']['description']
