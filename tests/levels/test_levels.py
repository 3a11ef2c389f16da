"""Training on a level of each simulator, for a few learner steps."""

import json
import os
import pathlib
import subprocess
import sys

import processes
import pytest

ROOT = pathlib.Path(__file__).absolute().parents[2]
TOTAL = 400
FLAGS = (
  f'--total_environment_frames={TOTAL}',
  '--batch_size=2',
  '--unroll_length=5',
  '--queue_capacity=2',
  '--num_actors=1',
  '--num_envs_per_actor=2',
  '--evaluation_period_frames=0',
  '--test_num_episodes=1',
  '--lp_launch_type=local_mt',
)
ATARI = ('--network=shallow_atari', '--max_episode_frames=400')
# An episode of doom_basic ends after 300 tics.
DOOM = ('--network=shallow', '--num_action_repeats=10')
LEVELS = {
  'atari_breakout': ATARI,
  'doom_basic': DOOM,
}
# One after the other in one process, as importing TensorFlow takes longest.
TRAIN_ALL = """if True:
  import json, sys
  from programs.commands import train
  for flags in json.loads(sys.argv[1]):
    status = train.main(flags)
    if status:
      sys.exit(status)
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Train all levels; return the folder of the run directories."""
  folder = tmp_path_factory.mktemp('levels')
  commands = [
    [f'--logdir={folder / level}', f'--level_name={level}', *FLAGS, *flags]
    for level, flags in LEVELS.items()
  ]
  with subprocess.Popen(
    [
      sys.executable,
      '-X',
      'faulthandler',
      '-c',
      TRAIN_ALL,
      json.dumps(commands),
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    cwd=folder,
  ) as train:
    try:
      output, _ = train.communicate(timeout=300)
    finally:
      train.kill()
  assert train.returncode == 0, output
  processes.wait_until(lambda: not processes.naming(folder), 5)
  return folder


@pytest.mark.parametrize(
  ('level', 'repeats', 'most_steps'),
  [
    ('atari_breakout', 4, 100),
    ('doom_basic', 10, 30),
  ],
)
def test_a_level_is_trained_and_evaluated(trained, level, repeats, most_steps):
  directory = trained / level
  (path,) = (directory / 'evaluations').glob('*/results.json')
  content = json.loads(path.read_text())
  # The first learner step at or above the last frame.
  assert TOTAL <= content['trained_frames'] < TOTAL + 2 * 5 * repeats
  (result,) = content['levels']
  assert (result['level_name'], result['episodes']) == (level, 1)
  (steps,) = result['steps']
  assert 0 < steps <= most_steps
  assert (directory / 'metrics/learner.csv').stat().st_size > 0
