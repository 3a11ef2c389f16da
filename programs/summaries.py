"""What TensorBoard shows of a run beside its figures: the configuration."""

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api

from programs import runs


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
  fields = {
    name: value
    for group in configuration.to_dict().values()
    for name, value in group.items()
  }
  del fields['logdir']
  writer = tf.summary.create_file_writer(str(folder))
  with writer.as_default():
    hparams_api.hparams(fields)
  writer.close()
