"""Checkpoints: what is learned, on disk, whole or not at all."""

import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

_KEEP = 3  # The newest, and two to fall back on should it be damaged.


def newest_first(directory: pathlib.Path) -> list[str]:
  """Paths of the checkpoints; found by number where nothing names them."""
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

  TensorFlow writes new files and then renames the small one that names the
  newest, so that a crash at any time leaves the checkpoint before.
  """

  def __init__(
    self, directory: pathlib.Path, state: Mapping[str, Any], keep: int = _KEEP
  ) -> None:
    """Looks at what is there; neither reads nor writes a checkpoint.

    `state`, as `Learner.state`, may be a part of what was saved when it is only
    to be restored.
    """
    self._directory = directory
    self._checkpoint = tf.train.Checkpoint(**state)
    self._manager = tf.train.CheckpointManager(
      self._checkpoint, str(directory), max_to_keep=keep
    )

  def save(self, number: int | None = None) -> str:
    """Writes a checkpoint; returns its path.

    Its name has `number`; by default how many were written, which is known
    where one was restored.
    """
    return self._manager.save(number)

  def restore(self) -> str | None:
    """Reads the newest checkpoint that is not damaged; returns its path.

    Raises:
      ValueError: A checkpoint is not of this network, or all are damaged.
    """
    paths: list[str] = []
    # Another process may save meanwhile, and remove what was listed.
    while (listed := newest_first(self._directory)) != paths:
      paths = listed
      for path in paths:
        try:
          status = self._checkpoint.restore(path)
          status.assert_existing_objects_matched().expect_partial()
          return path
        except (AssertionError, ValueError) as error:
          raise ValueError(
            f'{path} must be of the same network and actions, and of this '
            f'version of the program: {error}'
          ) from error
        # IndexError: a file is shorter than it should be.
        except (tf.errors.OpError, IndexError) as error:
          logging.error('Checkpoint %s is damaged: %s', path, error)
    if paths:
      raise ValueError(f'all of {paths} are damaged')
    return None
