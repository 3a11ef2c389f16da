"""The published code's command lines: what they mean here, and real runs.

DeepMind Lab is its double; ViZDoom and Atari are real.
"""

import csv
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import free_ports
import pytest

from environments import suites
from programs import experiment, flags, runs

ROOT = pathlib.Path(__file__).absolute().parent.parent

# experiment.py of google-deepmind/scalable_agent: its flags, then what its code
# does without one.
FLAGS = {
  'logdir': '/tmp/agent',
  'test_num_episodes': 10,
  'total_environment_frames': 1_000_000_000,
  'num_actors': 4,
  'batch_size': 2,
  'unroll_length': 100,
  'num_action_repeats': 4,
  'seed': 1,
  'entropy_cost': 0.00025,
  'baseline_cost': 0.5,
  'discounting': 0.99,
  'reward_clipping': 'abs_one',
  'dataset_path': '',
  'level_name': 'explore_goal_locations_small',
  'width': 96,
  'height': 72,
  'learning_rate': 0.00048,
  'decay': 0.99,
  'momentum': 0.0,
  'epsilon': 0.1,
  # Of the fork only.
  'renderer': 'software',
  'benchmark_mode': False,
}
REFERENCE = {
  **FLAGS,
  'preset': 'reference',
  'num_envs_per_actor': 1,
  'env_processes': 0,
  'evaluation_period_frames': 0,
  'checkpoint_period_seconds': 600,
  'queue_capacity': 1,
  'replay_proportion': 0.0,
  'extra_policy_lag': 0,
  'network': 'deep',
  'center_frames': False,
  'precision': 'float32',
  'extended_actions': False,
  'level_cache': '',
  'correction': 'vtrace',
  'rho_threshold': 1.0,
  'pg_rho_threshold': 1.0,
  'c_threshold': 1.0,
  'trace_lambda': 1.0,
  'loss_reduction': 'sum',
  'reward_scale': 1.0,
  'optimizer': 'rmsprop',
  'max_gradient_norm': 0.0,
}
# alex-petrenko/scalable_agent.
FORK = {
  **REFERENCE,
  'preset': 'reference_fork',
  'batch_size': 64,
  'unroll_length': 32,
  'network': 'benchmark',
  'checkpoint_period_seconds': 6000,
}

ONE_LEVEL = '--num_actors=48 --batch_size=32'
SUITE = (
  '--level_name=dmlab30 --num_actors=150 --batch_size=32 '
  '--entropy_cost=0.0033391318945337044 --learning_rate=0.00031866995608948655 '
  '--total_environment_frames=10000000000 --reward_clipping=soft_asymmetric'
)
LAB = (
  '--level_name=rooms_collect_good_objects_train --num_actors=4 '
  '--logdir=logdir/dmlab_4_1'
)
DOOM = '--level_name=doom_benchmark --num_actors=4 --logdir=logdir/doom_4_1'
ATARI = '--level_name=atari_breakout --num_actors=4 --logdir=logdir/atari_4_1'
RECIPE = {
  'num_actors': 150,
  'batch_size': 32,
  'entropy_cost': 0.0033391318945337044,
  'learning_rate': 0.00031866995608948655,
  'total_environment_frames': 10_000_000_000,
  'reward_clipping': 'soft_asymmetric',
}
TRAINS = {
  ONE_LEVEL: {**REFERENCE, 'num_actors': 48, 'batch_size': 32},
  SUITE: {**REFERENCE, 'level_name': 'dmlab30', **RECIPE},
  '--total_environment_frames=10000 --dataset_path=../dataset': {
    **REFERENCE,
    'total_environment_frames': 10_000,
    'dataset_path': '../dataset',
  },
  LAB: {
    **REFERENCE,
    'level_name': 'rooms_collect_good_objects_train',
    'logdir': 'logdir/dmlab_4_1',
  },
  DOOM: {
    **FORK,
    'level_name': 'doom_benchmark',
    'logdir': 'logdir/doom_4_1',
  },
  ATARI: {
    **FORK,
    'level_name': 'atari_breakout',
    'logdir': 'logdir/atari_4_1',
  },
}
TESTS = {
  '--mode=test --level_name=dmlab30 --dataset_path=DIR '
  '--test_num_episodes=10': ('dmlab30', 10),
  '--mode=test --test_num_episodes=5': ('explore_goal_locations_small', 5),
}
LEARNER = f'--job_name=learner --task=0 {SUITE}'
ACTOR = (
  '--job_name=actor --task=149 --num_actors=150 --level_name=dmlab30 '
  '--dataset_path=DIR'
)


