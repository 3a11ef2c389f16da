"""What TensorBoard shows of a run beside its figures: films."""

import pathlib
import struct
import subprocess
from collections.abc import Iterable

import tensorflow as tf
from absl import logging
from tensorboard.plugins.image import metadata

from programs import runs, videos


def write_films(
  directory: runs.RunDirectory,
  frames: int,
  folder: pathlib.Path,
  level_names: Iterable[str],
  num_videos: int,
) -> None:
  """Writes the films of an evaluation as `<level>/video_<n>`, as moving GIF.

  They have a folder of their own: TensorBoard follows the newest file of a
  folder alone, and the evaluator of a run that goes on writes into another.

  Args:
    directory: Of the run.
    frames: Learned by who is seen.
    folder: Of the videos. Those that are not there, or cannot be made a GIF,
      are left out.
    level_names: That were played.
    num_videos: At most, of each level.
  """
  writer = tf.summary.create_file_writer(str(directory.tensorboard / 'videos'))
  with writer.as_default():
    for level_name in level_names:
      for number in range(1, num_videos + 1):
        path = videos.path(folder, level_name, number)
        if not path.exists():
          continue
        try:
          film = videos.make_gif(path)
        except subprocess.SubprocessError as error:
          logging.warning('No GIF of %s: %s', path, error)
          continue
        width, height = struct.unpack('<HH', film[6:10])
        tf.summary.write(
          f'{level_name}/video_{number}',
          tf.constant([b'%d' % width, b'%d' % height, film]),
          step=frames,
          metadata=metadata.create_summary_metadata(
            display_name=None, description=str(path)
          ),
        )
  writer.close()
