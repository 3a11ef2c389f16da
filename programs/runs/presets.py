"""Presets: default values by level, which flags override."""

from collections.abc import Mapping
from typing import Any

from environments import suites, vizdoom

# The paper's Atari experiments: Table G.1 of arXiv 1802.01561v3, and section
# 5.3.2 for the 200M frames. Ours: the queue holds one batch, and actors step 16
# environments each.
_ATARI = {
  'total_environment_frames': 200_000_000,
  'batch_size': 32,
  'unroll_length': 20,
  'queue_capacity': 32,
  'discounting': 0.99,
  'baseline_cost': 0.5,
  'entropy_cost': 0.01,
  'reward_clipping': 'abs_one',
  'learning_rate': 0.0006,
  'decay': 0.99,
  'momentum': 0.0,
  'epsilon': 0.01,
  'max_gradient_norm': 40.0,
  'lstm': False,
  'num_actors': 2,
  'num_envs_per_actor': 16,
  'evaluation_period_frames': 2_500_000,
}

# The paper's DeepMind Lab experiments (Table D.3) and the reference's defaults.
_DMLAB = {
  'network': 'deep',
  'unroll_length': 100,
  'discounting': 0.99,
  'baseline_cost': 0.5,
  'decay': 0.99,
  'momentum': 0.0,
  'epsilon': 0.1,
  'max_gradient_norm': 0.0,
  'num_action_repeats': 4,
  'evaluation_period_frames': 10_000_000,
}

# Ours, for the embedded levels: one bit or one ball is learned in a minute.
_EMBEDDED = {
  'network': 'mlp',
  'lstm': False,
  'total_environment_frames': 500_000,
  'batch_size': 32,
  'unroll_length': 20,
  'queue_capacity': 32,
  'entropy_cost': 0.003,
  'learning_rate': 0.01,
  'epsilon': 0.1,
  'max_gradient_norm': 40.0,
  'num_actors': 2,
  'num_envs_per_actor': 16,
  'evaluation_period_frames': 100_000,
  'test_num_episodes': 100,
}

# Ours, tuned for doom_basic on two cores: small batches, centred images, and an
# epsilon so small that each weight moves by about the learning rate.
_DOOM = {
  'network': 'shallow',
  'center_frames': True,
  'total_environment_frames': 4_000_000,
  'batch_size': 8,
  'unroll_length': 20,
  'queue_capacity': 8,
  'discounting': 0.99,
  'entropy_cost': 0.01,
  'learning_rate': 0.0005,
  'epsilon': 0.00001,
  'max_gradient_norm': 40.0,
  'num_actors': 2,
  'num_envs_per_actor': 8,
  'evaluation_period_frames': 0,
  'test_num_episodes': 100,
}

# The reference's experiment.py (google-deepmind/scalable_agent, 6c0c8a7), which
# never evaluates while training; other defaults are those of our dataclasses.
_REFERENCE = {'evaluation_period_frames': 0}

PRESETS: Mapping[str, Mapping[str, Any]] = {
  'catch': _EMBEDDED,
  'memory': {**_EMBEDDED, 'lstm': True},
  'atari_expert': {**_ATARI, 'network': 'shallow_atari'},
  # Ours: solved Pong within an hour on two cores. Four times the learner steps
  # of the paper's recipe; an epsilon (one the paper tried for DeepMind Lab,
  # Table D.1) so small that each weight moves by about the learning rate;
  # little entropy, since advantages are small in Pong; half the environments,
  # which halves the policy lag; centred images, without which most filters of
  # the first layer die.
  'atari_pong_2core': {
    **_ATARI,
    'network': 'shallow_atari',
    'center_frames': True,
    'total_environment_frames': 22_000_000,
    'batch_size': 8,
    'queue_capacity': 8,
    'num_envs_per_actor': 8,
    'entropy_cost': 0.001,
    'learning_rate': 0.0005,
    'epsilon': 0.00001,
    'evaluation_period_frames': 0,
    'test_num_episodes': 20,
  },
  'doom': _DOOM,
  # Its rewards, -1 per tic and about 100 for the kill, would be clipped to 1:
  # Sample Factory scales them by 0.01.
  'doom_basic': {
    **_DOOM,
    'total_environment_frames': 2_000_000,
    'reward_scale': 0.01,
  },
  # One network for 57 games: section 5.3.2, the deep feed-forward network, all
  # 18 actions and 200M frames per game. Ours: one environment per game.
  'atari_multi_task': {
    **_ATARI,
    'network': 'deep_atari',
    'full_action_set': True,
    'total_environment_frames': 57 * 200_000_000,
    'num_envs_per_actor': 29,
  },
  # The reference's README, training on explore_goal_locations_small.
  'dmlab_single': {
    **_DMLAB,
    'total_environment_frames': 1_000_000_000,
    'num_actors': 48,
    'batch_size': 32,
    'queue_capacity': 1,
    'entropy_cost': 0.00025,
    'learning_rate': 0.00048,
    'reward_clipping': 'abs_one',
  },
  # The reference's README, training on DMLab-30.
  'dmlab30': {
    **_DMLAB,
    'total_environment_frames': 10_000_000_000,
    'num_actors': 150,
    'batch_size': 32,
    'queue_capacity': 1,
    'entropy_cost': 0.0033391318945337044,
    'learning_rate': 0.00031866995608948655,
    'reward_clipping': 'soft_asymmetric',
  },
  'reference': _REFERENCE,
  # Its fork with Atari and ViZDoom (alex-petrenko/scalable_agent, 0405504).
  'reference_fork': {
    **_REFERENCE,
    'network': 'benchmark',
    'batch_size': 64,
    'unroll_length': 32,
    'checkpoint_period_seconds': 6000.0,
  },
}


def choose(level_name: str) -> str:
  """Return the name of a level's preset."""
  first, *others = suites.split(level_name)
  if first in PRESETS:
    return first
  if first.startswith(suites.ATARI_PREFIX):
    return 'atari_multi_task' if others else 'atari_expert'
  if first in vizdoom.SCENARIOS:
    return 'doom'
  return 'dmlab30' if level_name == 'dmlab30' else 'dmlab_single'
