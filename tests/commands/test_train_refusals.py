"""Refusals of `train`, and runs that have finished."""

import command_lines
import pytest

from programs import startup
from programs.commands import train
from programs.runs import flags


@pytest.fixture
def finished(tmp_path):
  """Directory of a run that has finished."""
  configuration = flags.resolve({'logdir': str(tmp_path / 'run'), 'lstm': True})
  directory = configuration.directory
  directory.write_config(configuration.to_dict())
  total = configuration.agent.total_environment_frames
  directory.update_meta(finished_frames=total)
  return directory.path


def snapshot(directory):
  """Return every file with its time of change."""
  return {
    path: path.stat().st_mtime_ns
    for path in directory.rglob('*')
    if path.is_file() and path.name != '.lock'
  }


@pytest.mark.parametrize('more', [(), ('--learning_rate=0.5',)])
def test_a_finished_run_is_left_as_it_is(finished, more):
  before = snapshot(finished)
  status, output = command_lines.run_main(train, f'--logdir={finished}', *more)
  assert status == 0
  assert 'This run has finished' in output
  assert snapshot(finished) == before


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--on_existing=fail', ('on_existing=fail', 'must not hold a run')),
    ('--network=shallow_atari', ("network must stay 'mlp'", 'shallow_atari')),
    ('--lstm=false', ('lstm must stay True', 'on_existing=restart')),
    ('--full_action_set', ('full_action_set must stay False', 'got True')),
  ],
)
def test_a_change_that_a_run_cannot_make_is_refused(finished, flag, words):
  before = snapshot(finished)
  status, output = command_lines.run_main(train, f'--logdir={finished}', flag)
  assert status == 2
  assert all(word in ' '.join(output.split()) for word in words), output
  assert snapshot(finished) == before


BAD_FLAGS = [
  ('--level_name=atari_pongg', ('level_name', 'atari_pong', "'atari_pongg'")),
  ('--unroll_length=0', ('unroll_length', 'greater than 0', 'got 0')),
  ('--network=foo', ('network', 'one of deep', "'foo'")),
  ('--on_existing=ask', ('on_existing', "'resume', 'fail', 're", "'ask'")),
  ('--network=deep', ('lstm must be true', 'network=deep')),
  ('--network=deep_atari', ('network deep_atari', '(10, 5)')),
  ('--preset=foo', ('preset must be one of catch', "got 'foo'")),
  ('--level_name=catch,memory', ('same observations and actions',)),
  ('--replay_proportion=0.3', ('multiple of 1/32 below 1', 'got 0.3')),
  ('--level_name=rooms_watermaze', ('needs DeepMind Lab',)),
]


@pytest.mark.parametrize(('flag', 'words'), BAD_FLAGS, ids=lambda x: x[:20])
@pytest.mark.parametrize('has_logdir', [True, False])
def test_a_bad_flag_ends_it_before_anything_is_launched(
  tmp_path, monkeypatch, flag, words, has_logdir
):
  monkeypatch.chdir(tmp_path)
  given = [f'--logdir={tmp_path / "run"}'] if has_logdir else []
  status, output = command_lines.run_main(train, *given, flag)
  assert status == 2
  sentence = output.splitlines()[-1]
  assert sentence.startswith('./impala train: ')
  assert all(word in sentence for word in words), sentence
  assert list(tmp_path.iterdir()) == []


def test_bfloat16_needs_a_processor_that_has_it(tmp_path, monkeypatch):
  monkeypatch.setattr(startup, 'vector_instructions', lambda: ['avx', 'avx2'])
  level = ('--level_name=doom_basic', '--precision=bfloat16')
  status, output = command_lines.run_main(
    train, f'--logdir={tmp_path / "run"}', *level
  )
  assert status == 2
  assert 'precision must be float32 on a processor without AVX-512' in output
  assert not (tmp_path / 'run').exists()
