"""What TensorBoard's own readers find of films."""

import io
import subprocess

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import (
  event_accumulator,
)

from programs import runs, summaries, videos


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
