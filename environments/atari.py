"""Atari 2600 games with the preprocessing of the IMPALA paper (appendix G).

A game is what a person plays, from its first to its last life. In training each
life is an episode, in an evaluation the whole game is one.

The Arcade Learning Environment is driven directly: gym's and Acme's wrappers
cost more than half of the agent steps per second.
"""

import dataclasses
import os
import pathlib
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments import simulator, suites

ale_py: Any  # Imported with the first environment, by find_rom.
cv2: Any

_NOOP = 0
_SIDE = 84
_NUM_STACKED = 4


@dataclasses.dataclass(frozen=True)
class Settings(simulator.Settings):
  """Settings of Atari.

  The defaults are those of the IMPALA paper's Atari experiments (appendix G)
  and of its evaluation: 30 no-op starts, 30 minutes a game.
  """

  full_action_set: bool = simulator.setting(
    False, 'Offer all 18 Atari actions, not only those the game uses.'
  )
  repeat_action_probability: float = simulator.setting(
    0.0,
    'Sticky actions: probability that Atari repeats the previous action.',
    'per raw frame',
    simulator.Rule('at least 0 and below 1', lambda value: 0 <= value < 1),
  )
  max_episode_frames: int = simulator.setting(
    108_000,
    'An Atari game is truncated after this many.',
    'raw frames (60 a second)',
    simulator.Rule('at least 1', lambda value: value >= 1),
  )
  max_noops: int = simulator.setting(
    30,
    'An Atari game starts with 1 to this many no-ops; 0: none.',
    'raw frames',
    simulator.Rule('at least 0', lambda value: value >= 0),
  )


class ImageStack(specs.BoundedArray):
  """Spec of the last S grey images, `[H, W, S]` uint8, newest last.

  At each agent step the oldest image is dropped and one is added; where an
  episode starts, all S are its first image. So many stacks can be stored with
  each image once.
  """

  def __init__(self, height: int, width: int, num_stacked: int) -> None:
    super().__init__(
      (height, width, num_stacked), np.uint8, 0, 255, name='images'
    )
    self.num_stacked = num_stacked

  def __reduce__(self) -> tuple[type, tuple[int, int, int]]:
    return ImageStack, self.shape


