"""DeepMind Lab, as the reference plays it.

The simulator is on no package index: users build its wheel themselves. It is
driven through its C module, since its own dm_env adapter has neither seeds,
level cache nor action repeats, and asks for an observation after the end.
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile

import dm_env
import numpy as np
from dm_env import specs

from environments import simulator, suites

_FOLDER = 'contributed/dmlab30/'
_DMLAB30 = tuple(
  dict.fromkeys(suites.split('dmlab30') + suites.split('dmlab30', True))
)

# DeepMind Lab's own levels outside of a folder (deepmind/lab, game_scripts).
_OTHER_LEVELS = (
  'lt_chasm',
  'lt_hallway_slope',
  'lt_horseshoe_color',
  'lt_space_bounce_hard',
  *(f'nav_maze_random_goal_0{number}' for number in (1, 2, 3)),
  *(f'nav_maze_static_0{number}' for number in (1, 2, 3)),
  'seekavoid_arena_01',
  'stairway_to_melon_01',
)

# The reference's test mode: maps and mixtures that training never shows.
_TEST_CONFIG = {'allowHoldOutLevels': 'true', 'mixerSeed': str(0x600D5EED)}

# Look left or right, look down or up, strafe, move, fire, jump, crouch.
_NINE_ACTIONS = (
  (0, 0, 0, 1, 0, 0, 0),  # Forward
  (0, 0, 0, -1, 0, 0, 0),  # Backward
  (0, 0, -1, 0, 0, 0, 0),  # Strafe left
  (0, 0, 1, 0, 0, 0, 0),  # Strafe right
  (-20, 0, 0, 0, 0, 0, 0),  # Look left
  (20, 0, 0, 0, 0, 0, 0),  # Look right
  (-20, 0, 0, 1, 0, 0, 0),  # Look left and forward
  (20, 0, 0, 1, 0, 0, 0),  # Look right and forward
  (0, 0, 0, 0, 1, 0, 0),  # Fire
)
# The larger set of later work (PopArt, https://arxiv.org/abs/1809.04474).
_FIFTEEN_ACTIONS = (
  (0, 0, 0, 1, 0, 0, 0),  # Forward
  (0, 0, 0, -1, 0, 0, 0),  # Backward
  (0, 0, -1, 0, 0, 0, 0),  # Strafe left
  (0, 0, 1, 0, 0, 0, 0),  # Strafe right
  (-10, 0, 0, 0, 0, 0, 0),  # Small look left
  (10, 0, 0, 0, 0, 0, 0),  # Small look right
  (-60, 0, 0, 0, 0, 0, 0),  # Large look left
  (60, 0, 0, 0, 0, 0, 0),  # Large look right
  (0, 10, 0, 0, 0, 0, 0),  # Look down
  (0, -10, 0, 0, 0, 0, 0),  # Look up
  (-10, 0, 0, 1, 0, 0, 0),  # Forward and small look left
  (10, 0, 0, 1, 0, 0, 0),  # Forward and small look right
  (-60, 0, 0, 1, 0, 0, 0),  # Forward and large look left
  (60, 0, 0, 1, 0, 0, 0),  # Forward and large look right
  (0, 0, 0, 0, 1, 0, 0),  # Fire
)

_SIDE = simulator.Rule(
  'a multiple of 4', lambda pixels: pixels >= 4 and pixels % 4 == 0
)


@dataclasses.dataclass(frozen=True)
class Settings(simulator.Settings):
  """Settings of DeepMind Lab."""

  width: int = simulator.setting(
    96, "Width of DeepMind Lab's images.", 'pixels', _SIDE
  )
  height: int = simulator.setting(
    72, "Height of DeepMind Lab's images.", 'pixels', _SIDE
  )
  extended_actions: bool = simulator.setting(
    False, "Offer 15 actions in DeepMind Lab (PopArt's), not the reference's 9."
  )
  dataset_path: str = simulator.setting(
    '', 'Folder of the images that two psychlab levels of DeepMind Lab show.'
  )
  level_cache: str = simulator.setting(
    '', "Folder that caches DeepMind Lab's maps for all actors; empty: none."
  )
  renderer: str = simulator.setting(
    'software',
    "DeepMind Lab's renderer.",
    rule=simulator.Rule(
      'software or hardware', ('software', 'hardware').__contains__
    ),
  )


class Lab(dm_env.Environment):
  """One level.

  Observations are RGB_INTERLEAVED, `[settings.height, settings.width, 3]`
  uint8, and INSTR, a string. The simulator has no observation after an episode:
  the LAST observation repeats the one before it. It does not distinguish
  timeouts from other ends: each end is a termination, as in the reference.

  The seeds of the episodes are drawn as the reference draws them; an evaluation
  plays held-out maps, with a fixed mixture.

  Raises:
    simulator.MissingError: The simulator does not start.
    ValueError: There is no such level.
  """

  def __init__(
    self, level: str, seed: int, evaluation: bool, settings: Settings
  ) -> None:
    import deepmind_lab  # Here: most processes make no environment.

    self._rng = np.random.RandomState(seed)
    self._num_repeats = settings.num_action_repeats
    actions = _FIFTEEN_ACTIONS if settings.extended_actions else _NINE_ACTIONS
    self._actions = np.array(actions, np.intc)
    self._shape = (settings.height, settings.width, 3)
    self._needs_reset = True
    config = {
      'width': str(settings.width),
      'height': str(settings.height),
      'datasetPath': settings.dataset_path,
      'logLevel': 'WARN',
      **(_TEST_CONFIG if evaluation else {}),
    }
    if settings.renderer == 'hardware':
      config['gpuDeviceIndex'] = '0'
    cache = LevelCache(settings.level_cache) if settings.level_cache else None
    try:
      self._lab = deepmind_lab.Lab(
        f'{_FOLDER}{level}' if level in _DMLAB30 else level,
        ['RGB_INTERLEAVED', 'INSTR'],
        config=config,
        renderer=settings.renderer,
        level_cache=cache,
      )
    except RuntimeError as error:
      if 'levelName' in str(error):
        raise ValueError(
          f'level_name must be a level of DeepMind Lab, got {level!r} ({error})'
        ) from error
      raise simulator.MissingError(
        f'{level} needs DeepMind Lab, which does not start: {error}'
      ) from error

  def reset(self) -> dm_env.TimeStep:
    """Start an episode with the next seed."""
    self._lab.reset(seed=int(self._rng.randint(0, 2**31 - 1)))
    self._needs_reset = False
    self._observation = self._lab.observations()
    return dm_env.restart(self._observation)

  def step(self, action: int) -> dm_env.TimeStep:
    """Repeat an action and sum its rewards; ValueError if out of range."""
    if self._needs_reset:
      return self.reset()
    if not 0 <= action < len(self._actions):
      raise ValueError(
        f'action must be 0 to {len(self._actions) - 1}, got {action!r}'
      )
    reward = self._lab.step(self._actions[action], num_steps=self._num_repeats)
    if self._lab.is_running():
      self._observation = self._lab.observations()
      return dm_env.transition(reward, self._observation)
    self._needs_reset = True
    return dm_env.termination(reward, self._observation)

  def observation_spec(self) -> dict[str, specs.Array]:
    """Return the specs of RGB_INTERLEAVED and INSTR."""
    return {
      'RGB_INTERLEAVED': specs.BoundedArray(
        self._shape, np.uint8, 0, 255, name='RGB_INTERLEAVED'
      ),
      'INSTR': specs.StringArray((), str, name='INSTR'),
    }

  def action_spec(self) -> specs.DiscreteArray:
    """Return the spec of the reference's nine actions, or of fifteen."""
    return specs.DiscreteArray(len(self._actions), name='action')

  def render(self) -> np.ndarray:
    """Return `[settings.height, settings.width, 3]` uint8, RGB."""
    return self._observation['RGB_INTERLEAVED']

  def close(self) -> None:
    """Stop the simulator."""
    self._lab.close()


class LevelCache:
  """Compiled maps in a folder that all actors of a machine share.

  Compiling a map can take seconds. Files are written atomically.
  """

  def __init__(self, folder: str) -> None:
    self._folder = pathlib.Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)

  def fetch(self, key: str, pk3_path: str) -> bool:
    """Copy a map to `pk3_path`; return false if it is not in the cache."""
    try:
      shutil.copyfile(self._path(key), pk3_path)
    except FileNotFoundError:
      return False
    return True

  def write(self, key: str, pk3_path: str) -> None:
    """Store the map at `pk3_path`."""
    handle, new = tempfile.mkstemp(dir=self._folder, prefix='.new-')
    os.close(handle)
    shutil.copyfile(pk3_path, new)
    os.replace(new, self._path(key))

  def _path(self, key: str) -> pathlib.Path:
    return self._folder / f'{key.replace("/", "_")}.pk3'


SIMULATOR = simulator.Simulator(
  levels=_DMLAB30 + _OTHER_LEVELS,
  make=Lab,
  has_paths=True,
  requirement='DeepMind Lab',
  remedy='install a wheel of yours for Python 3.10, which no package index has '
  '(see requirements.txt)',
)
