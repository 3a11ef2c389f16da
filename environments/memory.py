"""Memory, a level that only an agent with a memory solves.

The memory task of bsuite (Osband et al. 2019, https://arxiv.org/abs/1908.03568,
"memory length") with one bit: a cue is shown at the start, after it only the
remaining time, and the last action has to name the cue. The best mean return is
1.0; every policy without a memory has 0.0.
"""

import dm_env
import numpy as np
from dm_env import specs

from environments import simulator

NUM_STEPS = 10


class Memory(dm_env.Environment):
  """One cue an episode: 10 agent steps, then a termination.

  Observations are `[3]` float32: the cue, -1 or +1, in the first one and 0 in
  all others; 1 where the next action is the answer and 0 elsewhere; and the
  fraction of the steps that remain. Actions are 0 (for cue -1) and 1 (for +1);
  all but the last have no effect. The reward is 0 until the answer, then +1 if
  it names the cue and -1 if not.
  """

  def __init__(self, seed: int) -> None:
    self._rng = np.random.default_rng(seed)
    self._cue = 0
    self._step = NUM_STEPS

  def reset(self) -> dm_env.TimeStep:
    """Draw a new cue and show it."""
    self._cue = int(self._rng.integers(2))
    self._step = 0
    return dm_env.restart(self._observe())

  def step(self, action: int) -> dm_env.TimeStep:
    """Wait, or take the answer; ValueError unless 0 or 1 is given."""
    if self._step == NUM_STEPS:
      return self.reset()
    if action not in (0, 1):
      raise ValueError(f'action must be 0 or 1, got {action!r}')
    self._step += 1
    if self._step < NUM_STEPS:
      return dm_env.transition(0.0, self._observe())
    reward = 1.0 if int(action) == self._cue else -1.0
    return dm_env.termination(reward, self._observe())

  def observation_spec(self) -> specs.BoundedArray:
    """Return the spec of `[3]` float32, from -1 to 1."""
    return specs.BoundedArray((3,), np.float32, -1.0, 1.0, 'observation')

  def action_spec(self) -> specs.DiscreteArray:
    """Return the spec of two actions: the cue was -1, or 1."""
    return specs.DiscreteArray(2, np.int32, 'action')

  def render(self) -> np.ndarray:
    """Return `[2, 10, 3]` uint8 for people.

    Above, left: red for cue -1, green for +1; right: white where the answer is
    due. Below: the remaining time.
    """
    cue, is_answer, left = self._observe()
    image = np.zeros((2, NUM_STEPS, 3), np.uint8)
    image[0, : NUM_STEPS // 2, 0] = 255 * (cue < 0)
    image[0, : NUM_STEPS // 2, 1] = 255 * (cue > 0)
    image[0, NUM_STEPS // 2 :] = 255 * is_answer
    image[1, : round(NUM_STEPS * left)] = 128
    return image

  def _observe(self) -> np.ndarray:
    cue = 2.0 * self._cue - 1.0 if self._step == 0 else 0.0
    is_answer = self._step == NUM_STEPS - 1
    left = 1.0 - self._step / NUM_STEPS
    return np.array([cue, is_answer, left], np.float32)


SIMULATOR = simulator.Simulator(
  levels=('memory',),
  make=lambda level, seed, evaluation, settings: Memory(seed),
  frames_per_second=4.0,  # Slow enough to follow.
  has_action_repeats=False,
)
