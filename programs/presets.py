"""Defaults by domain: what replaces a dataclass's default for a level.

A preset only sets defaults; a flag overrides it.
"""

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
  # Ours: the smallest task that shows learning, solved in about a minute.
  'catch': {
    'network': 'mlp',
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
  },
  # Table G.1 of the IMPALA paper (arXiv 1802.01561v3) and section 5.3.2 for the
  # 200M frames. Ours: the queue holds one batch, actors step 16 environments.
  'atari_expert': {
    'network': 'shallow_atari',
    'total_environment_frames': 200_000_000,
    'batch_size': 32,
    'unroll_length': 20,
    'queue_capacity': 32,
    'discounting': 0.99,
    'baseline_cost': 0.5,
    'entropy_cost': 0.01,
    'reward_clipping': 'abs_one',
    'learning_rate': 0.0006,
    'momentum': 0.0,
    'epsilon': 0.01,
    'max_gradient_norm': 40.0,
    'num_actors': 2,
    'num_envs_per_actor': 16,
    'evaluation_period_frames': 2_500_000,
  },
}


def preset_name(level_name: str) -> str:
  """The preset that a level's name chooses."""
  return 'catch' if level_name == 'catch' else 'atari_expert'
