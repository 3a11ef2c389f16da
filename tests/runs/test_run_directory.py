import json
import os
import pathlib
import subprocess
import threading

import pytest

import environments
from agents.impala import config as config_lib
from programs.runs import provenance, run_config, run_directory
from programs.views import reading

ROOT = pathlib.Path(__file__).absolute().parents[2]


@pytest.fixture
def directory(tmp_path):
  return run_directory.RunDirectory(tmp_path / 'run')


def make_configuration(logdir=''):
  return run_config.Configuration(
    run=run_config.RunConfig(level_name='atari_pong', logdir=str(logdir)),
    agent=config_lib.ImpalaConfig(learning_rate=1e-4, lstm=True),
    environment=environments.Settings(max_noops=0),
  )


def test_a_configuration_survives_json(directory):
  configuration = make_configuration(directory.path)
  directory.write_config(configuration.to_dict())
  assert directory.is_run()
  stored = directory.read_config()
  assert stored == configuration.to_dict()
  assert run_config.Configuration.from_dict(stored) == configuration
  assert run_config.Configuration.from_dict(stored).directory == directory


def test_fields_that_are_not_there_take_their_default_and_others_are_ignored():
  configuration = run_config.Configuration.from_dict(
    {'agent': {'seed': 5}, 'environment': {'atari_engine': 'envpool'}}
  )
  assert configuration.agent == config_lib.ImpalaConfig(seed=5)
  assert configuration.run == run_config.RunConfig()
  assert configuration.environment == environments.Settings()


def test_write_json_is_never_half(tmp_path):
  path = tmp_path / 'new' / 'content.json'
  contents = [{'value': digit * 100_000} for digit in 'ab']
  run_directory.write_json(path, contents[0])
  over = threading.Event()

  def write():
    while not over.is_set():
      for content in contents:
        run_directory.write_json(path, content)

  writer = threading.Thread(target=write)
  writer.start()
  try:
    for _ in range(300):
      assert json.loads(path.read_text()) in contents
  finally:
    over.set()
    writer.join()
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_facts_are_added_to_meta(directory):
  assert directory.read_meta() == {}
  directory.update_meta(seed=1, ended=None)
  directory.update_meta(ended='now')
  assert directory.read_meta() == {'seed': 1, 'ended': 'now'}
  directory.meta_file.write_text('{"seed"')
  assert directory.read_meta() == {}


def test_a_directory_without_a_configuration_is_no_run(directory):
  assert not directory.is_run()
  with pytest.raises(
    run_directory.RunError, match=r'no run directory.*config\.json'
  ):
    directory.read_config()


@pytest.mark.parametrize('text', ['', '{"run": {', '[1]', '{"run": 1}'])
def test_a_damaged_configuration_is_named(directory, text):
  directory.write_config(make_configuration().to_dict())
  directory.config_file.write_text(text)
  with pytest.raises(run_directory.RunError) as caught:
    directory.read_config()
  assert f'{directory.config_file} is damaged' in str(caught.value)


def test_a_second_start_is_refused(directory):
  assert not reading.is_in_use(directory.path)
  with directory.locked():
    assert reading.is_in_use(directory.path)
    words = f'{directory.path} is in use by process {os.getpid()}.*--logdir'
    with pytest.raises(run_directory.RunError, match=words), directory.locked():
      pass
  assert not reading.is_in_use(directory.path)
  with directory.locked():
    pass


def test_the_git_revision_is_the_projects(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  facts = provenance.describe_start(seed=7)
  json.dumps(facts)
  revision = facts['git_revision']
  if not (ROOT / '.git').exists():
    assert revision == ''  # As in an image.
    return
  head = subprocess.run(
    ['git', '-C', str(ROOT), 'rev-parse', 'HEAD'],
    capture_output=True,
    text=True,
    check=True,
  ).stdout.strip()
  assert revision.rstrip('+') == head


def test_a_watchdog_needs_the_monitor():
  with pytest.raises(ValueError, match='monitor must be true'):
    run_config.RunConfig(watchdog='stop', monitor=False)
  run_config.RunConfig(watchdog='warn', monitor=False)
