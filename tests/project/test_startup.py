"""The process environment, in new processes."""

import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

from programs import startup

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SET_BY_PREPARE = (
  'TF_ENABLE_ONEDNN_OPTS',
  'TF_CPP_MIN_LOG_LEVEL',
  'TF2_BEHAVIOR',
  'ALE_PY_ROM_DIR',
  'LD_LIBRARY_PATH',
  'no_proxy',
  'NO_PROXY',
)


def run_python(code, python=sys.executable, **variables):
  """Run code in the checkout without the variables that prepare() sets."""
  environment = {
    name: value
    for name, value in os.environ.items()
    if name not in _SET_BY_PREPARE and not name.lower().endswith('_proxy')
  }
  return subprocess.run(
    [str(python), '-c', code],
    cwd=_ROOT,
    env={**environment, **variables},
    capture_output=True,
    text=True,
    timeout=60,
  )


def read_variable(name, **variables):
  code = f'import programs, os; print(os.environ.get({name!r}))'
  result = run_python(code, **variables)
  assert result.returncode == 0, result.stderr
  return result.stdout.strip()


def test_onednn_and_log_level_are_set():
  assert read_variable('TF_ENABLE_ONEDNN_OPTS') == '1'
  assert read_variable('TF_CPP_MIN_LOG_LEVEL') == '2'


def test_what_the_user_set_stays(tmp_path):
  (tmp_path / 'impala' / 'roms').mkdir(parents=True)
  variables = {'TF_ENABLE_ONEDNN_OPTS': '0', 'ALE_PY_ROM_DIR': '/my/roms'}
  for name, value in variables.items():
    read = read_variable(name, XDG_DATA_HOME=str(tmp_path), **variables)
    assert read == value


def test_loopback_is_exempt_from_proxies():
  value = read_variable(
    'no_proxy', HTTPS_PROXY='http://proxy:3128', NO_PROXY='intranet,::1'
  )
  assert value == 'intranet,::1,localhost,127.0.0.1'


def test_rom_directory_is_named_once_it_is_there(tmp_path):
  variable = {'XDG_DATA_HOME': str(tmp_path)}
  assert read_variable('ALE_PY_ROM_DIR', **variable) == 'None'
  directory = tmp_path / 'impala' / 'roms'
  directory.mkdir(parents=True)
  assert read_variable('ALE_PY_ROM_DIR', **variable) == str(directory)


def test_preparing_needs_the_standard_library_only():
  code = 'import sys; sys.flags.no_site or sys.exit(1); import programs'
  result = subprocess.run([sys.executable, '-S', '-c', code], cwd=_ROOT)
  assert result.returncode == 0


def test_another_python_is_an_error(monkeypatch):
  monkeypatch.setattr(sys, 'version_info', (3, 11, 2, 'final', 0))
  with pytest.raises(SystemExit, match=r'Python 3\.10 only.*\./impala'):
    startup.prepare()


@pytest.mark.parametrize(
  'system, machine', [('Linux', 'aarch64'), ('Darwin', 'x86_64')]
)
def test_another_machine_is_an_error(monkeypatch, system, machine):
  uname = os.uname_result((system, 'host', '1', '1', machine))
  monkeypatch.setattr(os, 'uname', lambda: uname)
  with pytest.raises(SystemExit, match=rf'{system} {machine}.*x86-64 only'):
    startup.prepare()


@pytest.fixture(scope='module')
def static_python(tmp_path_factory):
  """A statically linked Python, as conda's, with a shared library in lib/."""
  config = pathlib.Path(sysconfig.get_config_var('LIBPL') or '')
  archive, main = config / 'libpython3.10.a', config / 'python.o'
  shared = startup.find_libpython()
  if not (archive.is_file() and main.is_file() and shared):
    pytest.skip('this Python was installed without its static library')
  prefix = tmp_path_factory.mktemp('static')
  (prefix / 'bin').mkdir()
  (prefix / 'lib').mkdir()
  standard_library = pathlib.Path(sysconfig.get_path('stdlib'))
  (prefix / 'lib' / 'python3.10').symlink_to(standard_library)
  (prefix / 'lib' / startup.LIBPYTHON).symlink_to(shared)
  python = prefix / 'bin' / 'python3.10'
  link = ['gcc', '-rdynamic', '-o', str(python), str(main)]
  link += ['-Wl,--whole-archive', str(archive), '-Wl,--no-whole-archive']
  link += ['-lpthread', '-ldl', '-lutil', '-lm']
  built = subprocess.run(link, capture_output=True, text=True)
  if built.returncode:
    pytest.skip(f'gcc cannot link a Python here: {built.stderr[-200:]}')
  return python


_PACKAGES = sysconfig.get_path('purelib')
_IMPORT = 'import courier'


def test_libpython_is_found_here_and_by_children(static_python):
  code = f"""
import programs
{_IMPORT}
import subprocess, sys
sys.exit(subprocess.call([sys.executable, '-c', {_IMPORT!r}]))
"""
  result = run_python(code, static_python, PYTHONPATH=_PACKAGES)
  assert result.returncode == 0, result.stderr
