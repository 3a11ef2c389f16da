"""The doctor on this machine, and on installations broken on purpose."""

import os
import pathlib
import subprocess
import sys

import pytest

from programs import doctor, startup

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_doctor(**variables):
  return subprocess.run(
    [sys.executable, '-m', 'programs.doctor'],
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
  for name in (
    'tensorflow',
    'reverb',
    'launchpad',
    'vizdoom',
    'cv2',
  ):
    assert f'ok   {name:<14}imports' in lines
  assert lines[-1] == 'Ready.'
  assert '\x1b' not in result.stdout  # No colours without a terminal.


def finding(check, name):
  return next(each for each in check() if each.name == name)


def broken_module(folder, name, text):
  """A folder whose module of this name shadows the installed one."""
  (folder / f'{name}.py').write_text(text)
  return str(folder)


@pytest.mark.parametrize(
  'text, said, mend',
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
def test_a_broken_import_is_told_with_its_mend(
  tmp_path, monkeypatch, text, said, mend
):
  folder = broken_module(tmp_path, 'reverb', text)
  monkeypatch.setenv('PYTHONPATH', folder)
  found = doctor.check_import('reverb')
  assert found.level == 'FAIL'
  assert said in found.text
  assert mend in found.mend


def test_a_broken_import_fails_the_whole(tmp_path):
  folder = broken_module(tmp_path, 'cv2', "raise ImportError('broken')")
  result = run_doctor(PYTHONPATH=folder)
  assert result.returncode == 1
  assert 'FAIL cv2           ImportError: broken' in result.stdout
  assert result.stdout.endswith('checks failed\n')


def test_the_doctor_runs_where_nothing_is_installed():
  code = """
import sys
from programs import doctor
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
  assert found.text == (
    'numpy 1.23.5 (wanted 1.0), not-there absent (wanted 1.2.3)'
  )


def test_missing_roms_are_a_warning_with_the_command(tmp_path, monkeypatch):
  monkeypatch.setenv('ALE_PY_ROM_DIR', str(tmp_path))
  found = finding(doctor.check_files, 'Atari ROMs')
  assert found.level == 'warn'
  assert found.text == f'0 of 104 in {tmp_path}, without Pong'
  assert './impala roms --accept_license' in found.mend


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
