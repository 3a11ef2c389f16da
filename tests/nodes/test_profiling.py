"""Profiles of a node: a text, a trace for TensorBoard, or a reason."""

import logging
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf

from programs.commands import train
from programs.nodes import profiling
from programs.runs import flags

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@tf.function
def multiply(matrix):
  return tf.linalg.matmul(matrix, matrix)


def multiply_for_long(seconds):
  matrix, end = tf.random.normal((50, 50)), time.monotonic() + seconds
  while time.monotonic() < end:
    multiply(matrix)


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setitem(profiling.WARM_UP_SECONDS, 'learner', 0.3)
  monkeypatch.setattr(profiling, 'SECONDS', 0.7)


@pytest.fixture
def configuration(tmp_path):
  return flags.resolve({'logdir': str(tmp_path), 'profile': 'learner'})


def test_a_role_is_profiled_after_its_warm_up(configuration, quick, caplog):
  text = configuration.directory.profile('learner')
  with (
    caplog.at_level(logging.INFO),
    profiling.profiling(configuration, 'learner'),
  ):
    time.sleep(0.2)
    multiply_for_long(1.5)
    assert text.exists()  # Written while it goes on.
  words = text.read_text(encoding='utf-8')
  assert 'multiply_for_long' in words and 'sleep' not in words
  assert '\nlearner/0\n' in words
  assert str(text) in caplog.text and 'WARNING' not in caplog.text
  told = profiling.describe(configuration)
  assert str(text) in told and str(configuration.directory.tensorboard) in told
  (trace,) = configuration.directory.tensorboard.glob('**/*.xplane.pb')
  assert trace.relative_to(configuration.directory.tensorboard).parts[:3] == (
    'learner',
    'plugins',
    'profile',
  )
  assert b'MatMul' in trace.read_bytes()


def test_others_are_left_alone(configuration, quick):
  before = set(threading.enumerate())
  for role, is_first in (('actor', True), ('learner', False)):
    with profiling.profiling(configuration, role, is_first):
      assert set(threading.enumerate()) == before
      time.sleep(0.5)
  assert list(configuration.directory.path.iterdir()) == []


def test_what_fails_does_not_end_the_work(
  configuration, quick, caplog, tmp_path
):
  tf.profiler.experimental.start(str(tmp_path / 'other'))
  try:
    with profiling.profiling(configuration, 'learner'):
      multiply_for_long(0.8)
  finally:
    tf.profiler.experimental.stop(save=False)
  assert 'Not profiled' in caplog.text
  assert 'Another profiler is running' in caplog.text


@pytest.mark.parametrize(
  ('given', 'words'),
  [
    (
      ['--profile=queue'],
      'profile must be learner, actor, inference, evaluator',
    ),
    (['--profile=inference'], 'profile must be another role'),
    (
      ['--profile=actor', '--lp_launch_type=local_mt'],
      "profile must be '' with lp_launch_type=local_mt",
    ),
  ],
)
def test_what_cannot_be_profiled_is_refused(tmp_path, capsys, given, words):
  assert train.main([f'--logdir={tmp_path / "run"}', *given]) == 2
  assert words in capsys.readouterr().err


@pytest.mark.thorough
def test_a_run_profiles_its_first_evaluation(tmp_path):
  done = subprocess.run(
    [
      *(
        sys.executable,
        '-m',
        'programs.commands.train',
        f'--logdir={tmp_path}',
      ),
      '--profile=evaluator',
      '--total_environment_frames=10_000',
      '--num_actors=1',
      '--test_num_episodes=20',
    ],
    capture_output=True,
    text=True,
    timeout=200,
    env={**os.environ, 'PYTHONPATH': str(_ROOT)},
  )
  assert done.returncode == 0, done.stdout + done.stderr
  text = tmp_path / 'profiles/evaluator.txt'
  assert f'profile      {text}' in done.stdout
  assert 'Player.play' in text.read_text(encoding='utf-8')
  assert [*(tmp_path / 'tensorboard/evaluator').glob('**/*.xplane.pb')]
  assert os.listdir(tmp_path / 'profiles') == ['evaluator.txt']
