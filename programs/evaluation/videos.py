"""Videos of episodes."""

import os
import pathlib
import types
from typing import Any

import numpy as np

_HEIGHT = 420  # Pixels; smaller pictures are enlarged to about this.


def path(folder: pathlib.Path, level_name: str, number: int) -> pathlib.Path:
  """Where the video of a level's episode is, the first being 1."""
  return folder / f'{level_name.replace("/", "_")}_{number}.mp4'


class Camera:
  """Films one episode of an environment that has `render()`.

  A context manager: the video is there, whole, when it is left, and is not
  where it is left by an exception.
  """

  def __init__(self, path: pathlib.Path, pictures_per_second: float) -> None:
    self._path = path
    self._unfinished = path.with_name(f'.{path.name}.{os.getpid()}')
    self._rate = pictures_per_second
    self._writer: Any = None
    self._enlarged = 1

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

  def film(self, environment: Any) -> None:
    """Adds what the environment shows."""
    picture = environment.render()
    if not self._writer:
      self._begin(*picture.shape[:2])
    for axis in (0, 1):
      picture = np.repeat(picture, self._enlarged, axis)
    self._writer.send(np.ascontiguousarray(picture))

  def _begin(self, height: int, width: int) -> None:
    import imageio_ffmpeg  # Whoever films nothing does without it.

    self._enlarged = max(1, _HEIGHT // height)
    if self._enlarged * height % 2 or self._enlarged * width % 2:
      self._enlarged += 1  # H.264 wants even sides.
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._writer = imageio_ffmpeg.write_frames(
      str(self._unfinished),
      (width * self._enlarged, height * self._enlarged),
      fps=self._rate,
      macro_block_size=1,
      output_params=['-f', 'mp4'],
    )
    self._writer.send(None)
