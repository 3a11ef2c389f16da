"""What TensorBoard's own readers find of settings and films."""

import io
import subprocess

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from tensorboard import context as tensorboard_context
from tensorboard.backend.event_processing import (
  data_provider,
  event_accumulator,
  plugin_event_multiplexer,
)
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
  api_pb2,
  backend_context,
  get_experiment,
  list_session_groups,
)

from programs import flags, metric_files, results, runs, summaries, videos


def read_hparams(folder):
  """What the HPARAMS tab shows of a folder: the experiment, its sessions."""
  multiplexer = plugin_event_multiplexer.EventMultiplexer()
  multiplexer.AddRunsFromDirectory(str(folder))
  multiplexer.Reload()
  provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
  context = backend_context.Context(
    base_plugin.TBContext(data_provider=provider)
  )
  asked = tensorboard_context.RequestContext()
  experiment = get_experiment.Handler(asked, context, '').run()
  request = api_pb2.ListSessionGroupsRequest(
    start_index=0,
    slice_size=10,
    allowed_statuses=[api_pb2.STATUS_UNKNOWN],
    col_params=[
      api_pb2.ColParams(metric=metric.name)
      for metric in experiment.metric_infos
    ],
  )
  groups = list_session_groups.Handler(asked, context, '', request).run()
  return experiment, groups.session_groups


def configure(directory, **given):
  return flags.resolve({'logdir': str(directory), **given})


def test_the_configuration_is_in_the_hparams_tab(tmp_path):
  for name, rate in (('a', 0.5), ('b', 0.25)):
    config = configure(tmp_path / name, learning_rate=rate, lstm=True)
    summaries.write_hyperparameters(config)
    evaluations = metric_files.EvaluationMetrics(config.directory)
    level = results.LevelResult('catch', [rate], [9], 9)
    evaluations.add(7, [level.summary()], results.summarise([level]))
    evaluations.close()
    learner = metric_files.make_logger(config.directory, 'learner')
    learner.write({'frames': 7, 'episode_return': 2 * rate})
    learner.close()
  experiment, groups = read_hparams(tmp_path)
  types = {info.name: info.type for info in experiment.hparam_infos}
  fields = {
    name: value
    for each in config.to_dict().values()
    for name, value in each.items()
  }
  assert set(types) == set(fields) - {'logdir'}
  assert types['learning_rate'] == api_pb2.DATA_TYPE_FLOAT64
  assert types['seed'] == api_pb2.DATA_TYPE_FLOAT64
  assert types['lstm'] == api_pb2.DATA_TYPE_BOOL
  assert types['network'] == api_pb2.DATA_TYPE_STRING
  assert len(groups) == 2
  for group in groups:
    rate = group.hparams['learning_rate'].number_value
    (session,) = group.sessions
    assert session.name == ('a' if rate == 0.5 else 'b') + '/tensorboard'
    assert group.hparams['lstm'].bool_value is True
    assert group.hparams['network'].string_value == fields['network']
    assert {
      (value.name.group, value.name.tag): (value.value, value.training_step)
      for value in session.metric_values
    } == {
      ('evaluator', 'evaluator/MeanReturn'): (rate, 7),
      ('learner', 'learner/EpisodeReturn'): (2 * rate, 7),
    }


def test_another_start_of_a_run_replaces_what_was_written(tmp_path):
  for rate in (0.5, 0.25):
    summaries.write_hyperparameters(configure(tmp_path, learning_rate=rate))
    other = tmp_path / 'tensorboard/levels/events.out.tfevents.1'
    other.parent.mkdir(exist_ok=True)
    other.touch()
  _, (group,) = read_hparams(tmp_path / 'tensorboard')
  assert group.hparams['learning_rate'].number_value == 0.25
  assert other.exists()


def make_video(path, num_pictures, width=320, height=240, rate=20, noisy=False):
  """A square that moves to the right; or noise, which does not compress."""
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = imageio_ffmpeg.write_frames(
    str(path), (width, height), fps=rate, macro_block_size=1
  )
  writer.send(None)
  rng = np.random.default_rng(0)
  for number in range(num_pictures):
    picture = np.zeros((height, width, 3), np.uint8)
    if noisy:
      picture = rng.integers(256, size=picture.shape, dtype=np.uint8)
    left = number * (width - 40) // num_pictures
    picture[100:140, left : left + 40] = (255, 0, 0)
    writer.send(picture)
  writer.close()


def squares(film):
  """Where the square of each picture of a GIF is, and its milliseconds."""
  places, durations = [], []
  with PIL.Image.open(io.BytesIO(film)) as image:
    assert image.format == 'GIF' and image.info['loop'] == 0
    for number in range(image.n_frames):
      image.seek(number)
      red = np.array(image.convert('RGB'))[..., 0] > 128
      places.append(np.nonzero(red)[1].mean() / image.width)
      durations.append(image.info['duration'])
    return image.size, places, durations


def test_a_short_video_is_shown_as_it_is(tmp_path):
  make_video(tmp_path / 'a.mp4', 30)
  size, places, durations = squares(videos.make_gif(tmp_path / 'a.mp4'))
  assert size == (160, 120)
  assert len(places) == 30 and set(durations) == {50}
  assert places == sorted(places)


def test_a_long_video_is_all_there_but_faster(tmp_path):
  make_video(tmp_path / 'a.mp4', 400, width=96, height=240)
  size, places, durations = squares(videos.make_gif(tmp_path / 'a.mp4'))
  assert size == (96, 240)
  assert 100 < len(places) <= 150 and set(durations) == {100}
  # To the right end: the middle of 40 pixels of 96.
  assert places[0] < 0.3 and places[-1] > 0.75


def test_what_compresses_badly_becomes_smaller(tmp_path):
  make_video(tmp_path / 'a.mp4', 150, noisy=True)
  film = videos.make_gif(tmp_path / 'a.mp4')
  assert len(film) <= 1_000_000
  with PIL.Image.open(io.BytesIO(film)) as image:
    assert image.width < 160 and image.n_frames == 150


def test_films_are_images_for_tensorboard(tmp_path):
  directory = runs.RunDirectory(tmp_path / 'run')
  folder = tmp_path / 'videos'
  make_video(folder / 'lab_a_1.mp4', 5)
  make_video(folder / 'catch_2.mp4', 5)
  (folder / 'catch_1.mp4').write_bytes(b'damaged')
  make_video(folder / 'catch_3.mp4', 5)  # Of another evaluation.
  summaries.write_films(directory, 700, folder, ['lab/a', 'catch'], 2)
  (file,) = (directory.tensorboard / 'videos').iterdir()
  events = event_accumulator.EventAccumulator(str(file))
  events.Reload()
  assert sorted(events.Tags()['tensors']) == ['catch/video_2', 'lab/a/video_1']
  (event,) = events.Tensors('lab/a/video_1')
  width, height, film = tf.make_ndarray(event.tensor_proto)
  assert (event.step, width, height) == (700, b'160', b'120')
  size, places, _ = squares(film)
  assert size == (160, 120) and len(places) == 5
  plugin = events.SummaryMetadata('lab/a/video_1').plugin_data
  assert plugin.plugin_name == 'images'


def test_a_video_that_is_not_there(tmp_path):
  with pytest.raises(subprocess.SubprocessError, match='cannot be read'):
    videos.make_gif(tmp_path / 'a.mp4')
