import dataclasses
import pickle
import re

import pytest

import environments
from programs.runs import flags, presets

FIELDS = [
  field
  for config_class in flags.GROUPS.values()
  for field in dataclasses.fields(config_class)
]


@pytest.fixture
def parser():
  made = flags.make_parser('train', 'Trains.')
  flags.add_configuration(made)
  return made


def parse(parser, *arguments):
  return vars(parser.parse_args(arguments))


@pytest.mark.parametrize('field', FIELDS, ids=lambda f: f.name)
def test_each_field_has_a_flag_of_its_type(parser, field):
  given = parse(parser, f'--{field.name}={field.default}')
  assert given == {field.name: field.default}
  assert type(given[field.name]) is type(field.default)


def test_help_lists_every_field_with_unit_and_default(parser, monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  text = ' '.join(parser.format_help().split())
  for field in FIELDS:
    entry = text.partition(f' --{field.name} ')[2].partition(' --')[0]
    assert field.metadata['help'] in entry
    assert field.metadata['unit'] in entry
    if rule := field.metadata.get('rule'):
      assert rule.text in entry
    assert re.search(rf'default {re.escape(shown(field.default))}[];]', entry)
  assert 'default 0.00048; catch, memory 0.01' in text


def shown(value):
  if isinstance(value, bool):
    return str(value).lower()
  return repr(value) if isinstance(value, str) else f'{value:_}'


@pytest.mark.parametrize(
  ('lines', 'value'),
  [
    (('--lstm', '--lstm=true', '--lstm=True', '--lstm=1'), True),
    (('--lstm=false', '--lstm=FALSE', '--lstm=0', '--lstm false'), False),
  ],
)
def test_switches(parser, lines, value):
  for line in lines:
    assert parse(parser, *line.split()) == {'lstm': value}


@pytest.mark.parametrize(
  ('argument', 'words'),
  [
    ('--lstm=maybe', ('lstm', 'must be true or false', "'maybe'")),
    ('--epsilon=abc', ('epsilon', 'float', "'abc'")),
    ('--num_actors=1.5', ('num_actors', 'int', "'1.5'")),
    ('--num_actor=1', ('num_actor',)),
    ('--num_act=1', ('num_act',)),
  ],
)
def test_wrong_values_and_flags_are_refused(parser, capsys, argument, words):
  with pytest.raises(SystemExit) as caught:
    parse(parser, argument)
  assert caught.value.code == 2
  message = capsys.readouterr().err.splitlines()[-1]
  assert all(word in message for word in words), message


def test_order_of_authority():
  stored = flags.resolve(
    {'learning_rate': 0.5, 'num_actors': 7, 'logdir': '/a'}
  ).to_dict()
  config = flags.resolve({'num_actors': 3, 'logdir': '/b'}, stored)
  assert config.agent.learning_rate == 0.5  # Stored, above the preset.
  assert config.run.num_actors == 3  # Given, above what is stored.
  assert config.run.logdir == '/b'
  assert config.agent.batch_size == presets.PRESETS['catch']['batch_size']


def test_a_stored_run_of_fewer_fields_is_completed():
  stored = flags.resolve({'learning_rate': 0.5}).to_dict()
  del stored['agent']['entropy_cost'], stored['environment']
  config = flags.resolve({}, stored)
  assert config.agent.learning_rate == 0.5
  assert config.agent.entropy_cost == presets.PRESETS['catch']['entropy_cost']
  assert config.environment == environments.Settings()


def test_a_stored_option_that_went_is_ignored_and_named():
  stored = flags.resolve({}).to_dict()
  stored['environment']['atari_engine'] = 'envpool'
  assert flags.resolve({}, stored) == flags.resolve({})
  assert flags.unknown(stored) == {'atari_engine': 'envpool'}


def test_the_stored_level_chooses_the_preset():
  stored = {'run': {'level_name': 'atari_pong'}}
  assert flags.resolve({}, stored).agent.network == 'shallow_atari'


def test_changes():
  stored = flags.resolve({'logdir': '/a'}).to_dict()
  assert not flags.changes(stored, flags.resolve({'logdir': '/a'}))
  del stored['agent']['seed']  # Missing: no change.
  config = flags.resolve(
    {'logdir': '/a', 'seed': 5, 'num_actors': 9, 'full_action_set': True}
  )
  assert flags.changes(stored, config) == [
    ('num_actors', presets.PRESETS['catch']['num_actors'], 9),
    ('full_action_set', False, True),
  ]


def test_nodes_get_the_specs_with_their_configuration(monkeypatch):
  launched = flags.resolve({'level_name': 'memory'})
  wanted = launched.spec
  in_node = pickle.loads(pickle.dumps(launched))
  monkeypatch.delattr(environments, 'spec')
  assert in_node.spec == wanted
  assert in_node == launched
