"""Checkpoints of the learner, written atomically."""

import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

_KEEP = 3  # Two to fall back on if the newest is damaged.


def newest_first(directory: pathlib.Path) -> list[str]:
  """Return the checkpoints' paths, by number if no file lists them."""
  state = tf.train.get_checkpoint_state(str(directory))
  if state:
    return list(reversed(state.all_model_checkpoint_paths))
  numbered = {
    int(path.stem.rpartition('-')[2]): path.with_suffix('')
    for path in directory.glob('ckpt-*.index')
  }
  return [str(numbered[number]) for number in sorted(numbered, reverse=True)]


class Checkpoints:
  """The newest few checkpoints of one run.

  TensorFlow writes new files and then replaces the one that lists them, so that
  a crash at any time leaves the previous checkpoint.
  """

  def __init__(
    self, directory: pathlib.Path, state: Mapping[str, Any], keep: int = _KEEP
  ) -> None:
    """`state` is as `Learner.state`, or a part of it if it is only restored."""
    self._directory = directory
    self._checkpoint = tf.train.Checkpoint(**state)
    self._manager = tf.train.CheckpointManager(
      self._checkpoint, str(directory), max_to_keep=keep
    )

  def save(self, number: int | None = None) -> str:
    """Write a checkpoint and return its path.

    `number` is in its name; by default it is counted on from the restored one.
    """
    return self._manager.save(number)

  def restore(self) -> str | None:
    """Read the newest undamaged checkpoint and return its path.

    Raises:
      ValueError: A checkpoint is of another network, or all are damaged.
    """
    paths: list[str] = []
    # Another process may save meanwhile and remove a listed one.
    while (listed := newest_first(self._directory)) != paths:
      paths = listed
      for path in paths:
        try:
          status = self._checkpoint.restore(path)
          status.assert_existing_objects_matched().expect_partial()
          return path
        except (AssertionError, ValueError) as error:
          raise ValueError(
            f'{path} must be of the same network, actions and program '
            f'version: {error}'
          ) from error
        # IndexError: a file is shorter than it should be.
        except (tf.errors.OpError, IndexError) as error:
          logging.error('Checkpoint %s is damaged: %s', path, error)
    if paths:
      raise ValueError(f'all checkpoints are damaged: {paths}')
    return None