def resolve(arguments):
  """Field -> value of what `train` makes of its flags."""
  parser = flags.make_parser('train', '')
  flags.add_configuration(parser)
  groups = flags.resolve(vars(parser.parse_args(arguments))).to_dict()
  return {name: v for group in groups.values() for name, v in group.items()}


def assert_means(line, expected):
  command, arguments = experiment.translate(shlex.split(line))
  assert command == 'train'
  found = resolve(arguments)
  assert {name: found[name] for name in expected} == expected


def store(directory, **given):
  """Makes a run directory of a run that has not begun."""
  configuration = flags.resolve({'logdir': str(directory), **given})
  runs.RunDirectory(directory).write_config(configuration)


@pytest.mark.parametrize('line', TRAINS)
def test_a_line_means_what_it_meant(line):
  assert_means(line, TRAINS[line])


def test_without_flags_all_is_as_it_was():
  assert_means('', REFERENCE)


def test_flags_of_the_fork_and_values_after_a_space():
  assert_means(
    '--level_name doom_basic --renderer hardware --benchmark_mode 1 --decay .5',
    {
      **FORK,
      'level_name': 'doom_basic',
      'renderer': 'hardware',
      'benchmark_mode': True,
      'decay': 0.5,
    },
  )


@pytest.mark.parametrize('line', TESTS)
def test_a_test_evaluates_what_logdir_holds(line, tmp_path):
  store(tmp_path, level_name='rooms_watermaze', seed=7)
  level_name, episodes = TESTS[line]
  command, arguments = experiment.translate(
    [*shlex.split(line), f'--logdir={tmp_path}']
  )
  assert command == 'evaluate'
  folder = re.findall(r'--dataset_path=\S+', line)  # Of this machine.
  assert sorted(arguments) == [
    *folder,
    f'--level_name={level_name}',
    f'--logdir={tmp_path}',
    '--seed=1',  # Whatever the run's.
    f'--test_num_episodes={episodes}',
  ]


def test_the_help_lists_the_flags_that_there_were(capsys):
  with pytest.raises(SystemExit) as caught:
    experiment.main(['--help'])
  assert caught.value.code == 0
  listed = re.findall(r'^  (?:-h, )?--(\w+)', capsys.readouterr().out, re.M)
  assert sorted(listed) == sorted(
    ['help', 'mode', 'task', 'job_name', 'cluster', *FLAGS]
  )


@pytest.mark.parametrize('line', ['', SUITE, DOOM])
def test_train_goes_on_with_such_a_run(line):
  _, arguments = experiment.translate(shlex.split(line))
  parser = flags.make_parser('train', '')
  flags.add_configuration(parser)
  stored = flags.resolve(vars(parser.parse_args(arguments))).to_dict()
  logdir = stored['run']['logdir']
  assert flags.resolve({'logdir': logdir}, stored).to_dict() == stored


def table():
  """(flags of ours, whole command of the last column) of each README row."""
  text = (ROOT / 'README.md').read_text(encoding='utf-8')
  row = r'^\|.*\| `\./impala experiment (--.*?)` \| (.*) \|$'
  return dict(re.findall(row, text, re.M))


def test_the_readme_lists_the_lines():
  assert set(table()) == {*TRAINS, *TESTS, LEARNER, ACTOR}


@pytest.mark.parametrize('line', TRAINS)
def test_the_line_beside_it_in_the_readme_means_the_same(line):
  words = shlex.split(table()[line].strip('`'))
  assert words[:2] == ['./impala', 'train']
  found = resolve(words[2:])
  # The run directory, and whether it evaluates meanwhile, may differ.
  others = {'logdir', 'preset', 'evaluation_period_frames'}
  same = {n: v for n, v in TRAINS[line].items() if n not in others}
  assert {name: found[name] for name in same} == same


