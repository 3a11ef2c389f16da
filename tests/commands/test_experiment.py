"""Command lines of the published code."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from programs.commands import experiment
from programs.runs import flags, run_directory

ROOT = pathlib.Path(__file__).absolute().parents[2]

# Flags and defaults of google-deepmind/scalable_agent's experiment.py, and our
# flags that describe its code.
REFERENCE = {
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
  # Of ours.
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
# Command line -> its other defaults.
TRAINS = {
  ONE_LEVEL: REFERENCE,
  SUITE: REFERENCE,
  '--total_environment_frames=10000 --dataset_path=../dataset': REFERENCE,
  LAB: REFERENCE,
  DOOM: FORK,
  ATARI: FORK,
}
LEARNER = f'--job_name=learner --task=0 {SUITE}'
ACTOR = (
  '--job_name=actor --task=149 --num_actors=150 --level_name=dmlab30 '
  '--dataset_path=DIR'
)
TESTS = (
  '--mode=test --level_name=dmlab30 --dataset_path=DIR --test_num_episodes=10',
  '--mode=test --test_num_episodes=5',
)


def resolve(arguments):
  """Return field -> value of the configuration of `train`."""
  parser = flags.make_parser('train', '')
  flags.add_configuration(parser)
  groups = flags.resolve(vars(parser.parse_args(arguments))).to_dict()
  return {name: v for group in groups.values() for name, v in group.items()}


def translate(line, *more):
  return experiment.translate([*shlex.split(line), *more])


def store(directory, **given):
  """Write the run directory of a run without frames."""
  configuration = flags.resolve({'logdir': str(directory), **given})
  run_directory.RunDirectory(directory).write_config(configuration.to_dict())


def table():
  """Return flags of each published line -> words of the command beside it."""
  text = (ROOT / 'docs/published_commands.md').read_text(encoding='utf-8')
  row = r'^\|.*\| `\./impala experiment (--.*?)` \| `(.*)` \|$'
  return {line: shlex.split(ours) for line, ours in re.findall(row, text, re.M)}


def test_the_page_lists_the_lines():
  assert set(table()) == {*TRAINS, *TESTS, LEARNER, ACTOR}


@pytest.mark.parametrize(
  ('line', 'rest'),
  [
    *TRAINS.items(),
    ('', REFERENCE),
    ('--task=-1 --job_name=learner', REFERENCE),
    ('--level_name doom_basic --renderer hardware --benchmark_mode 1', FORK),
  ],
)
def test_a_line_means_what_it_meant(line, rest):
  command, arguments = translate(line)
  assert command == 'train'
  said = dict(re.findall(r'--(\w+)[= ](\S+)', line))
  expected = {
    name: type(value)(said.get(name, value)) for name, value in rest.items()
  }
  found = resolve(arguments)
  assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize('line', [*TRAINS, LEARNER])
def test_the_command_beside_a_line_means_the_same(line):
  jobs = shlex.split(LEARNER)[:2] if line == LEARNER else []
  words = table()[line]
  assert words[: 2 + len(jobs)] == ['./impala', 'train', *jobs]
  found = resolve(words[2 + len(jobs) :])
  _, arguments = translate(line)
  before = resolve([word for word in arguments if word not in jobs])
  # The run directory, and whether it evaluates meanwhile, may differ.
  others = {'logdir', 'preset', 'evaluation_period_frames'}
  same = {name: before[name] for name in REFERENCE if name not in others}
  assert {name: found[name] for name in same} == same


def test_an_actors_job_says_what_it_is_given_and_no_more():
  assert translate(ACTOR) == ('train', shlex.split(ACTOR))


@pytest.mark.parametrize('line', TESTS)
def test_a_test_evaluates_what_logdir_holds(line, tmp_path):
  store(tmp_path, level_name='rooms_watermaze', seed=7)
  logdir = f'--logdir={tmp_path}'
  command, arguments = translate(line, logdir, '--num_actors=48')
  beside = [word.replace('/tmp/agent', str(tmp_path)) for word in table()[line]]
  assert beside[1] == command == 'evaluate'
  # The seed is 1, whatever the run's.
  assert sorted(arguments) == sorted([*beside[2:], '--seed=1'])


@pytest.mark.parametrize(
  ('line', 'words'),
  [
    ('--task=-2', ('--task', 'must be a number', "'-2'")),
    ('--mode=play', ('--mode', "'train', 'test'", "'play'")),
    ('--num_learners=2', ('--num_learners',)),
    ('--batch_size=x', ('--batch_size', 'int', "'x'")),
    ('--renderer=x', ('renderer', 'software', "'x'")),
    (
      '--level_name=dmlab30 --logdir=none',
      ('num_envs_per_actor', 'at least 30', '4 x 1'),
    ),
    ('--level_name=doom_basic', ('level_name must stay', "'doom_basic'")),
    ('--level_name=atari_pong', ('preset must stay', "'reference_fork'")),
    ('--mode=test --width=64', ('width', 'must be 96', 'mode=test', 'got 64')),
    ('--mode=test --logdir=none', ('is no run directory',)),
  ],
)
def test_wrong_command_lines_are_refused(tmp_path, line, words):
  store(tmp_path, level_name='atari_pong')
  before = sorted(tmp_path.rglob('*'))
  done = subprocess.run(
    [sys.executable, '-m', 'programs.commands.experiment']
    + [f'--logdir={tmp_path}', *shlex.split(line)],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert done.returncode == 2
  assert sorted(tmp_path.rglob('*')) == before
  sentence = done.stderr.splitlines()[-1]
  assert all(word in sentence for word in words), sentence
