"""ViZDoom's scenarios, with the actions and images of IMPALA's benchmarks.

ViZDoom is driven directly: its gymnasium wrapper calls a timeout a termination
and ends an episode with a black image.
"""

import contextlib
import fcntl
import itertools
import os
import pathlib
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments import simulator

cv2: Any  # Imported with the first environment, by find_scenario.
vizdoom: Any

# Levels and the configuration file of each. The first two are Sample
# Factory's (https://github.com/alex-petrenko/sample-factory), of the same map;
# the others come with the vizdoom package.
SCENARIOS: Mapping[str, str] = {
  'doom_benchmark': 'battle.cfg',
  'doom_battle': 'battle.cfg',
  'doom_basic': 'basic.cfg',
  'doom_deadly_corridor': 'deadly_corridor.cfg',
  'doom_deathmatch': 'deathmatch.cfg',
  'doom_defend_the_center': 'defend_the_center.cfg',
  'doom_defend_the_line': 'defend_the_line.cfg',
  'doom_health_gathering': 'health_gathering.cfg',
  'doom_my_way_home': 'my_way_home.cfg',
  'doom_predict_position': 'predict_position.cfg',
  'doom_take_cover': 'take_cover.cfg',
}

_WIDTH, _HEIGHT = 128, 72

# The 18 actions of doom_battle: walk, turn and shoot at the same time.
_BATTLE_BUTTONS = (
  ('', 'MOVE_FORWARD', 'MOVE_BACKWARD'),
  ('', 'TURN_LEFT', 'TURN_RIGHT'),
  ('', 'ATTACK'),
)

_PREFIX = 'impala_doom_'
_LOCK = 'lock'
_ARGUMENTS = 'arguments'

# A new engine can fail to start where many start at once.
_NUM_STARTS = 5


