"""Atari games of a whole batch stepped in C++, by EnvPool.

https://github.com/sail-sg/envpool, `envpool/atari/atari_env.h`. It is built
with the emulator that `environments.atari` drives and is given the same ROMs:
where settings agree, both show the same pictures and rewards.
"""

import contextlib
import io
import math
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from dm_env import specs

import environments
from environments import atari, batch, suites

# EnvPool imports gym, which prints a banner into the log of every actor.
with contextlib.redirect_stderr(io.StringIO()):
  from envpool import atari as pools

_LAST = 2  # In EnvPool's step_type, which is dm_env's.


class AtariBatch:
  """N environments of Atari games, as `batch.EnvironmentBatch` shows them.

  Observations, actions, rewards, lives and whole games are those of
  `atari.Atari`; this class stacks the pictures, ends training episodes at lost
  lives and adds up games. All but the following is the same for the same
  no-ops, or the same random numbers with sticky actions:

  * A lost life ends the episode after the agent step's last repeat; there the
    step is cut short, so the game is up to `num_action_repeats - 1` raw frames
    behind from then on. No frame or reward is lost in either.
  * Where a game is over before the last two repeats of a step, the newest
    picture of the LAST observation is the one before; there it is the frame of
    the end. It belongs to a termination: nothing is learned from it.
  * A game is truncated after a number of agent steps: `max_episode_frames`
    less one no-op, rounded up to whole steps. There the no-ops of each game
    count, and the last step is cut short.
  * The environments of one game have neighbouring seeds, drawn from all of
    theirs: the same seeds repeat the same episodes, but one environment's
    depend on which others play the game in the batch.
  * A crash of the emulator ends the actor: there are no processes to part them.
  * There is no game without no-ops, and no agent step of one raw frame
    (EnvPool would show the maximum over all frames since the reset).

  Each game has a pool of its own with one thread, which sleeps between steps
  and is bound to no core. The games of a batch are stepped side by side: the
  cores that are free decide how many at once.

  Args:
    level_names: of the games that are played.
    seeds: `[N]`, of the environments. Non-negative.
    levels: `[N]`, index into `level_names` of what each plays.
    settings: how the games are played.

  Raises:
    ValueError: if the games have different actions.
    environments.MissingError: if the ROM of one is not found.
  """

  def __init__(
    self,
    level_names: Sequence[str],
    seeds: Sequence[int],
    levels: Sequence[int],
    settings: environments.Settings,
  ) -> None:
    num = len(seeds)
    self._levels = np.array(levels, np.int32)
    # What evaluation shows to the same network.
    self._spec = environments.spec(level_names[levels[0]], settings)
    self._pools: list[tuple[np.ndarray, Any]] = []
    for level in dict.fromkeys(levels):
      indices = np.flatnonzero(self._levels == level)
      pool = _make_pool(
        level_names[level], [seeds[index] for index in indices], settings
      )
      self._pools.append((indices, pool))
      if pool.action_spec().num_values != self._spec.actions.num_values:
        raise ValueError(
          'action_spec must be equal in every environment, got '
          f'{pool.action_spec()} in {level_names[level]} and '
          f'{self._spec.actions} in {level_names[levels[0]]}'
        )
    self._timestep = batch.BatchTimeStep(
      observation=np.zeros((num, *self._spec.observations.shape), np.uint8),
      reward=np.zeros(num, np.float32),
      discount=np.zeros(num, np.float32),
      start_of_episode=np.zeros(num, np.bool_),
      episode_return=np.full(num, np.nan, np.float32),
      episode_steps=np.zeros(num, np.int32),
      environment_restarts=np.zeros(num, np.int32),
    )
    # The four bytes of a pixel as one number, the newest highest: one shift
    # moves the stack on, 20 times as fast as copying strided bytes.
    self._stacks = self._timestep.observation.view('<u4')[..., 0]
    self._newest = np.zeros(self._stacks.shape, np.uint8)
    self._lives = np.zeros(num, np.int32)
    self._is_terminated = np.zeros(num, np.bool_)
    self._is_game_over = np.ones(num, np.bool_)
    self._is_last = np.ones(num, np.bool_)
    self._returns = np.zeros(num)
    self._steps = np.zeros(num, np.int32)

  @property
  def num_environments(self) -> int:
    """N, the number of environments."""
    return len(self._levels)

  @property
  def levels(self) -> np.ndarray:
    """`[N]` int32, index of the level that each environment plays."""
    return self._levels

  @property
  def observation_spec(self) -> specs.BoundedArray:
    """Spec of one environment's observation, without the batch dimension."""
    return self._spec.observations

  @property
  def action_spec(self) -> specs.DiscreteArray:
    """Spec of one environment's action."""
    return self._spec.actions

  def reset(self) -> batch.BatchTimeStep:
    """Resets every environment, wherever its episode stands.

    As everywhere, the reset after a lost life goes on with the same game.
    """
    plays = self._plays()
    self._is_last[:] = True
    for pool, ids, indices in self._playing(plays):
      self._take(indices, pool.reset(ids))
    return self._show(plays, self._lives)

  def step(self, actions: np.ndarray) -> batch.BatchTimeStep:
    """Takes one agent step in every environment.

    Args:
      actions: `[N]` integers; ignored where the last timestep was LAST and
        before the first one.

    Returns:
      The next timesteps, in arrays that the next call overwrites.

    Raises:
      ValueError: if `actions` has another shape, or an action that is executed
        is out of range.
    """
    actions = np.asarray(actions, np.int32)
    if actions.shape != self._levels.shape:
      raise ValueError(
        f'actions must have shape {self._levels.shape}, got {actions.shape}'
      )
    num_actions = self._spec.actions.num_values
    # EnvPool would read past the end of its table.
    if (((actions < 0) | (actions >= num_actions)) & ~self._is_last).any():
      raise ValueError(
        f'actions must be 0 to {num_actions - 1}, got {actions.tolist()}'
      )
    lives = self._lives.copy()
    plays = self._plays()
    playing = self._playing(plays)
    # Sent to all before the first is waited for: it costs a tenth less time of
    # the processor as well, since fewer waits fall asleep.
    for pool, ids, indices in playing:
      pool.send(actions[indices], ids)
    for pool, _, indices in playing:
      self._take(indices, pool.recv())
    return self._show(plays, lives)

  def close(self) -> None:
    """Ends the pools and their threads."""
    self._pools.clear()

  def _plays(self) -> np.ndarray:
    """`[N]` bool: all but those that wait, since they have just lost a life."""
    return ~self._is_last | self._is_game_over

  def _playing(
    self, plays: np.ndarray
  ) -> list[tuple[Any, np.ndarray, np.ndarray]]:
    """Pools with the environments that play.

    Args:
      plays: `[N]` bool.

    Returns:
      Pools that have any; each with `[n]` int32, which of its environments, and
      `[n]`, where these stand in the batch.
    """
    chosen = [
      (pool, np.flatnonzero(plays[indices]).astype(np.int32), indices)
      for indices, pool in self._pools
    ]
    return [(pool, ids, at[ids]) for pool, ids, at in chosen if ids.size]

  def _take(self, indices: np.ndarray, shown: Any) -> None:
    """Puts what a pool shows where its environments stand in the batch.

    Args:
      indices: `[n]`, where they stand.
      shown: EnvPool's `dm_env.TimeStep` of arrays `[n, ...]`, in this order.
    """
    self._newest[indices] = shown.observation.obs[:, 0]
    self._timestep.reward[indices] = shown.reward
    self._lives[indices] = shown.observation.lives
    self._is_terminated[indices] = shown.observation.terminated
    self._is_game_over[indices] = shown.step_type == _LAST

  def _show(self, plays: np.ndarray, lives: np.ndarray) -> batch.BatchTimeStep:
    """Makes timesteps of what the pools have shown.

    Args:
      plays: `[N]` bool, who played; the others still show what they showed.
      lives: `[N]` before this step.

    Returns:
      The timesteps.
    """
    starts, is_over = self._is_last, self._is_game_over
    is_life_lost = ~starts & (self._lives < lives)
    shown = self._timestep
    shown.reward[starts] = 0.0
    is_ended = is_life_lost | (is_over & self._is_terminated)
    shown.discount[:] = ~(starts | is_ended)
    shown.start_of_episode[:] = starts
    new_games = starts & plays
    self._returns[new_games] = 0.0
    self._steps[new_games] = 0
    self._returns += shown.reward
    self._steps += ~starts
    shown.episode_return[:] = np.where(is_over, self._returns, np.nan)
    shown.episode_steps[:] = np.where(is_over, self._steps, 0)
    np.right_shift(self._stacks, 8, out=self._stacks)
    self._stacks |= np.left_shift(self._newest, 24, dtype=np.uint32)
    self._stacks[starts] = self._newest[starts] * np.uint32(0x01010101)
    self._is_last = is_life_lost | is_over
    return shown


