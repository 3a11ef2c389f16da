"""The presets against the paper's tables and the reference's command lines."""

import pytest

from agents.impala import config as config_lib
from environments import suites
from programs import flags, presets

# Defaults of the reference's experiment.py. Not there: momentum and no clipping
# of gradients are its code's.
REFERENCE_FLAGS = {
  'total_environment_frames': 1_000_000_000,
  'batch_size': 2,
  'unroll_length': 100,
  'seed': 1,
  'entropy_cost': 0.00025,
  'baseline_cost': 0.5,
  'discounting': 0.99,
  'reward_clipping': 'abs_one',
  'learning_rate': 0.00048,
  'decay': 0.99,
  'momentum': 0.0,
  'epsilon': 0.1,
  'queue_capacity': 1,
  'max_gradient_norm': 0.0,
  'network': 'deep',
  'rho_threshold': 1.0,
  'pg_rho_threshold': 1.0,
  'c_threshold': 1.0,
  'trace_lambda': 1.0,
  'correction': 'vtrace',
  'loss_reduction': 'sum',
  'optimizer': 'rmsprop',
  'replay_proportion': 0.0,
}

# Table G.1 of the paper, and section 5.3.2.
PAPER_ATARI = {
  'unroll_length': 20,
  'batch_size': 32,
  'discounting': 0.99,
  'baseline_cost': 0.5,
  'entropy_cost': 0.01,
  'learning_rate': 0.0006,
  'momentum': 0.0,
  'epsilon': 0.01,
  'max_gradient_norm': 40.0,
  'reward_clipping': 'abs_one',
  'lstm': False,
  'optimizer': 'rmsprop',
}


def resolve(**given):
  """Field -> value of a run's agent, environment and run settings."""
  groups = flags.resolve({'logdir': '/a', **given}).to_dict()
  return {name: v for group in groups.values() for name, v in group.items()}


def assert_has(found, expected):
  assert {name: found[name] for name in expected} == expected


def test_the_defaults_are_the_command_line_of_the_reference():
  config = config_lib.ImpalaConfig()
  assert_has(
    {name: getattr(config, name) for name in REFERENCE_FLAGS}, REFERENCE_FLAGS
  )


def test_dmlab_single_is_the_recipe_of_the_reference():
  found = resolve(level_name='explore_goal_locations_small')
  expected = {
    **REFERENCE_FLAGS,
    'preset': 'dmlab_single',
    'num_actors': 48,
    'batch_size': 32,
    'num_action_repeats': 4,
  }
  assert_has(found, expected)


def test_dmlab30_is_the_recipe_of_the_reference():
  found = resolve(level_name='dmlab30')
  expected = {
    **REFERENCE_FLAGS,
    'preset': 'dmlab30',
    'num_actors': 150,
    'batch_size': 32,
    'entropy_cost': 0.0033391318945337044,
    'learning_rate': 0.00031866995608948655,
    'total_environment_frames': 10_000_000_000,
    'reward_clipping': 'soft_asymmetric',
  }
  assert_has(found, expected)


def test_atari_expert_is_the_table_of_the_paper():
  found = resolve(level_name='atari_breakout')
  assert_has(
    found,
    {
      **PAPER_ATARI,
      'preset': 'atari_expert',
      'network': 'shallow_atari',
      'total_environment_frames': 200_000_000,
      'full_action_set': False,
      'num_action_repeats': 4,
      'max_noops': 30,
    },
  )


def test_atari_multi_task_is_the_table_with_the_deep_network_and_all_actions():
  for level_name in ('atari57', 'atari_pong,atari_breakout'):
    assert_has(
      resolve(level_name=level_name),
      {
        **PAPER_ATARI,
        'preset': 'atari_multi_task',
        'network': 'deep_atari',
        'full_action_set': True,
      },
    )


@pytest.mark.parametrize('suite', ['atari57', 'dmlab30'])
def test_there_is_an_environment_for_each_level_of_a_suite(suite):
  configuration = flags.resolve({'level_name': suite})
  levels = len(suites.split(suite))
  run = configuration.run
  assert run.num_actors * run.num_envs_per_actor >= levels
  with pytest.raises(
    ValueError, match=f'must be at least {levels}.*got 1 x 29'
  ):
    flags.resolve(
      {'level_name': suite, 'num_actors': 1, 'num_envs_per_actor': 29}
    )


@pytest.mark.parametrize(
  ('level_name', 'preset'),
  [
    ('catch', 'catch'),
    ('memory', 'memory'),
    ('rooms_watermaze', 'dmlab_single'),
    ('rooms_watermaze,rooms_keys_doors_puzzle', 'dmlab_single'),
  ],
)
def test_the_level_chooses(level_name, preset):
  assert presets.choose(level_name) == preset


def test_a_preset_that_is_asked_for_and_flags_above_it():
  found = resolve(
    level_name='atari_pong', preset='atari_multi_task', batch_size=7
  )
  assert found['network'] == 'deep_atari'
  assert found['batch_size'] == 7
  with pytest.raises(ValueError, match=r"preset must be one of catch.*'foo'"):
    resolve(preset='foo')


def test_a_resumed_run_keeps_its_preset():
  stored = flags.resolve(
    {'level_name': 'atari_pong', 'preset': 'atari_multi_task', 'logdir': '/a'}
  ).to_dict()
  assert flags.resolve({}, stored).to_dict() == stored
