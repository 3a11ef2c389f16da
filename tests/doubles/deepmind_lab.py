"""A double of DeepMind Lab's C module, whose wheel is on no package index.

Signatures, types and errors are the module's (deepmind/lab, python/
dmlab_module.c). The levels are not: images are a hash of level, seed and
actions, so nothing can be learned from them.
"""

import hashlib
import tempfile

import numpy as np

_KNOWN_SETTINGS = {
  'width',
  'height',
  'fps',
  'mixerSeed',
  'gpuDeviceIndex',
  'datasetPath',
  'logLevel',
  'allowHoldOutLevels',
  'episodeLengthSeconds',
}
_WRONG_STATUS = 'Environment in wrong status'


made: list['Lab'] = []  # Every Lab of this process, for tests.


class Lab:
  """Episodes of `episodeLengthSeconds` (60 frames each), by default 2."""

  def __init__(
    self,
    level,
    observations,
    config={},  # noqa: B006, as the module's signature.
    renderer='software',
    level_cache=None,
    temp_folder='',
  ):
    if not isinstance(level, str):
      raise TypeError('argument 1 must be str')
    if not isinstance(observations, list):
      raise TypeError('argument 2 must be list')
    if not isinstance(config, dict):
      raise TypeError('argument 3 must be dict')
    for key, value in config.items():
      if not isinstance(key, str) or not isinstance(value, str):
        raise TypeError("'config' must have str keys and values")
      if key not in _KNOWN_SETTINGS:
        raise RuntimeError(f'Failed to apply setting \'{key} = {value}\' - ""')
    if renderer not in ('software', 'hardware', ''):
      raise RuntimeError(
        'Failed to set renderer must be "hardware" or "software" actual '
        f'"{renderer}"!'
      )
    if 'no_such' in level:
      raise RuntimeError(f'Invalid levelName flag \'{level}\' - "not found"')
    for name in observations:
      if name not in ('RGB_INTERLEAVED', 'INSTR'):
        raise ValueError(f"Unknown observation '{name}'.")
    for side in ('width', 'height'):
      if int(config.get(side, 240)) % 4:
        raise RuntimeError(f"Failed to apply setting '{side}'")
    self.level, self.config, self.level_cache = level, config, level_cache
    self.renderer = renderer
    self.seeds, self.actions = [], []
    self._names = observations
    self._size = (int(config['height']), int(config['width']))
    seconds = float(config.get('episodeLengthSeconds', '2'))
    self._length = int(60 * seconds)
    self._running = False
    self._frames = 0
    self._closed = False
    made.append(self)

  def reset(self, episode=-1, seed=None):
    if seed is not None and type(seed) is not int:
      name = f'{type(seed).__module__}.{type(seed).__name__}'
      raise ValueError(f"'seed' must be int or None, was '{name}'.")
    self.seeds.append(seed)
    self._state = hashlib.sha256(
      f'{self.level} {seed} {sorted(self.config.items())}'.encode()
    ).digest()
    if self.level_cache is not None:
      self._make_map(self._state.hex())
    self._frames, self._running = 0, True
    return True

  def step(self, action, num_steps=1):
    if not self._running:
      raise RuntimeError(f'{_WRONG_STATUS} to advance.')
    if not isinstance(action, np.ndarray) or action.shape != (7,):
      raise ValueError('action must have shape (7)')
    if action.dtype != np.intc:
      raise ValueError('action must have dtype np.intc')
    if type(num_steps) is not int:
      raise TypeError('an integer is required')
    self.actions.append((tuple(int(value) for value in action), num_steps))
    self._state = hashlib.sha256(self._state + action.tobytes()).digest()
    self._frames += num_steps
    self._running = self._frames < self._length
    return float(self._state[0] % 3)

  def observations(self):
    if not self._running:
      raise RuntimeError(f'{_WRONG_STATUS} for call to observations()')
    shown = {}
    if 'RGB_INTERLEAVED' in self._names:
      height, width = self._size
      row = np.frombuffer(self._state * (3 * width // 32 + 1), np.uint8)
      shown['RGB_INTERLEAVED'] = np.tile(
        row[: 3 * width].reshape(1, width, 3), (height, 1, 1)
      )
    if 'INSTR' in self._names:
      shown['INSTR'] = f'find the {self._state[1] % 4} object'
    return shown

  def is_running(self):
    return self._running

  def close(self):
    self._running, self._closed = False, True

  def _make_map(self, key):
    """Fetch a map from the level cache, or compile and write it."""
    with tempfile.NamedTemporaryFile(suffix='.pk3') as file:
      if not self.level_cache.fetch(key, file.name):
        file.write(self._state)
        file.flush()
        self.level_cache.write(key, file.name)
