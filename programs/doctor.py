"""Checks this machine and the installation: `./impala doctor`.

One line a check; where something is amiss, what mends it stands below. It needs
the standard library only, since it has to run where the installation is broken.
"""

import argparse
import concurrent.futures
import importlib.util
import itertools
import os
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence

from programs import downloads, gpu, machine, roms, scenarios, startup

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_INSTALL = (
  'rm -r .venv and start ./impala again, or pip install -r requirements.txt'
)
_ANSI_COLOURS = {'ok': '32', 'info': '36', 'warn': '33', 'FAIL': '1;31'}
# TensorFlow alone takes 3 s; five imports at once on a busy machine, far more.
_IMPORT_SECONDS = 300


def check_python() -> machine.Finding:
  """Which Python runs this; another than 3.10 does not get this far."""
  build = ' '.join(platform.python_build()[:1] + (platform.python_compiler(),))
  text = f'{platform.python_version()} ({build}) at {sys.executable}'
  return machine.Finding('Python', 'ok', text)


def check_onednn() -> machine.Finding:
  """The switch that makes a learner step four times as fast."""
  value = os.environ.get('TF_ENABLE_ONEDNN_OPTS')
  text = f'TF_ENABLE_ONEDNN_OPTS={value}'
  mend = 'learner steps take four times as long: unset it'
  return machine.judge('warn', value == '1', 'oneDNN', text, mend)


def check_libpython() -> machine.Finding:
  """The library that Reverb and Launchpad link to."""
  path = startup.find_libpython()
  text = str(path or 'found by the loader')
  if startup.can_load(startup.LIBPYTHON):
    return machine.Finding('libpython', 'ok', text)
  mend = (
    "install your system's libpython3.10 package, or a Python built with "
    '--enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)'
  )
  return machine.Finding('libpython', 'FAIL', f'no {startup.LIBPYTHON}', mend)


def check_versions() -> machine.Finding:
  """Every package of requirements.txt against what is installed."""
  pins = _read_pins('requirements.txt')
  wrong = []
  if gpu.is_chosen():
    pins.pop('tensorflow-cpu', None)
    pins |= _read_pins('requirements-gpu.txt')
    if gpu.installed_version('tensorflow-cpu'):
      wrong.append('tensorflow and tensorflow-cpu, which share their files')
  for name, wanted in pins.items():
    installed = gpu.installed_version(name) or 'absent'
    if installed != wanted:
      wrong.append(f'{name} {installed} (wanted {wanted})')
  described = ', '.join(wrong) or f'all {len(pins)} as pinned'
  return machine.judge('FAIL', not wrong, 'packages', described, _INSTALL)


def _read_pins(name: str) -> dict[str, str]:
  """Package -> version, as a file of requirements has them."""
  text = (_ROOT / name).read_text()
  return dict(re.findall(r'^([\w.-]+)(?:\[\w+\])?==(\S+)', text, re.MULTILINE))


def check_roms() -> machine.Finding:
  """Whether Atari's games can be played."""
  try:
    files = roms.files()
  except RuntimeError as error:
    return machine.Finding('Atari ROMs', 'FAIL', str(error), _INSTALL)
  return _check_files('Atari ROMs', files, 'for Atari')


def check_scenarios() -> machine.Finding:
  """Whether ViZDoom's battle scenario can be played."""
  return _check_files(
    'Doom scenario', scenarios.files(), 'for doom_benchmark and doom_battle'
  )


def _check_files(
  name: str, files: downloads.Files, use: str
) -> machine.Finding:
  directory = pathlib.Path(os.environ.get(files.variable) or files.directory)
  missing = downloads.missing(files, directory)
  total = len(files.md5s)
  text = f'{total - len(missing)} of {total} in {directory}'
  text += ', without Pong' if 'pong.bin' in missing else ''
  mend = f'{use}: ./impala {files.command} --accept_license'
  return machine.judge('warn', not missing, name, text, mend)


def check_dmlab() -> machine.Finding:
  """DeepMind Lab, which everyone brings along."""
  if importlib.util.find_spec('deepmind_lab') is None:
    mend = f'for its levels: {sys.executable} -m pip install YOUR.whl, or in '
    mend += 'the image --build-arg DEEPMIND_LAB_WHEEL=YOUR.whl, or build it '
    mend += '(see requirements.txt)'
    return machine.Finding('deepmind_lab', 'info', 'absent (optional)', mend)
  finding = check_import('deepmind_lab')
  return finding._replace(level='warn') if finding.mend else finding


def check_import(module: str) -> machine.Finding:
  """Imports a module in a process of its own, which may crash."""
  try:
    child = subprocess.run(
      [sys.executable, '-c', f'import programs, {module}'],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      timeout=_IMPORT_SECONDS,
      check=False,
    )
  except subprocess.TimeoutExpired:
    text = f'not done within {_IMPORT_SECONDS} s'
    return machine.Finding(
      module, 'FAIL', text, 'the disk or the machine is too busy'
    )
  if child.returncode == 0:
    return machine.Finding(module, 'ok', 'imports')
  if child.returncode < 0:
    text = f'crashes with signal {-child.returncode}'
  else:
    text = child.stderr.strip().rpartition('\n')[2][:200]
  return machine.Finding(module, 'FAIL', text, _mend_import(child.stderr))


def _mend_import(stderr: str) -> str:
  """What mends an import that ended with this output."""
  if startup.LIBPYTHON in stderr:
    return 'see libpython'
  if 'undefined symbol' in stderr or 'required symbols' in stderr:
    return (
      'TensorFlow, Reverb and Launchpad do not fit together: only 2.8.4, '
      f'0.7.0 and 0.5.0 do; {_INSTALL}'
    )
  if 'Descriptors cannot' in stderr:
    return f'protobuf must be 3.19.6: {_INSTALL}'
  if 'numpy' in stderr and ('no attribute' in stderr or '_ARRAY_API' in stderr):
    return f'numpy must be 1.23.5: {_INSTALL}'
  return _INSTALL


_CHECKS: tuple[Callable[[], machine.Finding], ...] = (
  check_python,
  check_libpython,
  check_versions,
  check_onednn,
  *machine.CHECKS,
  gpu.check,
  check_roms,
  check_scenarios,
  check_dmlab,
)
# Launchpad's courier is imported with it.
_MODULES = ('tensorflow', 'reverb', 'launchpad', 'vizdoom', 'envpool', 'cv2')


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints the findings and returns 1 if a run cannot work, else 0."""
  parser = argparse.ArgumentParser(
    prog='./impala doctor',
    description='Checks this machine and the installation, one line a check, '
    'each with what mends it. Exit status 1 if training cannot work.',
  )
  parser.parse_args(arguments)
  with concurrent.futures.ThreadPoolExecutor() as pool:
    imports = pool.map(check_import, _MODULES)
    findings = []
    for finding in itertools.chain((check() for check in _CHECKS), imports):
      _print_finding(finding)
      findings.append(finding)
  failed = sum(finding.level == 'FAIL' for finding in findings)
  print(
    f'\n{failed} of {len(findings)} checks failed' if failed else '\nReady.'
  )
  return 1 if failed else 0


def _print_finding(finding: machine.Finding) -> None:
  level = f'{finding.level:<5}'
  if sys.stdout.isatty() and not os.environ.get('NO_COLOR'):
    level = f'\x1b[{_ANSI_COLOURS[finding.level]}m{level}\x1b[0m'
  print(f'{level}{finding.name:<14}{finding.text}', flush=True)
  if finding.mend:
    print(f'{"":<19}-> {finding.mend}', flush=True)


if __name__ == '__main__':
  sys.exit(main())