class Atari(dm_env.Environment):
  """One game after the other.

  Observations are `[84, 84, 4]` uint8: the grey images of the last four agent
  steps, newest last; where an episode starts all four are its first image. An
  image is the maximum over the last two raw frames of an agent step, resized by
  area; where the end of an episode cuts a step short, it is the last frame.

  A game starts with 1 to `settings.max_noops` raw frames of no-ops, which give
  no reward; FIRE is never pressed for the agent. A game over is a termination,
  and `settings.max_episode_frames` raw frames (no-ops included) a truncation.
  In training a lost life is a termination too: the reset that follows executes
  nothing and continues from the image that ended the episode, so no frame or
  reward of the game is lost.

  Attributes:
    game_over: Whether the last timestep ended or truncated the game. False at
      the LAST timestep of a lost life: the next reset continues the game.

  Raises:
    simulator.MissingError: The game's ROM is not found.
  """

  def __init__(
    self, game: str, seed: int, evaluation: bool, settings: Settings
  ) -> None:
    self._rng = np.random.default_rng(seed)
    self._ends_at_lost_life = not evaluation
    self._max_noops = settings.max_noops
    self._num_repeats = settings.num_action_repeats
    self._ale = _load_game(game, int(self._rng.integers(2**31)), settings)
    if settings.full_action_set:
      actions = self._ale.getLegalActionSet()
    else:
      actions = self._ale.getMinimalActionSet()
    self._raw_actions = [int(action) for action in actions]
    shape = self._ale.getScreenDims()
    self._screen = np.zeros(shape, np.uint8)
    self._screen_before = np.zeros(shape, np.uint8)
    self._images: list[np.ndarray] = []
    self._lives = 0
    self._needs_reset = True
    self.game_over = True

  def reset(self) -> dm_env.TimeStep:
    """Start an episode, in the same game if the last one ended by a life."""
    if self.game_over or not self._needs_reset:
      self._start_game()
      self._images = [self._image()]
    self._images = self._images[-1:] * _NUM_STACKED
    self._needs_reset = False
    return dm_env.restart(cv2.merge(self._images))

  def step(self, action: int) -> dm_env.TimeStep:
    """Repeat an action and sum its rewards; ValueError if out of range."""
    if self._needs_reset:
      return self.reset()
    if not 0 <= action < len(self._raw_actions):
      raise ValueError(
        f'action must be 0 to {len(self._raw_actions) - 1}, got {action!r}'
      )
    reward = float(self._repeat(self._raw_actions[action]))
    self._images = [*self._images[1:], self._image()]
    observation = cv2.merge(self._images)
    is_life_lost = self._is_life_lost()
    self._lives = self._ale.lives()
    self.game_over = self._ale.game_over()
    if not self.game_over and not is_life_lost:
      return dm_env.transition(reward, observation)
    self._needs_reset = True
    if is_life_lost or self._ale.game_over(with_truncation=False):
      return dm_env.termination(reward, observation)
    return dm_env.truncation(reward, observation)

  def observation_spec(self) -> ImageStack:
    """Return the spec of `[84, 84, 4]` uint8."""
    return ImageStack(_SIDE, _SIDE, _NUM_STACKED)

  def action_spec(self) -> specs.DiscreteArray:
    """Return the spec of the actions that the game uses, or all 18."""
    return specs.DiscreteArray(len(self._raw_actions), name='action')

  def render(self) -> np.ndarray:
    """Return `[210, 160, 3]` uint8, RGB: the screen as people see it."""
    return self._ale.getScreenRGB()

  def _start_game(self) -> None:
    self._ale.reset_game()
    if self._max_noops:
      for _ in range(self._rng.integers(self._max_noops) + 1):
        self._ale.act(_NOOP)
        if self._ale.game_over():
          self._ale.reset_game()
    self._ale.getScreenGrayscale(self._screen)
    self._lives = self._ale.lives()
    self.game_over = False

  def _repeat(self, raw_action: int) -> int:
    ale = self._ale
    reward = 0
    for remaining in range(self._num_repeats - 1, -1, -1):
      reward += ale.act(raw_action)
      if ale.game_over() or self._is_life_lost():
        break
      if remaining == 1:
        ale.getScreenGrayscale(self._screen_before)
    ale.getScreenGrayscale(self._screen)
    if remaining == 0 and self._num_repeats > 1:
      np.maximum(self._screen, self._screen_before, out=self._screen)
    return reward

  def _is_life_lost(self) -> bool:
    return self._ends_at_lost_life and self._ale.lives() < self._lives

  def _image(self) -> np.ndarray:
    return cv2.resize(
      self._screen, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
    )


def find_rom(game: str) -> pathlib.Path:
  """Find a game's ROM in `$ALE_PY_ROM_DIR` or inside the ale_py package.

  Raises:
    simulator.MissingError: It is in neither, or is not the dump that ALE
      supports, by its md5.
  """
  global ale_py, cv2  # Most processes make no environment and import neither.
  import ale_py
  import cv2

  directories = [pathlib.Path(ale_py.__file__).parent / 'roms']
  if os.environ.get('ALE_PY_ROM_DIR'):
    directories.insert(0, pathlib.Path(os.environ['ALE_PY_ROM_DIR']))
  places = [directory / f'{game}.bin' for directory in directories]
  found = [path for path in places if path.is_file()]
  for path in found:
    if ale_py.ALEInterface.isSupportedROM(path) == game:
      return path
  if found:
    reason = f'{found[0]} is not the dump that ALE supports (by its md5)'
  else:
    reason = f'not found: {" or ".join(map(str, places))}'
  raise simulator.MissingError(
    f'no ROM for atari_{game} ({reason}): run `./impala roms '
    '--accept_license`, or set ALE_PY_ROM_DIR=DIR to a folder that holds it, '
    'or run `ale-import-roms DIR`'
  )


def _load_game(game: str, seed: int, settings: Settings) -> Any:
  path = find_rom(game)
  # The banner would go to the standard error of every actor.
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  ale = ale_py.ALEInterface()
  ale.setInt('random_seed', seed)
  ale.setInt('frame_skip', 1)
  ale.setInt('max_num_frames_per_episode', settings.max_episode_frames)
  ale.setFloat('repeat_action_probability', settings.repeat_action_probability)
  ale.loadROM(path)
  return ale


SIMULATOR = simulator.Simulator(
  levels=suites.split('atari57'),
  make=lambda level, seed, evaluation, settings: Atari(
    level.removeprefix(suites.ATARI_PREFIX), seed, evaluation, settings
  ),
  requirement='the packages of gym[atari] and OpenCV',
)
