import dataclasses

import pytest

from agents.impala import config as config_lib

# Section 1.1 of the reference's flags: experiment.py of scalable_agent.
REFERENCE = {
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
}


def test_defaults_are_the_references():
  config = dataclasses.asdict(config_lib.ImpalaConfig())
  assert {name: config[name] for name in REFERENCE} == REFERENCE


@pytest.mark.parametrize(
  ('field', 'value', 'rule'),
  [
    ('unroll_length', 0, 'greater than 0'),
    ('batch_size', -3, 'greater than 0'),
    ('discounting', 1.5, 'from 0 to 1'),
    ('entropy_cost', -1.0, 'at least 0'),
    ('reward_clipping', 'none', 'one of abs_one, soft_asymmetric'),
    (
      'network',
      'foo',
      'one of deep, shallow, benchmark, deep_atari, shallow_atari, mlp',
    ),
    ('learning_rate', float('nan'), 'greater than 0'),
    ('epsilon', float('nan'), 'greater than 0'),
  ],
)
def test_a_broken_rule_names_field_rule_and_value(field, value, rule):
  with pytest.raises(
    ValueError, match=f'^{field} must be {rule}, got {value!r}'
  ):
    config_lib.ImpalaConfig(**{field: value})


def test_every_field_can_be_explained():
  for field in dataclasses.fields(config_lib.ImpalaConfig):
    assert field.metadata['help'].endswith('.'), field.name
    assert 'unit' in field.metadata
