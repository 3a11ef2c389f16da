"""One run of `train`, started four times.

Its environments are killed and it is interrupted; resumed, its launcher is
killed; resumed, it finishes; restarted, its learner hangs.
"""

import contextlib
import csv
import json
import os
import pathlib
import re
import signal

import command_lines
import numpy as np
import processes
import psutil
import pytest
import training

from programs.commands import train
from programs.evaluation import results
from programs.monitoring import recording
from programs.runs import run_directory

ROOT = pathlib.Path(__file__).absolute().parents[2]
TOTAL = 20_000
STEP_FRAMES = 40  # Of a learner step: half a batch x unroll length.
LEARNING_RATE = 0.002
FLAGS = (
  f'--total_environment_frames={TOTAL}',
  f'--learning_rate={LEARNING_RATE}',
  *('--batch_size=8', '--unroll_length=10', '--queue_capacity=8'),
  *('--num_actors=1', '--num_envs_per_actor=8', '--env_processes=2'),
  *('--log_period_seconds=0.2', '--evaluation_period_frames=0'),
  '--test_num_episodes=3',
  # Off by default, to test that they work and are resumed.
  *('--lstm', '--replay_proportion=0.5'),
  *('--extra_policy_lag=2', '--correction=one_step'),
)
NUM_KILLED = 3  # Processes of four environments each.
STOP_SECONDS = 15


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tmp_path_factory.mktemp('story') / 'run'


@pytest.fixture(scope='module')
def interrupted(directory):
  killed = set()
  with command_lines.started(train, directory, *FLAGS) as (process, log):
    training.wait_for_learning(directory, process, 0)
    actor = training.read_meta(directory)['processes']['actor/0']
    while len(killed) < NUM_KILLED:
      pids = training.environment_processes(actor)
      if len(pids) == 2 and pids[0] not in killed:
        os.kill(pids[0], signal.SIGKILL)
        killed.add(pids[0])
      training.wait_for_learning(
        directory, process, len(training.read_rows(directory))
      )
    processes.wait_until(
      lambda: (
        training.read_rows(directory)[-1]['environment_restarts']
        >= 4 * NUM_KILLED
      ),
      30,
    )
    process.send_signal(signal.SIGINT)
    return training.end(directory, process, log, STOP_SECONDS)


@pytest.fixture(scope='module')
def killed(directory, interrupted):
  """Return status and output of another start while this one ran."""
  with command_lines.started(train, directory) as (process, _):
    pids = training.wait_for_nodes(
      directory, process, interrupted.meta['processes']
    )
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
    return training.end(directory, process, log, training.START_SECONDS + 60)


def test_a_signal_ends_it_with_a_checkpoint(interrupted):
  start = interrupted
  assert start.status == 128 + signal.SIGINT
  assert 'interrupted by SIGINT' in start.output
  assert 'killed' not in start.output
  assert 'Traceback' not in start.output
  assert start.seconds < STOP_SECONDS
  assert start.meta['ended']['kind'] == 'interrupted'
  assert start.meta['ended']['exit_status'] == 128 + signal.SIGINT
  assert 'finished_frames' not in start.meta
  assert 0 < start.saved_frames < TOTAL
  assert start.saved_frames == start.rows[-1]['frames']


def test_a_run_outlives_its_environments(directory, interrupted):
  log = (directory / 'logs/actor_0.log').read_text()
  assert log.count('SIGKILL; starting another') == NUM_KILLED
  restarts = [row['environment_restarts'] for row in interrupted.rows]
  assert restarts == sorted(restarts) and restarts[-1] == 4 * NUM_KILLED
  last = interrupted.rows[-1]
  # Last observations are of episodes, or of those that a restart cut.
  cut = last['frames'] - last['executed_frames'] - last['episodes']
  assert 0 < cut <= restarts[-1]


def test_it_resumes_where_it_stopped(interrupted, finished):
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


def test_the_learning_rate_decays_over_all_starts(finished):
  """A record holds the mean since the one before."""

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
  assert finished.meta['finished_frames'] == TOTAL
  assert finished.meta['ended']['kind'] == 'finished'
  assert finished.meta['ended']['exit_status'] == 0
  assert finished.meta['command_line'][1:3] == ['-m', 'programs.commands.train']
  roles = ('queue', 'monitor', 'learner', 'actor', 'evaluator')
  assert set(finished.meta['processes']) == {f'{role}/0' for role in roles}


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
  """Return the columns of a file that docs/metrics.md explains."""
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
  # Human scores exist for levels of suites only.
  scored = results.LevelResult('atari_pong', [1.0], [9], 36)
  names = {'time', 'frames', *results.summarise([scored])}
  assert set(columns(directory, 'evaluator.csv')) <= names
  assert sorted(explained('evaluator.csv')) == sorted(names)
  training = {f'training_{score}' for score in ('no_cap', 'cap_100', 'median')}
  assert set(explained('atari57.csv')) == {'time', 'frames', *training}


def test_the_monitor_has_records_of_all_nodes(directory, finished):
  records = recording.Reader(directory / 'metrics/graph.jsonl').read()
  assert len({record['start'] for record in records}) >= 2
  assert all(not record['warnings'] for record in records)
  reported = set().union(*(record['nodes'] for record in records))
  used = set().union(*(record['processes'] for record in records))
  assert reported == {'learner/0', 'actor/0', 'evaluator/0'}
  assert used == set(finished.meta['processes'])


def test_the_graph_names_each_process(directory, finished):
  page = (directory / 'graph.html').read_text()
  for name, pid in finished.meta['processes'].items():
    row = page.partition(f'<tr><th>{name}</th>')[2].partition('</tr>')[0]
    assert f'<dt>process</dt><dd>{pid}</dd>' in row


def test_actors_lag_by_extra_policy_lag(finished):
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


@pytest.fixture(scope='module')
def restarted(directory, finished):
  """Start a new run in the same directory; its learner hangs."""
  flags = ('--on_existing=restart', '--watchdog=stop', '--watchdog_seconds=6')
  old_config = (directory / 'config.json').read_text()
  with command_lines.started(train, directory, *FLAGS, *flags) as (
    process,
    log,
  ):
    pids = training.wait_for_nodes(
      directory, process, finished.meta['processes']
    )
    training.wait_for_learning(directory, process, 0)
    learner = psutil.Process(pids['learner/0'])
    learner.suspend()
    try:
      return training.end(directory, process, log, 60), old_config
    finally:
      with contextlib.suppress(psutil.NoSuchProcess):
        learner.resume()


def test_restart_keeps_the_old_run_aside(directory, restarted):
  start, old_config = restarted
  (aside,) = directory.parent.glob('run.before-*')
  assert f'old run to {aside}' in ' '.join(start.output.split())
  assert (aside / 'config.json').read_text() == old_config
  assert training.read_saved_frames(aside) == TOTAL
  assert training.read_meta(aside)['finished_frames'] == TOTAL
  assert 'finished_frames' not in start.meta
  assert 'Resuming' not in start.output


def test_a_node_that_hangs_ends_the_run_and_is_named(directory, restarted):
  start, _ = restarted
  assert start.status == 1
  assert 'monitor/0 failed: exit status 1' in start.output
  assert 'StuckError: ' in start.output
  assert str(directory / 'logs/monitor_0.log') in start.output
  assert start.meta['ended']['kind'] == 'failed'
  assert start.meta['ended']['exit_status'] == 1
  assert 'monitor/0' in start.meta['ended']['description']
