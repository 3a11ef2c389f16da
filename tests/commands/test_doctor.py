"""The doctor here, on broken installations, and with fake GPU drivers."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from programs import startup
from programs.commands import doctor

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# A fake driver.
_DRIVER = """
int cuInit(unsigned flags) { return %(status)d; }
int cuDeviceGetCount(int *count) { *count = %(count)d; return 0; }
"""
_CHECK = (
  'from programs.commands import doctor; print(*map(tuple, doctor.check_gpu()))'
)
_LOADED = """
import ctypes, os, programs
from programs import startup
for path in startup.CUDA_LIBRARIES:
  name = os.path.basename(path)
  print(name, startup.can_load(name, os.RTLD_NOLOAD))
print(os.environ.get('LD_LIBRARY_PATH', ''))
"""


def run_doctor(**variables):
  return subprocess.run(
    [sys.executable, '-m', 'programs.commands.doctor'],
    cwd=_ROOT,
    env={**os.environ, **variables},
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_this_installation_is_ready():
  result = run_doctor()
  assert result.returncode == 0, result.stdout
  lines = result.stdout.splitlines()
  names = [line[5:19].strip() for line in lines if not line.startswith(' ')]
  for name in ('Python', 'libpython', 'packages', 'oneDNN', 'CPU', '/dev/shm'):
    assert name in names
  for name in ('tensorflow', 'reverb', 'launchpad', 'vizdoom', 'cv2'):
    assert f'ok   {name:<14}imports' in lines
  assert lines[-1] == 'Ready.'
  assert '\x1b' not in result.stdout  # No colours without a terminal.


def finding(check, name):
  return next(each for each in check() if each.name == name)


def broken_module(folder, name, text):
  """Write a module that shadows the installed one; return its folder."""
  (folder / f'{name}.py').write_text(text)
  return str(folder)


@pytest.mark.parametrize(
  'text, said, fix',
  [
    (
      f"raise ImportError('{startup.LIBPYTHON}: cannot open shared object')",
      'cannot open shared object',
      'see libpython',
    ),
    ("raise TypeError('Descriptors cannot')", 'Descriptors cannot', '.venv'),
    ('import os; os.kill(os.getpid(), 11)', 'crashes with signal 11', '.venv'),
  ],
)
def test_a_broken_import_is_reported_with_its_fix(
  tmp_path, monkeypatch, text, said, fix
):
  folder = broken_module(tmp_path, 'reverb', text)
  monkeypatch.setenv('PYTHONPATH', folder)
  found = doctor.check_import('reverb')
  assert found.level == 'FAIL'
  assert said in found.text
  assert fix in found.fix


def test_the_doctor_runs_where_nothing_is_installed():
  code = """
import sys
from programs.commands import doctor
assert [*doctor.check_python()][-1].level == 'FAIL'
assert [*doctor.check_files()]
"""
  command = [sys.executable, '-S', '-c', code]
  assert subprocess.run(command, cwd=_ROOT).returncode == 0


def test_other_versions_than_pinned_are_named(tmp_path, monkeypatch):
  monkeypatch.setattr(doctor, '_ROOT', tmp_path)
  pins = 'numpy==1.0  # old\ngym[atari]==0.26.2\nnot-there==1.2.3\n# x==1\n'
  (tmp_path / 'requirements.txt').write_text(pins)
  found = finding(doctor.check_python, 'packages')
  assert found.level == 'FAIL'
  assert 'numpy 1.23.5 (wanted 1.0), not-there absent' in found.text


def test_missing_roms_are_a_warning_with_the_command(tmp_path, monkeypatch):
  monkeypatch.setenv('ALE_PY_ROM_DIR', str(tmp_path))
  found = finding(doctor.check_files, 'Atari ROMs')
  assert found.level == 'warn'
  assert found.text == f'0 of 104 in {tmp_path}, without Pong'
  assert './impala roms --accept_license' in found.fix


def test_proxies_are_named_with_their_exemptions(monkeypatch):
  for name in [name for name in os.environ if name.lower().endswith('_proxy')]:
    monkeypatch.delenv(name)
  assert finding(doctor.check_system, 'proxies').text == 'none'
  monkeypatch.setenv('https_proxy', 'http://proxy:3128')
  for name in ('no_proxy', 'NO_PROXY'):  # Restored after prepare() set them.
    monkeypatch.setenv(name, '')
  startup.prepare()
  text = finding(doctor.check_system, 'proxies').text
  assert text == 'https_proxy; not for localhost,127.0.0.1,::1'


def compile_library(path, source):
  """Build a shared library with the name of its file."""
  path.parent.mkdir(parents=True, exist_ok=True)
  command = ['gcc', '-shared', '-fPIC', '-xc', '-', '-o', str(path)]
  command.append(f'-Wl,-soname,{path.name}')
  try:
    subprocess.run(command, input=source, text=True, check=True)
  except FileNotFoundError:
    pytest.skip('there is no gcc to build a library with')


def make_driver(folder, status=0, count=1):
  source = _DRIVER % {'status': status, 'count': count}
  compile_library(folder / startup.CUDA_DRIVER, source)
  return folder


@pytest.fixture(scope='module')
def driver(tmp_path_factory):
  """Folder of a driver with one GPU."""
  return make_driver(tmp_path_factory.mktemp('driver'))


@pytest.fixture
def packages(tmp_path):
  """Folder of packages: TensorFlow's CUDA build, NVIDIA's libraries."""
  for path in startup.CUDA_LIBRARIES:
    compile_library(tmp_path / 'nvidia' / path, 'int nothing;')
  metadata = tmp_path / 'tensorflow-2.8.4.dist-info' / 'METADATA'
  metadata.parent.mkdir()
  metadata.write_text('Metadata-Version: 2.1\nName: tensorflow\nVersion: 2.8.4')
  return tmp_path


def run_python(code, library_path='', packages=None, **variables):
  """Run code with this library path and folder of packages."""
  if packages:
    code = f"""
