"""Checkpoints: what is learned, on disk, whole or not at all."""

import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

_KEEP = 3  # The newest, and two to fall back on should it be damaged.


class Checkpoints:
  """The newest few checkpoints of one run.

  TensorFlow writes new files and then renames the small one that names the
  newest, so that a crash at any time leaves the checkpoint before.
  """

  def __init__(self, directory: pathlib.Path, state: Mapping[str, Any]) -> None:
    """Looks at what is there; neither reads nor writes a checkpoint.

    Args:
      directory: Of the checkpoints.
      state: Name -> TensorFlow trackable, as `Learner.state`; may be a part of
        what was saved when it is only to be restored.
    """
    self._directory = directory
    self._checkpoint = tf.train.Checkpoint(**state)
    self._manager = tf.train.CheckpointManager(
      self._checkpoint, str(directory), max_to_keep=_KEEP
    )

  def save(self) -> str:
    """Writes a checkpoint; returns its path."""
    return self._manager.save()

  def restore(self) -> str | None:
    """Reads the newest checkpoint that is not damaged.

    Returns:
      Its path; None where there is no checkpoint at all.

    Raises:
      ValueError: A checkpoint is not of this network, or all are damaged.
    """
    paths = self._newest_first()
    for path in paths:
      try:
        status = self._checkpoint.restore(path)
        status.assert_existing_objects_matched().expect_partial()
        return path
      except (AssertionError, ValueError) as error:
        raise ValueError(
          f'{path} must be of the same network and actions: {error}'
        ) from error
      # IndexError: a file is shorter than it should be.
      except (tf.errors.OpError, IndexError) as error:
        logging.error('Checkpoint %s is damaged: %s', path, error)
    if paths:
      raise ValueError(f'all of {paths} are damaged')
    return None

  def _newest_first(self) -> list[str]:
    """Paths of the checkpoints; found by number where nothing names them."""
    if self._manager.checkpoints:
      return list(reversed(self._manager.checkpoints))
    numbered = {
      int(path.stem.rpartition('-')[2]): path.with_suffix('')
      for path in self._directory.glob('ckpt-*.index')
    }
    return [str(numbered[number]) for number in sorted(numbered, reverse=True)]
