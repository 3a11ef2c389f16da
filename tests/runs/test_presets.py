"""The presets against the paper's tables.

`test_experiment.py` has them against the reference's command lines.
"""

import pytest

from environments import suites
from programs.runs import flags, presets

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
  """Return field -> value of a configuration."""
  groups = flags.resolve({'logdir': '/a', **given}).to_dict()
  return {name: v for group in groups.values() for name, v in group.items()}


def assert_has(found, expected):
  assert {name: found[name] for name in expected} == expected


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