def test_the_jobs_beside_them_in_the_readme_are_the_same():
  command, arguments = experiment.translate(shlex.split(LEARNER))
  job = ['--job_name=learner', '--task=0']
  words = shlex.split(table()[LEARNER].strip('`'))
  assert words[:4] == ['./impala', command, *job]
  arguments = [word for word in arguments if word not in job]
  found = resolve(words[4:])
  others = {'logdir', 'preset', 'evaluation_period_frames'}
  same = {n: v for n, v in TRAINS[SUITE].items() if n not in others}
  assert {name: found[name] for name in same} == same
  found = resolve(arguments)
  assert {name: found[name] for name in TRAINS[SUITE]} == TRAINS[SUITE]
  # An actor's says what it is given and no more: the rest is the learner's.
  assert experiment.translate(shlex.split(ACTOR)) == (
    'train',
    shlex.split(ACTOR),
  )


@pytest.mark.parametrize('line', TESTS)
def test_the_evaluation_beside_it_in_the_readme_is_the_same(line):
  words = shlex.split(table()[line].strip('`'))
  level_name, episodes = TESTS[line]
  assert words[:2] == ['./impala', 'evaluate']
  assert {*words[2:]} == {
    *re.findall(r'--dataset_path=\S+', line),
    '--logdir=/tmp/agent',
    f'--level_name={level_name}',
    f'--test_num_episodes={episodes}',
  }


def refuse(capsys, tmp_path, line):
  """Status and last sentence; nothing may be written."""
  before = sorted(tmp_path.rglob('*'))
  try:
    status = experiment.main(shlex.split(line))
  except SystemExit as exit_:
    status = exit_.code
  assert sorted(tmp_path.rglob('*')) == before
  assert status == 2
  return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
  ('line', 'words'),
  [
    ('--task=-2', ('--task', 'must be a number', "'-2'")),
    ('--task=1', ('task must be 0 with job_name=learner', 'got 1')),
    ('--job_name=worker', ('--job_name', "'learner', 'actor'", 'worker')),
    ('--mode=play', ('--mode', "'train', 'test'", "'play'")),
    ('--num_learners=2', ('--num_learners',)),
    ('--batch_size=x', ('--batch_size', 'int', "'x'")),
    ('--batch_size=0', ('batch_size', 'greater than 0', 'got 0')),
    ('--reward_clipping=x', ('reward_clipping', 'soft_asymmetric', "'x'")),
    ('--renderer=x', ('renderer', 'software, hardware', "'x'")),
    ('--level_name=atari_brekout', ('level_name', 'atari_breakout')),
    ('--level_name=dmlab30', ('at least 30', 'never be played', '4 x 1')),
    ('--level_name=catch', ('network deep',)),
    ('--mode=test', ('is no run directory',)),
  ],
)
def test_what_cannot_be_is_refused(capsys, tmp_path, line, words):
  sentence = refuse(capsys, tmp_path, f'{line} --logdir={tmp_path}/run')
  assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
  ('line', 'words'),
  [
    ('--mode=test --width=64', ('width', 'must be 96', 'mode=test', 'got 64')),
    ('--level_name=doom_basic', ('level_name must stay', "'doom_basic'")),
    ('--level_name=atari_pong', ('preset must stay', "'reference_fork'")),
  ],
)
def test_what_the_run_does_not_allow_is_refused(capsys, tmp_path, line, words):
  store(tmp_path, level_name='atari_pong')
  sentence = refuse(capsys, tmp_path, f'{line} --logdir={tmp_path}')
  assert all(word in sentence for word in words), sentence


# A process for each node takes half a minute, mostly of imports; threads of one
# process take a few seconds.
AS_PROCESSES = ('-m', 'programs.experiment')
AS_THREADS = (
  '-c',
  'import sys; from programs import experiment, train; '
  'command, flags = experiment.translate(sys.argv[1:]); '
  'sys.exit(train.main([*flags, "--lp_launch_type=local_mt"]))',
)


