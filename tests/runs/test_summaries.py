"""Hyperparameters, as TensorBoard reads them."""

from tensorboard import context as tensorboard_context
from tensorboard.backend.event_processing import (
  data_provider,
  plugin_event_multiplexer,
)
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
  api_pb2,
  backend_context,
  get_experiment,
  list_session_groups,
)

from programs.evaluation import results
from programs.runs import flags, metric_files


def read_hparams(folder):
  """Return experiment and session groups of the HPARAMS tab."""
  multiplexer = plugin_event_multiplexer.EventMultiplexer()
  multiplexer.AddRunsFromDirectory(str(folder))
  multiplexer.Reload()
  provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
  context = backend_context.Context(
    base_plugin.TBContext(data_provider=provider)
  )
  asked = tensorboard_context.RequestContext()
  experiment = get_experiment.Handler(asked, context, '').run()
  request = api_pb2.ListSessionGroupsRequest(
    start_index=0,
    slice_size=10,
    allowed_statuses=[api_pb2.STATUS_UNKNOWN],
    col_params=[
      api_pb2.ColParams(metric=metric.name)
      for metric in experiment.metric_infos
    ],
  )
  groups = list_session_groups.Handler(asked, context, '', request).run()
  return experiment, groups.session_groups


def configure(directory, **given):
  return flags.resolve({'logdir': str(directory), **given})


def test_the_configuration_is_in_the_hparams_tab(tmp_path):
  for name, rate in (('a', 0.5), ('b', 0.25)):
    config = configure(tmp_path / name, learning_rate=rate, lstm=True)
    metric_files.write_hyperparameters(config)
    evaluations = metric_files.EvaluationMetrics(config.directory)
    level = results.LevelResult('catch', [rate], [9], 9)
    evaluations.add(7, [level.summary()], results.summarise([level]))
    evaluations.close()
    learner = metric_files.make_logger(config.directory, 'learner')
    learner.write({'frames': 7, 'episode_return': 2 * rate})
    learner.close()
  experiment, groups = read_hparams(tmp_path)
  types = {info.name: info.type for info in experiment.hparam_infos}
  fields = {
    name: value
    for each in config.to_dict().values()
    for name, value in each.items()
  }
  assert set(types) == set(fields) - {'logdir'}
  assert types['learning_rate'] == api_pb2.DATA_TYPE_FLOAT64
  assert types['seed'] == api_pb2.DATA_TYPE_FLOAT64
  assert types['lstm'] == api_pb2.DATA_TYPE_BOOL
  assert types['network'] == api_pb2.DATA_TYPE_STRING
  assert len(groups) == 2
  for group in groups:
    rate = group.hparams['learning_rate'].number_value
    (session,) = group.sessions
    assert session.name == ('a' if rate == 0.5 else 'b') + '/tensorboard'
    assert group.hparams['lstm'].bool_value is True
    assert group.hparams['network'].string_value == fields['network']
    assert {
      (value.name.group, value.name.tag): (value.value, value.training_step)
      for value in session.metric_values
    }.items() >= {
      ('evaluator', 'evaluator/MeanReturn'): (rate, 7),
      ('learner', 'learner/EpisodeReturn'): (2 * rate, 7),
    }.items()


def test_another_start_of_a_run_replaces_what_was_written(tmp_path):
  for rate in (0.5, 0.25):
    metric_files.write_hyperparameters(configure(tmp_path, learning_rate=rate))
    other = tmp_path / 'tensorboard/levels/events.out.tfevents.1'
    other.parent.mkdir(exist_ok=True)
    other.touch()
  _, (group,) = read_hparams(tmp_path / 'tensorboard')
  assert group.hparams['learning_rate'].number_value == 0.25
  assert other.exists()
