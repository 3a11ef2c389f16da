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


def test_a_network_that_has_an_lstm_cannot_be_without():
  with pytest.raises(ValueError, match=r'lstm must be true.*deep .*deep_atari'):
    config_lib.ImpalaConfig(network='deep', lstm=False)
  for network in ('mlp', 'shallow_atari', 'deep_atari'):
    assert not config_lib.ImpalaConfig(network=network, lstm=False).lstm


def test_only_frames_can_be_centred():
  with pytest.raises(ValueError, match=r'center_frames must be false.*mlp'):
    config_lib.ImpalaConfig(network='mlp', lstm=False, center_frames=True)


def test_only_frames_can_be_less_precise():
  with pytest.raises(
    ValueError, match=r"precision must be float32.*'bfloat16'"
  ):
    config_lib.ImpalaConfig(network='mlp', lstm=False, precision='bfloat16')


def test_every_field_can_be_explained():
  for field in dataclasses.fields(config_lib.ImpalaConfig):
    assert field.metadata['help'].endswith('.'), field.name
    assert 'unit' in field.metadata