def _make_pool(
  level_name: str, seeds: Sequence[int], settings: environments.Settings
) -> Any:
  """Makes the pool of one game.

  Args:
    level_name: the game.
    seeds: of its environments.
    settings: how it is played.

  Returns:
    EnvPool's `dm_env` interface to as many environments.
  """
  game = level_name.removeprefix(suites.ATARI_PREFIX)
  # Environment i has the pool's seed + i, all below 2^31; 0 might mean 'none'.
  seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
  repeats = settings.num_action_repeats
  with tempfile.TemporaryDirectory() as folder:
    # Where EnvPool reads the ROM, now and once: not the one it brings along.
    rom = pathlib.Path(folder, 'atari', 'roms', f'{game}.bin')
    rom.parent.mkdir(parents=True)
    rom.symlink_to(atari.find_rom(game).absolute())
    config = pools.AtariEnvSpec.gen_config(
      base_path=folder,
      task=game,
      num_envs=len(seeds),
      num_threads=1,
      seed=1 + seed % (2**31 - 1 - len(seeds)),
      stack_num=1,
      frame_skip=repeats,
      noop_max=settings.max_noops,
      use_fire_reset=False,
      max_episode_steps=max(
        1, math.ceil((settings.max_episode_frames - 1) / repeats)
      ),
      full_action_space=settings.full_action_set,
      repeat_action_probability=settings.repeat_action_probability,
    )
    return pools.AtariDMEnvPool(pools.AtariEnvSpec(config))