import sysconfig
found = sysconfig.get_path
sysconfig.get_path = lambda name: (
  {str(packages)!r} if name == 'purelib' else found(name))
{code}"""
    variables['PYTHONPATH'] = str(packages)
  hidden = ('CUDA_VISIBLE_DEVICES', 'LD_LIBRARY_PATH')
  before = {k: v for k, v in os.environ.items() if k not in hidden}
  result = subprocess.run(
    [sys.executable, '-c', code],
    cwd=_ROOT,
    env={**before, 'LD_LIBRARY_PATH': str(library_path), **variables},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert result.returncode == 0, result.stderr
  return result.stdout


def find(*arguments, **variables):
  """Return level, text and fix of `check_gpu` in a child process."""
  _, *rest = eval(run_python(_CHECK, *arguments, **variables))
  return tuple(rest)


@pytest.mark.parametrize('status, count', [(0, 0), (100, 1)])
def test_a_driver_without_a_gpu(tmp_path, status, count):
  level, text, fix = find(make_driver(tmp_path, status, count))
  assert (level, fix) == ('info', '')
  assert 'without a GPU' in text


def test_a_gpu_with_the_cpu_build_names_the_command(driver):
  level, text, fix = find(driver)
  assert (level, fix) == ('warn', './impala gpu')
  assert 'build without CUDA' in text


def test_missing_and_damaged_libraries_are_named(driver, packages):
  libraries = [packages / 'nvidia' / path for path in startup.CUDA_LIBRARIES]
  libraries[3].unlink()
  libraries[-1].write_bytes(libraries[-1].read_bytes()[:100])
  level, text, fix = find(driver, packages)
  assert level == 'warn'
  assert text == 'not used: libcufft.so.10, libcudnn.so.8 missing'
  assert './impala gpu' in fix


@pytest.mark.parametrize(
  'devices, level, said',
  [
    ("['/GPU:0']", 'ok', 'used by the learner'),
    ('[]', 'warn', 'not used: the driver is too old'),
    ('os.kill(os.getpid(), 11)', 'warn', 'not used: crashes with signal 11'),
  ],
)
def test_tensorflow_decides(driver, packages, devices, level, said):
  (packages / 'tensorflow.py').write_text(
    f"""
import os, sys
print('the driver is too old', file=sys.stderr)
class config:
  list_physical_devices = lambda kind: {devices}
"""
  )
  found, text, fix = find(driver, packages)
  assert (found, text) == (level, said)
  assert ('driver 450.80' in fix) == (level == 'warn')


def test_libraries_are_loaded_before_tensorflow_looks(driver, packages):
  *loaded, path = run_python(_LOADED, driver, packages).splitlines()
  assert len(loaded) == 8
  assert all(line.endswith(' True') for line in loaded)
  # And for children that import TensorFlow first.
  assert path.split(':')[0] == str(driver)
  for name in ('cuda_runtime', 'cublas', 'cudnn'):
    assert str(packages / 'nvidia' / name / 'lib') in path.split(':')
  assert len(path.split(':')) == len(set(path.split(':')))


@pytest.mark.parametrize('variables', [{'CUDA_VISIBLE_DEVICES': ''}, {}])
def test_without_gpu_no_library_is_loaded(driver, packages, variables):
  # Another node than the learner, or a machine without a driver.
  folder = driver if variables else ''
  if not variables and startup.can_load(startup.CUDA_DRIVER):
    pytest.skip('this machine has a driver')
  output = run_python(_LOADED, folder, packages, **variables)
  assert ' True' not in output
  assert 'nvidia' not in output


def read_entries(name):
  """Return package -> version and hashes of a lock."""
  text = (_ROOT / name).read_text()
  pattern = r'^(\S+)==(\S+) \\\n((?: +--hash\S+(?: \\)?\n)+)'
  return {n: (v, h) for n, v, h in re.findall(pattern, text, re.MULTILINE)}


def test_both_locks_are_in_step():
  lock = read_entries('requirements.lock')
  with_cuda = read_entries('requirements-gpu.lock')
  assert len(lock) > 80
  assert with_cuda.pop('tensorflow')[0] == lock.pop('tensorflow-cpu')[0]
  added = {name for name in with_cuda if name.startswith('nvidia-')}
  assert {'nvidia-cudnn-cu11', 'nvidia-cublas-cu11'} <= added
  assert lock == {n: e for n, e in with_cuda.items() if n not in added}
