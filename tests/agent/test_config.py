import dataclasses

import pytest

from agents.impala import config as config_lib


@pytest.mark.parametrize(
  ('field', 'value', 'rule'),
  [
    ('unroll_length', 0, 'greater than 0'),
    ('batch_size', -3, 'greater than 0'),
    ('discounting', 1.5, 'from 0 to 1'),
    ('entropy_cost', -1.0, 'at least 0'),
    ('reward_scale', 0.0, 'greater than 0'),
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


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'network': 'deep'}, r'lstm must be true.*deep .*deep_atari'),
    ({'network': 'mlp', 'center_frames': True}, 'center_frames must be false'),
    (
      {'network': 'mlp', 'precision': 'bfloat16'},
      "precision must be float32.*'bfloat16'",
    ),
  ],
)
def test_what_a_network_cannot_have_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    config_lib.ImpalaConfig(lstm=False, **given)


def test_every_field_can_be_explained():
  for field in dataclasses.fields(config_lib.ImpalaConfig):
    assert field.metadata['help'].endswith('.'), field.name
    assert 'unit' in field.metadata
