"""ViZDoom's scenarios, with the actions and pictures of IMPALA's benchmarks.

ViZDoom is driven directly: its gymnasium wrapper calls a timeout a termination
and ends an episode with a black picture.
"""

import contextlib
import fcntl
import os
import pathlib
import shlex
import shutil
import tempfile
from collections.abc import Iterator

import cv2
import dm_env
import numpy as np
import vizdoom
from dm_env import specs

import environments
from environments import suites

_WIDTH, _HEIGHT = 128, 72

_PREFIX = 'impala_doom_'
_LOCK = 'lock'
_ARGUMENTS = 'arguments'

# A new engine can fail to start where many start at once.
_NUM_STARTS = 5


class Doom(dm_env.Environment):
  """One scenario, in an engine of its own (a child process).

  Observations are `[72, 128, 3]` uint8, rendered at 160x120 and reduced by
  area. Action 0 presses nothing, action i the scenario's button i - 1; of
  doom_battle the combinations of `_BATTLE_BUTTONS`. Delta buttons, which the
  scenario deathmatch has besides, are never pressed.

  The game shows nothing once an episode has ended: the LAST observation is the
  one before it. A timeout is a truncation. So is a crash of the engine, which
  costs its episode: with reward 0, and the next reset starts another engine.

  Attributes:
    num_restarts: engines that were started in place of one that had crashed.
    has_crashed: whether the last timestep was LAST because the engine crashed.

  Raises:
    environments.MissingError: if the files of the scenario are not found.
    RuntimeError: if the engine does not start.
  """

  def __init__(
    self, level: str, seed: int, settings: environments.Settings
  ) -> None:
    self._config = find_scenario(level)
    self._rng = np.random.default_rng(seed)
    self._num_repeats = settings.num_action_repeats
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Locked for as long as this process lives, see _sweep.
    self._lock = open(self._folder / _LOCK, 'w', encoding='utf-8')  # noqa: SIM115
    fcntl.flock(self._lock, fcntl.LOCK_EX)
    self._game = vizdoom.DoomGame()
    self._is_running = False
    self.num_restarts = 0
    self.has_crashed = False
    self._picture = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    self._needs_reset = True
    try:
      self._configure(level)
      self._start()
    except BaseException:
      self.close()
      raise

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode, in a new engine if the last one crashed."""
    if self._is_running:
      try:
        self._game.new_episode()
      except _CRASHES:
        self._is_running = False
    if not self._is_running:
      self.num_restarts += 1
      self._start()
    self._needs_reset = False
    self.has_crashed = False
    self._look()
    return dm_env.restart(self._picture)

  def step(self, action: int) -> dm_env.TimeStep:
    """Holds an action's buttons for `settings.num_action_repeats` tics.

    Raises:
      ValueError: if the action is out of range.
    """
    if self._needs_reset:
      return self.reset()
    if not 0 <= action < len(self._actions):
      raise ValueError(
        f'action must be 0 to {len(self._actions) - 1}, got {action!r}'
      )
    try:
      reward = self._game.make_action(self._actions[action], self._num_repeats)
      has_ended = self._game.is_episode_finished()
      if not has_ended:
        self._look()
    except _CRASHES:
      self._is_running = False
      self._needs_reset = True
      self.has_crashed = True
      return dm_env.truncation(0.0, self._picture)
    if not has_ended:
      return dm_env.transition(reward, self._picture)
    self._needs_reset = True
    if self._game.is_episode_timeout_reached():
      return dm_env.truncation(reward, self._picture)
    return dm_env.termination(reward, self._picture)

  def observation_spec(self) -> specs.BoundedArray:
    """`[72, 128, 3]` uint8, RGB."""
    return specs.BoundedArray(
      (_HEIGHT, _WIDTH, 3), np.uint8, 0, 255, name='pictures'
    )

  def action_spec(self) -> specs.DiscreteArray:
    """Nothing, or one button of the scenario."""
    return specs.DiscreteArray(len(self._actions), name='action')

  def render(self) -> np.ndarray:
    """`[72, 128, 3]` uint8, RGB: what is observed."""
    return self._picture

  def close(self) -> None:
    """Ends the engine and removes what it wrote."""
    with contextlib.suppress(*_CRASHES):
      self._game.close()
    self._is_running = False
    shutil.rmtree(self._folder, ignore_errors=True)
    self._lock.close()

  def _configure(self, level: str) -> None:
    game = self._game
    game.load_config(str(self._config))
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_vizdoom_path(str(self._write_script()))
    game.set_doom_config_path(str(self._folder / 'vizdoom.ini'))
    names = [button.name for button in game.get_available_buttons()]
    combinations: list[tuple[str, ...]] = [()]
    combinations += [(name,) for name in names if not name.endswith('_DELTA')]
    if level == 'doom_battle':
      combinations = _battle_combinations()
    self._actions = [
      [float(name in pressed) for name in names] for pressed in combinations
    ]

  def _write_script(self) -> pathlib.Path:
    """Starts the engine where it may write, and lets it end with this process.

    ViZDoom itself leaves an engine behind whose process was killed.
    """
    engine = pathlib.Path(vizdoom.__file__).with_name('vizdoom')
    script = self._folder / 'vizdoom'
    script.write_text(
      f'#!/bin/sh\ncd {shlex.quote(str(self._folder))} && '
      f'echo "$@" >{_ARGUMENTS} && '
      f'exec setpriv --pdeathsig KILL {shlex.quote(str(engine))} "$@"\n'
    )
    script.chmod(0o700)
    return script

  def _start(self) -> None:
    errors = []
    for _ in range(_NUM_STARTS):
      self._game.set_seed(int(self._rng.integers(2**31)))
      try:
        with contextlib.suppress(*_CRASHES):
          self._game.close()
        with _one_start_at_a_time():
          self._game.init()
      except _CRASHES as error:
        errors.append(str(error))
        continue
      self._is_running = True
      return
    raise RuntimeError(
      f'ViZDoom did not start in {_NUM_STARTS} tries: {errors[-1]}'
    )

  def _look(self) -> None:
    screen = self._game.get_state().screen_buffer
    self._picture = cv2.resize(
      screen, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA
    )


_CRASHES = (
  vizdoom.ViZDoomErrorException,
  vizdoom.ViZDoomIsNotRunningException,
  vizdoom.ViZDoomUnexpectedExitException,
  vizdoom.MessageQueueException,
  vizdoom.SharedMemoryException,
)


def _battle_combinations() -> list[tuple[str, ...]]:
  """The 18 actions of doom_battle: walk, turn and shoot at the same time."""
  return [
    (walk, unit, attack)
    for walk in ('', 'MOVE_FORWARD', 'MOVE_BACKWARD')
    for unit in ('', 'TURN_LEFT', 'TURN_RIGHT')
    for attack in ('', 'ATTACK')
  ]


def find_scenario(level: str) -> pathlib.Path:
  """Finds a level's file, in `$IMPALA_SCENARIOS_DIR` or the vizdoom package.

  Raises:
    environments.MissingError: if it is in neither.
  """
  name = suites.DOOM_SCENARIOS[level]
  folders = [pathlib.Path(vizdoom.scenarios_path)]
  if os.environ.get('IMPALA_SCENARIOS_DIR'):
    folders.insert(0, pathlib.Path(os.environ['IMPALA_SCENARIOS_DIR']))
  for folder in folders:
    if (folder / name).is_file():
      return folder / name
  raise environments.MissingError(
    f'no scenario for {level} ({name} is not in '
    f'{" or ".join(map(str, folders))}): run `./impala scenarios '
    '--accept_license`, or set IMPALA_SCENARIOS_DIR=DIR to a folder that '
    'holds it'
  )


@contextlib.contextmanager
def _one_start_at_a_time() -> Iterator[None]:
  """Keeps engines of this user and machine from starting together."""
  folder = pathlib.Path(tempfile.gettempdir())
  with open(folder / f'impala_{os.getuid()}.lock', 'a') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    _sweep(folder)
    yield


def _sweep(folder: pathlib.Path) -> None:
  """Removes what environments left whose process was killed.

  Each leaves its folder, and 10 MB of shared memory under the name that its
  engine was told.
  """
  for left in folder.glob(f'{_PREFIX}*'):
    # Where its process lives, or belongs to somebody else, it stays.
    with contextlib.suppress(OSError), open(left / _LOCK) as lock:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      arguments = (left / _ARGUMENTS).read_text().split()
      instance = arguments[arguments.index('+viz_instance_id') + 1]
      for memory in pathlib.Path('/dev/shm').glob(f'ViZDoom*{instance}'):
        memory.unlink()
      shutil.rmtree(left)