class Doom(dm_env.Environment):
  """One scenario, in its own engine (a child process).

  Observations are `[72, 128, 3]` uint8, rendered at 160x120 and reduced by
  area. Action 0 presses nothing, action i the scenario's button i - 1; in
  doom_battle the combinations of `_BATTLE_BUTTONS`. Delta buttons, which the
  scenario deathmatch has too, are never pressed.

  The engine has no observation once an episode has ended: the LAST observation
  repeats the one before it. A timeout is a truncation. So is a crash of the
  engine, with reward 0; the next reset starts another engine.

  Attributes:
    num_restarts: Number of engines started in place of crashed ones.
    has_crashed: Whether the last timestep was LAST because the engine crashed.

  Raises:
    simulator.MissingError: The files of the scenario are not found.
    RuntimeError: The engine does not start.
  """

  def __init__(
    self, level: str, seed: int, settings: simulator.Settings
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
    self._image = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    self._needs_reset = True
    try:
      self._configure(level)
      self._start()
    except BaseException:
      self.close()
      raise

  def reset(self) -> dm_env.TimeStep:
    """Start an episode, in a new engine if the last one crashed."""
    if self._is_running:
      try:
        self._game.new_episode()
      except _crashes():
        self._is_running = False
    if not self._is_running:
      self.num_restarts += 1
      self._start()
    self._needs_reset = False
    self.has_crashed = False
    self._observe()
    return dm_env.restart(self._image)

  def step(self, action: int) -> dm_env.TimeStep:
    """Hold an action's buttons; ValueError if it is out of range."""
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
        self._observe()
    except _crashes():
      self._is_running = False
      self._needs_reset = True
      self.has_crashed = True
      return dm_env.truncation(0.0, self._image)
    if not has_ended:
      return dm_env.transition(reward, self._image)
    self._needs_reset = True
    if self._game.is_episode_timeout_reached():
      return dm_env.truncation(reward, self._image)
    return dm_env.termination(reward, self._image)

  def observation_spec(self) -> specs.BoundedArray:
    """Return the spec of `[72, 128, 3]` uint8, RGB."""
    return specs.BoundedArray(
      (_HEIGHT, _WIDTH, 3), np.uint8, 0, 255, name='images'
    )

  def action_spec(self) -> specs.DiscreteArray:
    """Return the spec of the actions: nothing, or a button each."""
    return specs.DiscreteArray(len(self._actions), name='action')

  def render(self) -> np.ndarray:
    """Return `[72, 128, 3]` uint8, RGB: the observation."""
    return self._image

  def close(self) -> None:
    """Stop the engine and remove its files."""
    with contextlib.suppress(*_crashes()):
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
      combinations = [*itertools.product(*_BATTLE_BUTTONS)]
    self._actions = [
      [float(name in pressed) for name in names] for pressed in combinations
    ]

  def _write_script(self) -> pathlib.Path:
    """Write the script that starts the engine in its own folder.

    The engine ends with this process, which without it outlives a kill.
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
    for _ in range(_NUM_STARTS):
      self._game.set_seed(int(self._rng.integers(2**31)))
      try:
        with contextlib.suppress(*_crashes()):
          self._game.close()
        with _one_start_at_a_time():
          self._game.init()
        self._is_running = True
        return
      except _crashes() as error:
        reason = error
    raise RuntimeError(
      f'ViZDoom did not start in {_NUM_STARTS} attempts: {reason}'
    )

  def _observe(self) -> None:
    screen = self._game.get_state().screen_buffer
    self._image = cv2.resize(
      screen, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA
    )


def _crashes() -> tuple[type[Exception], ...]:
  return (
    vizdoom.ViZDoomErrorException,
    vizdoom.ViZDoomIsNotRunningException,
    vizdoom.ViZDoomUnexpectedExitException,
    vizdoom.MessageQueueException,
    vizdoom.SharedMemoryException,
  )


def find_scenario(level: str) -> pathlib.Path:
  """Find a level's file, in `$IMPALA_SCENARIOS_DIR` or the vizdoom package.

  Raises:
    simulator.MissingError: It is in neither.
  """
  global cv2, vizdoom  # Most processes make no environment and import neither.
  import cv2
  import vizdoom

  name = SCENARIOS[level]
  folders = [pathlib.Path(vizdoom.scenarios_path)]
  if os.environ.get('IMPALA_SCENARIOS_DIR'):
    folders.insert(0, pathlib.Path(os.environ['IMPALA_SCENARIOS_DIR']))
  for folder in folders:
    if (folder / name).is_file():
      return folder / name
  raise simulator.MissingError(
    f'no scenario for {level} ({name} is not in '
    f'{" or ".join(map(str, folders))}): run `./impala scenarios '
    '--accept_license`, or set IMPALA_SCENARIOS_DIR=DIR to a folder that '
    'holds it'
  )


@contextlib.contextmanager
def _one_start_at_a_time() -> Iterator[None]:
  """Keep engines of this user and machine from starting together."""
  folder = pathlib.Path(tempfile.gettempdir())
  with open(folder / f'impala_{os.getuid()}.lock', 'a') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    _sweep(folder)
    yield


def _sweep(folder: pathlib.Path) -> None:
  """Remove the files of environments whose process was killed.

  Each leaves its folder, and 10 MB of shared memory named after its engine.
  """
  for left in folder.glob(f'{_PREFIX}*'):
    # Locked while its process lives; it may also be another user's.
    with contextlib.suppress(OSError), open(left / _LOCK) as lock:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      arguments = (left / _ARGUMENTS).read_text().split()
      instance = arguments[arguments.index('+viz_instance_id') + 1]
      for memory in pathlib.Path('/dev/shm').glob(f'ViZDoom*{instance}'):
        memory.unlink()
      shutil.rmtree(left)


SIMULATOR = simulator.Simulator(
  levels=tuple(SCENARIOS),
  make=lambda level, seed, evaluation, settings: Doom(level, seed, settings),
  frames_per_second=35.0,
  requirement='the packages vizdoom and OpenCV',
)
