"""The launcher, in checkouts with a lock of one small package."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import checkouts
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def first(tmp_path_factory):
  """A checkout after its first start, which installed uv too."""
  folder = tmp_path_factory.mktemp('first') / 'checkout'
  checkout = checkouts.Checkout(folder, checkouts.path_without_uv())
  checkout.first_start = checkout.succeed()
  return checkout


@pytest.fixture(scope='module')
def uv(first):
  [found] = first.folder.glob('.venv.uv/**/bin/uv')
  return found


@pytest.fixture
def checkout(tmp_path, uv):
  """A fresh checkout; uv is on PATH."""
  return checkouts.Checkout(
    tmp_path / 'checkout', f'{uv.parent}:{checkouts.path_without_uv()}'
  )


def slow_uv(tmp_path, checkout, uv, seconds):
  """Return a PATH with a slow uv, and a file that it makes first."""
  mark = tmp_path / 'installing'
  script = f"""
if [[ $1 == pip ]]; then touch '{mark}'; sleep {seconds}; fi
exec '{uv}' "$@"
"""
  folder = checkouts.make_path(tmp_path / 'slow', uv=script)
  return f'{folder}:{checkout.path}', mark


def wait_for(path):
  deadline = time.monotonic() + 30
  while not path.exists():
    assert time.monotonic() < deadline, f'{path} did not appear'
    time.sleep(0.02)


def test_first_start_installs_and_later_ones_are_immediate(first):
  assert 'installing uv' in first.first_start.stderr_text
  assert 'installing into' in first.first_start.stderr_text
  assert first.has('six')
  seconds = []
  for _ in range(5):
    start = time.monotonic()
    assert first.succeed().stderr_text == ''
    seconds.append(time.monotonic() - start)
  assert min(seconds) < 0.3  # With Python's own start.


def test_the_command_runs_where_it_is_called(first, tmp_path):
  link = tmp_path / 'link'
  link.symlink_to(first.folder / 'impala')
  probe = first.succeed('doctor', '--logdir=D', 'a b', cwd=tmp_path)
  assert probe.stdout_text.split('\n')[0] == (
    f"{tmp_path} ['--logdir=D', 'a b'] 1"
  )
  result = subprocess.run([str(link), 'doctor'], cwd='/', capture_output=True)
  assert result.returncode == checkouts.PROBE_STATUS


def test_a_package_of_the_same_name_is_refused(first, tmp_path):
  (tmp_path / 'programs').mkdir()
  (tmp_path / 'programs/__init__.py').touch()
  result = first.run('doctor', cwd=tmp_path)
  assert result.returncode == 1
  assert "a package 'programs' of its own" in result.stderr_text


def test_help_teaches_without_installing(checkout):
  said = [checkout.run(word) for word in ('help', '--help', '-h')]
  script = str(checkout.folder / 'impala')
  said.append(subprocess.run([script], capture_output=True, text=True))
  assert [each.returncode for each in said] == [0] * 4
  shown = said[0].stdout_text
  assert [each.stdout_text for each in said[1:3]] == [shown] * 2
  assert said[3].stdout == shown
  assert re.search('^  train ', shown, re.MULTILINE)
  assert shown.count('  ./impala ') >= 3
  unknown = checkout.run('trian')
  assert unknown.returncode == 2
  assert "there is no command 'trian'" in unknown.stderr_text
  assert not (checkout.folder / '.venv').exists()


def test_two_first_starts_at_once(checkout, tmp_path, uv):
  path, mark = slow_uv(tmp_path, checkout, uv, 2)
  one = checkout.start(path=path)
  wait_for(mark)
  other = checkout.succeed(path=path)
  _, stderr = one.communicate(timeout=60)
  assert one.returncode == checkouts.PROBE_STATUS
  assert 'installing into' in stderr
  assert other.stderr_text == ('impala: waiting for another start to install\n')
  assert checkout.has('six')


@pytest.mark.parametrize('change', ['none before', 'another lock', 'gpu'])
def test_a_killed_installation_is_made_anew(checkout, tmp_path, uv, change):
  if change != 'none before':
    checkout.succeed()
  if change == 'another lock':
    checkout.lock('six', 'iniconfig')
  path, mark = slow_uv(tmp_path, checkout, uv, 60)
  process = checkout.start('gpu' if change == 'gpu' else 'doctor', path=path)
  wait_for(mark)
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate(timeout=60)
  half = checkout.folder / '.venv/half-made'
  half.touch()
  assert 'installing into' in checkout.succeed().stderr_text
  assert not half.exists()
  assert checkout.has('six') == (change != 'gpu')
  assert checkout.has('iniconfig') == (change != 'none before')


def test_changed_lock_is_synced_and_keeps_what_was_added(checkout):
  checkout.succeed()
  added = checkout.folder / '.venv/added-by-the-user'
  added.touch()
  checkout.lock('six', 'iniconfig')
  result = checkout.succeed()
  assert 'requirements.lock has changed' in result.stderr_text
  assert checkout.has('iniconfig') and added.exists()
  assert checkout.succeed().stderr_text == ''


def test_broken_or_moved_venv_is_made_anew(checkout):
  checkout.succeed()
  (checkout.folder / '.venv/bin/python').unlink()
  assert 'installing into' in checkout.succeed().stderr_text
  checkout.folder = checkout.folder.rename(checkout.folder.parent / 'moved')
  assert 'installing into' in checkout.succeed().stderr_text
  script = (checkout.folder / '.venv/bin/activate').read_text()
  assert str(checkout.folder) in script


def test_gpu_makes_venv_anew_and_is_kept_to(checkout):
  checkout.succeed()
  added = checkout.folder / '.venv/added-by-the-user'
  added.touch()
  result = checkout.succeed('gpu')
  assert 'installing into' in result.stderr_text
  assert '6 GB' in result.stderr_text
  assert result.stdout_text.split('\n')[0].endswith(' [] 1')
  # The two builds of TensorFlow share files.
  assert checkout.has('iniconfig') and not checkout.has('six')
  assert not added.exists()
  assert checkout.succeed().stderr_text == ''
  assert checkout.succeed('gpu', 'on').stderr_text == ''
  shutil.rmtree(checkout.folder / '.venv')
  checkout.succeed()
  assert checkout.has('iniconfig') and not checkout.has('six')
  checkout.lock('iniconfig', 'six', file='requirements-gpu.lock')
  result = checkout.succeed()
  assert 'requirements-gpu.lock has changed' in result.stderr_text
  assert 'installing into' in checkout.succeed('gpu', 'off').stderr_text
  assert checkout.has('six') and not checkout.has('iniconfig')
  assert checkout.succeed().stderr_text == ''


@pytest.mark.parametrize(
  'arguments', [('--launch=ray',), ('--logdir', 'x', '--task', '0-7')]
)
def test_ray_is_added_when_it_is_asked_for(checkout, arguments):
  checkout.succeed('doctor', '--launch=local', '--logdir', 'ray')
  assert not checkout.has('iniconfig')
  added = checkout.folder / '.venv/added-by-the-user'
  added.touch()
  result = checkout.succeed('doctor', *arguments)
  assert 'adding Ray' in result.stderr_text
  assert checkout.has('six') and checkout.has('iniconfig') and added.exists()
  assert checkout.succeed().stderr_text == ''
  shutil.rmtree(checkout.folder / '.venv')
  assert 'installing into' in checkout.succeed().stderr_text
  assert checkout.has('six') and checkout.has('iniconfig')


def test_a_package_with_another_hash_is_refused(checkout):
  lock = checkout.folder / 'requirements.lock'
  lock.write_text(re.sub('sha256:....', 'sha256:0000', lock.read_text()))
  result = checkout.run(UV_NO_CACHE='1')
  assert result.returncode == 1
  assert 'could not be installed' in result.stderr_text
  assert not (checkout.folder / '.venv/stamp').exists()


def test_no_package_index_for_uv(checkout):
  result = checkout.run(
    path=checkouts.path_without_uv(),
    PIP_CONFIG_FILE=os.devnull,
    PIP_INDEX_URL='http://127.0.0.1:9/simple',
    PIP_NO_CACHE_DIR='1',
    PIP_RETRIES='0',
  )
  assert result.returncode == 1
  assert 'uv is not on PATH, and no python3' in result.stderr_text


def test_a_python_without_venv_installs_uv_with_pip(checkout, tmp_path):
  base = os.path.realpath(sys.executable)
  script = f'[[ $2 == venv ]] && exit 1\nexec {base} "$@"'
  folder = checkouts.make_path(tmp_path / 'debian', python3=script)
  checkout.succeed(path=f'{folder}:{checkouts.path_without_uv()}')
  assert (checkout.folder / '.venv.uv/lib/bin/uv').is_file()


def test_no_python_3_10(checkout, tmp_path, uv):
  path = checkouts.make_path(tmp_path / 'bare', uv=f'exec \'{uv}\' "$@"')
  result = checkout.run(
    path=path,
    UV_PYTHON_DOWNLOADS='never',
    UV_PYTHON_INSTALL_DIR=str(tmp_path / 'none'),
  )
  assert result.returncode == 1
  assert 'no Python 3.10 is installed' in result.stderr_text


@pytest.mark.parametrize('machine', ['Linux aarch64', 'Darwin x86_64'])
def test_wrong_machine(checkout, tmp_path, machine):
  fake = checkouts.make_path(tmp_path / 'fake', uname=f"echo '{machine}'")
  result = checkout.run(path=f'{fake}:{checkout.path}')
  assert result.returncode == 1
  assert f'this machine is {machine}' in result.stderr_text
  assert not (checkout.folder / '.venv').exists()
