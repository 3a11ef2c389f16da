"""What TensorBoard shows of a run beside its figures: settings and films."""

import pathlib
import struct
import subprocess
from collections.abc import Iterable

import tensorflow as tf
from absl import logging
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.image import metadata

from programs import runs, videos

# (tag, folder) of the figures that runs are compared by.
_COMPARED = (
  ('evaluator/MeanReturn', 'evaluator'),
  ('learner/EpisodeReturn', 'learner'),
)


def write_hyperparameters(configuration: runs.Configuration) -> None:
  """Writes the configuration for TensorBoard's HPARAMS tab.

  TensorBoard keeps the first it reads in a folder, so that what an earlier
  start of the run wrote there has to go.

  Args:
    configuration: Of the run; what is written is all but `logdir`.
  """
  folder = configuration.directory.tensorboard
  for earlier in folder.glob('events.out.tfevents.*'):
    earlier.unlink()
  groups = configuration.to_dict()
  # TensorBoard's table begins with the first five.
  fields = {
    'level_name': configuration.run.level_name,
    **groups['agent'],
    **groups['run'],
    **groups['environment'],
  }
  del fields['logdir']
  writer = tf.summary.create_file_writer(str(folder))
  with writer.as_default():
    hparams_api.hparams_config(
      # Any value of its type: TensorBoard offers another filter for each.
      [
        hparams_api.HParam(name, hparams_api.Discrete([], dtype=type(value)))
        for name, value in fields.items()
      ],
      [
        hparams_api.Metric(tag, group=group, display_name=tag)
        for tag, group in _COMPARED
      ],
    )
    hparams_api.hparams(fields)
  writer.close()


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
