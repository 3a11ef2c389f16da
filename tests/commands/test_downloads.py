"""Downloads of ROMs and scenarios, from the real package index."""

import os
import pathlib
import subprocess
import sys

import pytest

import environments
from programs.commands import downloads

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*arguments, **variables):
  return subprocess.run(
    [sys.executable, '-m', 'programs.commands.fetch', *arguments],
    cwd=_ROOT,
    env={**os.environ, **variables},
    capture_output=True,
    text=True,
    timeout=120,
  )


def run_roms(*arguments, **variables):
  return run('roms', *arguments, **variables)


@pytest.fixture(scope='module')
def fetched(tmp_path_factory):
  """Data folder with ROMs that the command downloaded."""
  data = tmp_path_factory.mktemp('data')
  result = run_roms('--accept_license', XDG_DATA_HOME=str(data))
  assert result.returncode == 0, (
    f'these tests fetch a wheel: is the index reachable?\n{result.stderr}'
  )
  assert downloads.roms().notice in result.stdout
  assert f'Fetched 104 ROM files into {data}/impala/roms' in result.stdout
  return data


def test_every_game_is_fetched_and_nothing_else_is_left(fetched):
  directory = fetched / 'impala/roms'
  assert downloads.missing(downloads.roms(), directory) == []
  assert sorted(os.listdir(directory)) == sorted(downloads.roms().md5s)
  assert len(downloads.roms().md5s) == 104


def test_a_complete_folder_is_left_alone(fetched):
  result = run_roms(
    XDG_DATA_HOME=str(fetched), PIP_INDEX_URL='http://127.0.0.1:9/simple'
  )
  assert result.returncode == 0
  assert result.stdout.startswith('All 104 ROM files')


def test_only_what_is_missing_or_damaged_is_replaced(fetched, tmp_path):
  whole = fetched / 'impala/roms'
  for name in os.listdir(whole):
    (tmp_path / name).write_bytes((whole / name).read_bytes())
  (tmp_path / 'pong.bin').write_bytes(b'damaged')
  (tmp_path / 'breakout.bin').unlink()
  kept = (tmp_path / 'alien.bin').stat().st_mtime_ns
  assert downloads.missing(downloads.roms(), tmp_path) == [
    'breakout.bin',
    'pong.bin',
  ]
  result = run_roms('--accept_license', f'--directory={tmp_path}')
  assert result.returncode == 0, result.stderr
  assert f'export ALE_PY_ROM_DIR={tmp_path}' in result.stdout
  assert downloads.missing(downloads.roms(), tmp_path) == []
  assert (tmp_path / 'alien.bin').stat().st_mtime_ns == kept


def test_nothing_is_fetched_without_consent(tmp_path):
  result = run_roms(f'--directory={tmp_path / "roms"}')
  assert result.returncode == 2
  assert downloads.roms().notice in result.stdout
  assert not (tmp_path / 'roms').exists()


@pytest.mark.parametrize('variable', ['PIP_INDEX_URL', 'UV_DEFAULT_INDEX'])
def test_no_package_index_is_an_error(tmp_path, variable):
  environment = {
    'PIP_CONFIG_FILE': os.devnull,
    'PIP_FIND_LINKS': '',
    'PIP_RETRIES': '0',
    'PIP_NO_CACHE_DIR': '1',
    variable: 'http://127.0.0.1:9/simple',
  }
  result = run_roms(
    '--accept_license', f'--directory={tmp_path}', **environment
  )
  assert result.returncode == 1
  assert 'could not be downloaded: check the network' in result.stderr
  assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
  (tmp_path / 'file').touch()
  result = run_roms('--accept_license', f'--directory={tmp_path}/file/roms')
  assert result.returncode == 1
  assert 'cannot be written' in result.stderr


def test_the_battle_scenario_is_fetched_and_played(tmp_path, monkeypatch):
  monkeypatch.delenv('IMPALA_SCENARIOS_DIR', raising=False)
  result = run('scenarios', '--accept_license', XDG_DATA_HOME=str(tmp_path))
  assert result.returncode == 0, result.stderr
  directory = tmp_path / 'impala/scenarios'
  assert downloads.missing(downloads.scenarios(), directory) == []
  monkeypatch.setenv('IMPALA_SCENARIOS_DIR', str(directory))
  environment = environments.make('doom_battle', 1)
  assert environment.reset().first() and environment.step(17).mid()
  environment.close()


def test_another_wheel_is_refused(tmp_path):
  files = downloads.roms()._replace(sha256='0' * 64)
  with pytest.raises(RuntimeError, match='not be downloaded'):
    downloads.fetch(files, tmp_path)
  assert os.listdir(tmp_path) == []
