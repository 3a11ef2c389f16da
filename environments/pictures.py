"""Observations that are stacks of pictures."""

import numpy as np
from dm_env import specs


class PictureStack(specs.BoundedArray):
  """Spec of the last S grey pictures, `[H, W, S]` uint8, newest last.

  From one agent step to the next a stack moves by one picture; where an episode
  starts, all S are its first picture. So whoever keeps many of them needs to
  keep each picture once.
  """

  def __init__(self, height: int, width: int, num_stacked: int) -> None:
    super().__init__(
      (height, width, num_stacked), np.uint8, 0, 255, name='pictures'
    )

  @property
  def height(self) -> int:
    """H."""
    return self.shape[0]

  @property
  def width(self) -> int:
    """W."""
    return self.shape[1]

  @property
  def num_stacked(self) -> int:
    """S."""
    return self.shape[2]

  def __reduce__(self) -> tuple[type, tuple[int, int, int]]:
    return PictureStack, self.shape