def start(directory, line, *more, how=AS_PROCESSES):
  """`experiment`, as a user starts it or nearly so; it must end well."""
  done = subprocess.run(
    [
      sys.executable,
      *how,
      *shlex.split(line),
      *more,
      f'--logdir={directory}',
      '--test_num_episodes=1',
    ],
    cwd=directory.parent,
    env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT}/tests/doubles'},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def assert_learns(directory, line, *changed, step_frames, how=AS_THREADS):
  """Starts two learner steps of a line."""
  frames = 2 * step_frames
  total = f'--total_environment_frames={frames}'
  output = start(directory, line, *changed, total, how=how)
  assert output.startswith('= ./impala train --') == (how == AS_PROCESSES)
  with open(directory / 'metrics/learner.csv', encoding='utf-8') as file:
    *_, last = csv.DictReader(file)
  assert (int(last['learner_steps']), int(last['frames'])) == (2, frames)
  meta = runs.RunDirectory(directory).read_meta()
  assert meta['finished_frames'] == frames
  groups = runs.RunDirectory(directory).read_config()
  assert groups['run']['preset'] == TRAINS[line]['preset']
  assert groups['run']['num_envs_per_actor'] == 1
  path = directory / f'evaluations/{frames}/results.json'
  results = json.loads(path.read_text(encoding='utf-8'))
  levels = suites.split(groups['run']['level_name'])
  assert [each['level_name'] for each in results['levels']] == [*levels]


# Of the numbers of the lines, batches are smaller, so that two learner steps on
# two cores take seconds, and so are 48 actors and 150, which are as many
# processes.


@pytest.mark.thorough
def test_one_level_runs(tmp_path):
  small = ('--num_actors=1', '--batch_size=2')
  directory = tmp_path / 'run'
  assert_learns(
    directory, ONE_LEVEL, *small, step_frames=2 * 100 * 4, how=AS_PROCESSES
  )
  meta = runs.RunDirectory(directory).read_meta()
  assert meta['command_line'][1:3] == [*AS_PROCESSES]
  groups = ('queue', 'monitor', 'learner', 'actor', 'evaluator')
  assert set(meta['processes']) == {f'{group}/0' for group in groups}


@pytest.mark.thorough
def test_the_line_of_the_fork_with_deepmind_lab_runs(tmp_path):
  assert_learns(tmp_path / 'run', LAB, step_frames=2 * 100 * 4)


@pytest.mark.thorough
@pytest.mark.parametrize('line', [DOOM, ATARI])
def test_the_lines_of_the_fork_run(tmp_path, line):
  small = '--batch_size=4'
  assert_learns(tmp_path / 'run', line, small, step_frames=4 * 32 * 4)


@pytest.mark.thorough
def test_the_lines_of_several_machines_run(tmp_path):
  """With two levels, and at ports that are free."""
  port = free_ports.find(5)
  cluster = tmp_path / 'cluster.json'
  cluster.write_text(json.dumps({'learner': [f'127.0.0.1:{port}']}))
  small = (
    '--num_actors=2',
    '--level_name=rooms_watermaze,rooms_keys_doors_puzzle',
    f'--cluster={cluster}',
  )
  actors = [
    subprocess.Popen(
      [sys.executable, *AS_PROCESSES, *shlex.split(ACTOR), *small]
      + [f'--task={task}', f'--dataset_path={tmp_path}'],
      cwd=ROOT,
      env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT}/tests/doubles'},
    )
    for task in range(2)
  ]
  try:
    frames = 2 * 2 * 100 * 4
    output = start(
      tmp_path / 'run',
      LEARNER,
      *small,
      '--batch_size=2',
      f'--total_environment_frames={frames}',
    )
    assert output.startswith('= ./impala train --')
    assert [actor.wait(30) for actor in actors] == [0, 0]
  finally:
    for actor in actors:
      actor.kill()
  meta = runs.RunDirectory(tmp_path / 'run').read_meta()
  assert meta['finished_frames'] == frames


def test_the_suite_runs_and_is_tested(tmp_path):
  """With two of its levels, since each of thirty wants an actor."""
  small = (
    '--num_actors=2',
    '--batch_size=2',
    '--level_name=rooms_watermaze,rooms_keys_doors_puzzle',
  )
  directory = tmp_path / 'run'
  assert_learns(directory, SUITE, *small, step_frames=2 * 100 * 4)
  output = start(directory, '--mode=test --level_name=dmlab30')
  assert output.startswith('= ./impala evaluate --')
  (path,) = directory.glob('evaluations/*dmlab30*/results.json')
  results = json.loads(path.read_text(encoding='utf-8'))
  assert [each['level_name'] for each in results['levels']] == [
    *suites.split('dmlab30', evaluation=True)
  ]
  assert all(each['episodes'] == 1 for each in results['levels'])
  assert results['greedy'] is False
  assert results['summary']['cap_100'] <= results['summary']['no_cap']
