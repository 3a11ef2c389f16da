"""Atari 2600 games with the preprocessing of the IMPALA paper (appendix G).

The Arcade Learning Environment is driven directly: gym's and Acme's wrappers
cost more than half of the agent steps per second.
"""

import os
import pathlib

import ale_py
import cv2
import dm_env
import numpy as np
from dm_env import specs

import environments

_NOOP = 0
_SIDE = 84
_NUM_STACKED = 4


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


class Atari(dm_env.Environment):
  """One game.

  Observations are `[84, 84, 4]` uint8: the grey pictures of the last four
  agent steps, newest last; where an episode starts all four are its first
  picture. A picture is the maximum over the last two raw frames of an agent
  step, reduced by area; where a step is cut short by the end of an episode, it
  is the frame at which it was cut.

  A game starts with 1 to `settings.max_noops` raw frames of no-ops, which give
  no reward; FIRE is never pressed for the agent. A game over is a termination,
  and `settings.max_episode_frames` raw frames (no-ops included) a truncation.
  While training a lost life is a termination too: the reset that follows
  executes nothing and goes on from the picture that ended the episode, so no
  frame or reward of the game is lost.

  Attributes:
    game_over: whether the last timestep ended the game, or truncated it. False
      at a LAST timestep after which the next reset goes on with the same game,
      that is where a life was lost.

  Raises:
    environments.MissingError: if the game's ROM is not found.
  """

  def __init__(
    self,
    game: str,
    seed: int,
    evaluation: bool,
    settings: environments.Settings,
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
    self._pictures: list[np.ndarray] = []
    self._lives = 0
    self._needs_reset = True
    self.game_over = True

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode, in the same game if the last one ended by a life."""
    if self.game_over or not self._needs_reset:
      self._start_game()
      self._pictures = [self._picture()]
    self._pictures = self._pictures[-1:] * _NUM_STACKED
    self._needs_reset = False
    return dm_env.restart(cv2.merge(self._pictures))

  def step(self, action: int) -> dm_env.TimeStep:
    """Repeats an action; the reward is the sum, unclipped.

    Raises:
      ValueError: if the action is out of range.
    """
    if self._needs_reset:
      return self.reset()
    if not 0 <= action < len(self._raw_actions):
      raise ValueError(
        f'action must be 0 to {len(self._raw_actions) - 1}, got {action!r}'
      )
    reward = float(self._repeat(self._raw_actions[action]))
    self._pictures = [*self._pictures[1:], self._picture()]
    observation = cv2.merge(self._pictures)
    is_life_lost = self._is_life_lost()
    self._lives = self._ale.lives()
    self.game_over = self._ale.game_over()
    if not self.game_over and not is_life_lost:
      return dm_env.transition(reward, observation)
    self._needs_reset = True
    if is_life_lost or self._ale.game_over(with_truncation=False):
      return dm_env.termination(reward, observation)
    return dm_env.truncation(reward, observation)

  def observation_spec(self) -> PictureStack:
    """`[84, 84, 4]` uint8."""
    return PictureStack(_SIDE, _SIDE, _NUM_STACKED)

  def action_spec(self) -> specs.DiscreteArray:
    """The actions that the game uses, or all 18."""
    return specs.DiscreteArray(len(self._raw_actions), name='action')

  def render(self) -> np.ndarray:
    """`[210, 160, 3]` uint8, RGB: the screen as people see it."""
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

  def _picture(self) -> np.ndarray:
    return cv2.resize(
      self._screen, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
    )


def find_rom(game: str) -> pathlib.Path:
  """Finds a game's ROM in `$ALE_PY_ROM_DIR` or inside the ale_py package.

  Raises:
    environments.MissingError: if it is in neither, or is not the dump that ALE
      supports, by its md5.
  """
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
  raise environments.MissingError(
    f'no ROM for atari_{game} ({reason}): run `./impala roms '
    '--accept_license`, or set ALE_PY_ROM_DIR=DIR to a folder that holds it, '
    'or run `ale-import-roms DIR`'
  )


def _load_game(
  game: str, seed: int, settings: environments.Settings
) -> ale_py.ALEInterface:
  # The banner would go to the standard error of every actor.
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  path = find_rom(game)
  ale = ale_py.ALEInterface()
  ale.setInt('random_seed', seed)
  ale.setInt('frame_skip', 1)
  ale.setInt('max_num_frames_per_episode', settings.max_episode_frames)
  ale.setFloat('repeat_action_probability', settings.repeat_action_probability)
  ale.loadROM(path)
  return ale
