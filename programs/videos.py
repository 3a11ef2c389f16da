"""Videos of episodes, and what TensorBoard can show of them."""

import os
import pathlib
import subprocess
import types
from typing import Any

import dm_env
import numpy as np
from acme.utils import observers

_HEIGHT = 420  # Pixels; smaller pictures are enlarged to about this.

# Of GIFs: they stand in TensorBoard's files, so they are small.
_GIF_WIDTHS = (160, 112, 80)  # Pixels; the first that is small enough.
_GIF_PICTURES = 150
_GIF_BYTES = 1_000_000
_GIF_RATE = 10  # Pictures a second where some are left out.


def path(folder: pathlib.Path, level_name: str, number: int) -> pathlib.Path:
  """Where the video of a level's episode is, the first being 1."""
  return folder / f'{level_name.replace("/", "_")}_{number}.mp4'


def make_gif(video: pathlib.Path) -> bytes:
  """A small moving GIF of a video: all of it, at most 150 pictures.

  Args:
    video: As a `Camera` made it. Where it has more pictures, every second,
      third and so on is taken, and time runs faster.

  Returns:
    The file's content.

  Raises:
    subprocess.SubprocessError: It is not there, or damaged.
  """
  import imageio_ffmpeg

  try:
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(video))
  except RuntimeError as error:
    raise subprocess.SubprocessError(f'{video} cannot be read') from error
  every = -(-count // _GIF_PICTURES)
  rate = _GIF_RATE if every > 1 or not seconds else count / seconds
  content = b''
  for width in _GIF_WIDTHS:
    filters = (
      f"select='not(mod(n,{every}))',setpts=N/({rate}*TB),"
      f"scale='min({width},iw)':-1,split[a][b];[a]palettegen[colors];"
      '[b][colors]paletteuse=dither=none:diff_mode=rectangle'
    )
    content = subprocess.run(
      [
        *(imageio_ffmpeg.get_ffmpeg_exe(), '-loglevel', 'error', '-i', video),
        *('-vf', filters, '-r', f'{rate}', '-loop', '0', '-f', 'gif', 'pipe:1'),
      ],
      stdin=subprocess.DEVNULL,
      capture_output=True,
      check=True,
    ).stdout
    if len(content) <= _GIF_BYTES:
      break
  return content


class Camera(observers.EnvLoopObserver):
  """Films one episode of an environment that has `render()`.

  A context manager: the video is there, whole, when it is left, and is not
  where it is left by an exception.
  """

  def __init__(self, path: pathlib.Path, pictures_per_second: float) -> None:
    """Writes nothing yet.

    Args:
      path: Of the video, `*.mp4`; its folder is made.
      pictures_per_second: So that it plays as fast as people see the game.
    """
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

  def observe_first(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep
  ) -> None:
    """Begins the video."""
    import imageio_ffmpeg  # Whoever films nothing does without it.

    height, width, _ = env.render().shape
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
    self._film(env)

  def observe(
    self,
    env: dm_env.Environment,
    timestep: dm_env.TimeStep,
    action: np.ndarray,
  ) -> None:
    """Adds a picture."""
    self._film(env)

  def get_metrics(self) -> dict[str, Any]:
    """None."""
    return {}

  def _film(self, env: dm_env.Environment) -> None:
    picture = env.render()
    for axis in (0, 1):
      picture = np.repeat(picture, self._enlarged, axis)
    self._writer.send(np.ascontiguousarray(picture))
