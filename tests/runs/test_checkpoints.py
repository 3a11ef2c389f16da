import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import save_checkpoints
import tensorflow as tf

from programs.runs import checkpoints

ROOT = pathlib.Path(__file__).absolute().parents[2]


def make_state(size=1000):
  return save_checkpoints.make_state(size)


def save(directory, *values):
  """Save a checkpoint of each value and return their paths."""
  state = make_state()
  saved = checkpoints.Checkpoints(directory, state)
  paths = []
  for value in values:
    state['counts'].assign(value)
    state['network'].assign(tf.fill((1000,), float(value)))
    paths.append(pathlib.Path(saved.save()))
  return paths


def restore(directory):
  """Restore into a new state; return the path and its value."""
  state = make_state()
  path = checkpoints.Checkpoints(directory, state).restore()
  value = int(state['counts'].numpy())
  assert np.all(state['network'].numpy() == value)
  return path and pathlib.Path(path), value


def data_file(path):
  return path.with_name(f'{path.name}.data-00000-of-00001')


def flip_bits(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 0xFF
  file.write_bytes(content)


def remove(file):
  file.unlink()


def truncate(file):
  os.truncate(file, file.stat().st_size // 2)


def test_the_newest_of_the_newest_three(tmp_path):
  paths = save(tmp_path, *range(1, 6))
  assert restore(tmp_path) == (paths[-1], 5)
  assert [data_file(p).exists() for p in paths] == [False, False] + [True] * 3


def test_no_checkpoint(tmp_path):
  assert restore(tmp_path / 'none') == (None, 0)


@pytest.mark.parametrize('damage', [truncate, flip_bits, remove])
@pytest.mark.parametrize('is_data', [True, False])
def test_the_checkpoint_before_a_damaged_one_is_restored(
  tmp_path, damage, is_data
):
  def file(path):
    return data_file(path) if is_data else path.with_suffix('.index')

  paths = save(tmp_path, 1, 2, 3)
  damage(file(paths[-1]))
  state = make_state()
  saved = checkpoints.Checkpoints(tmp_path, state)
  assert saved.restore() == str(paths[-2])
  assert np.all(state['network'].numpy() == 2)
  state['counts'].assign(9)
  state['network'].assign(tf.fill((1000,), 9.0))
  path = pathlib.Path(saved.save())
  assert restore(tmp_path) == (path, 9)
  damage(file(path))
  assert restore(tmp_path)[1] == 2


def test_all_damaged(tmp_path):
  paths = save(tmp_path, 1, 2)
  for path in paths:
    truncate(data_file(path))
  with pytest.raises(ValueError) as caught:
    restore(tmp_path)
  assert 'damaged' in str(caught.value)
  assert all(str(path) in str(caught.value) for path in paths)


@pytest.mark.parametrize(
  'other',
  [
    {'network': tf.zeros(999), 'counts': tf.constant(0, tf.int64)},
    {'network': tf.zeros((10, 100)), 'counts': tf.constant(0, tf.int64)},
    {
      'network': tf.zeros(1000),
      'counts': tf.constant(0, tf.int64),
      'core': tf.zeros(2),
    },
  ],
  ids=['size', 'shape', 'more'],
)
def test_another_network_is_named(tmp_path, other):
  (path,) = save(tmp_path, 1)
  state = {name: tf.Variable(value) for name, value in other.items()}
  with pytest.raises(ValueError, match='same network') as caught:
    checkpoints.Checkpoints(tmp_path, state).restore()
  assert str(path) in str(caught.value)


@pytest.mark.parametrize('text', [None, 'model_checkpoint_path: {'])
def test_the_file_that_names_the_newest_is_lost(tmp_path, text):
  paths = save(tmp_path, *range(1, 12))
  (tmp_path / 'checkpoint').unlink()
  if text:
    (tmp_path / 'checkpoint').write_text(text)
  assert restore(tmp_path) == (paths[-1], 11)


def test_kill_while_saving(tmp_path):
  generator = random.Random()
  for start in range(2):
    directory = tmp_path / str(start)
    with subprocess.Popen(
      [sys.executable, save_checkpoints.__file__, str(directory)],
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
    ) as saver:
      try:
        lines = [saver.stdout.readline() for _ in range(3)]
        assert lines[-1].strip() == '3'
        time.sleep(generator.uniform(0, 0.1))
      finally:
        saver.kill()
      done = int((lines + saver.stdout.readlines())[-1])
    state = save_checkpoints.make_state()
    assert checkpoints.Checkpoints(directory, state).restore()
    number = int(state['counts'].numpy())
    assert number in (done, done + 1)
    assert np.all(state['network'].numpy() == number)
