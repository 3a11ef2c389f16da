"""Videos of episodes."""

import os
import pathlib
import types
from typing import Any

import numpy as np

_HEIGHT = 420  # Pixels; smaller images are enlarged to about this.


def path(folder: pathlib.Path, level_name: str, number: int) -> pathlib.Path:
  """Return the path of the video of episode `number`, counted from 1."""
  return folder / f'{level_name.replace("/", "_")}_{number}.mp4'


class Camera:
  """Recorder of one episode of an environment that has `render()`.

  A context manager: the video appears, complete, when it is left without an
  exception.
  """

  def __init__(self, path: pathlib.Path, images_per_second: float) -> None:
    self._path = path
    self._unfinished = path.with_name(f'.{path.name}.{os.getpid()}')
    self._rate = images_per_second
    self._writer: Any = None
    self._scale = 1

  def __enter__(self) -> 'Camera':
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: types.TracebackType | None,
  ) -> None:
    if self._writer:
      self._writer.close()
      if error:
        self._unfinished.unlink(missing_ok=True)
      else:
        self._unfinished.replace(self._path)

  def record(self, environment: Any) -> None:
    """Append the image that the environment renders."""
    image = environment.render()
    if not self._writer:
      self._begin(*image.shape[:2])
    for axis in (0, 1):
      image = np.repeat(image, self._scale, axis)
    self._writer.send(np.ascontiguousarray(image))

  def _begin(self, height: int, width: int) -> None:
    import imageio_ffmpeg  # For videos only.

    self._scale = max(1, _HEIGHT // height)
    if self._scale * height % 2 or self._scale * width % 2:
      self._scale += 1  # H.264 needs even sides.
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._writer = imageio_ffmpeg.write_frames(
      str(self._unfinished),
      (width * self._scale, height * self._scale),
      fps=self._rate,
      macro_block_size=1,
      output_params=['-f', 'mp4'],
    )
    self._writer.send(None)
