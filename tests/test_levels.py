"""`train` on levels of the simulators, for real: a few learner steps each."""

import json
import os
import pathlib
import subprocess
import sys

import processes
import pytest

ROOT = pathlib.Path(__file__).absolute().parent.parent
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
  '--lp_launch_type=local_mt',  # One import of TensorFlow, not five.
)
ATARI = ('--network=shallow_atari', '--max_episode_frames=400')
# An episode of ViZDoom ends after 2,100 tics, of doom_basic after 300.
DOOM = ('--network=shallow', '--num_action_repeats=10')


@pytest.mark.parametrize(
  ('level', 'flags', 'repeats', 'most_steps'),
  [
    ('atari_breakout', ATARI, 4, 100),
    ('atari_pong', ATARI, 4, 100),
    ('atari_qbert', ATARI, 4, 100),
    ('doom_basic', DOOM, 10, 30),
    ('doom_health_gathering', DOOM, 10, 210),
    ('doom_benchmark', DOOM, 10, 210),
  ],
)
def test_a_level_is_trained_and_evaluated(
  tmp_path, level, flags, repeats, most_steps
):
  directory = tmp_path / 'run'
  command = [sys.executable, '-m', 'programs.train', f'--logdir={directory}']
  with subprocess.Popen(
    [*command, f'--level_name={level}', *FLAGS, *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    cwd=tmp_path,
  ) as train:
    try:
      output, _ = train.communicate(timeout=150)
    finally:
      train.kill()
  assert train.returncode == 0, output
  processes.wait_until(lambda: not processes.naming(directory), 5)
  (path,) = (directory / 'evaluations').glob('*/results.json')
  content = json.loads(path.read_text())
  # The first learner step at or above the last frame.
  assert TOTAL <= content['trained_frames'] < TOTAL + 2 * 5 * repeats
  (result,) = content['levels']
  assert (result['level_name'], result['episodes']) == (level, 1)
  (steps,) = result['steps']
  assert 0 < steps <= most_steps
  assert (directory / 'metrics/learner.csv').stat().st_size > 0
