"""Check this machine and the installation: `./impala doctor`.

It needs the standard library only, to run in a broken installation.
"""

import argparse
import concurrent.futures
import ctypes
import importlib.util
import itertools
import os
import pathlib
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from programs import startup
from programs.commands import downloads
from programs.launching import isolation
from programs.runs import provenance

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_GIB = 1 << 30
# Estimated resident memory; of an actor with 16 Atari environments.
_ACTOR_GIB = 0.9
_LEARNER_GIB = 1.5
_INSTALL = (
  'rm -r .venv and start ./impala again, or pip install -r requirements.txt'
)
_ANSI_COLOURS = {'ok': '32', 'info': '36', 'warn': '33', 'FAIL': '1;31'}
_MODULES = ('tensorflow', 'reverb', 'launchpad', 'vizdoom', 'cv2')
# TensorFlow alone takes 3 s, on a busy machine far more.
_IMPORT_SECONDS = 300


class Finding(NamedTuple):
  """Result of a check."""

  name: str
  level: str  # ok, info, warn, or FAIL if no run can work.
  text: str
  fix: str = ''


def _judge(level: str, passed: bool, name: str, text: str, fix: str) -> Finding:
  if passed:
    return Finding(name, 'ok', text)
  return Finding(name, level, text, fix)


def _run_python(code: str) -> tuple[str | None, str]:
  """Run code in a child process, which may crash.

  Returns:
    Its output, or None if it failed, and the last line of its error.
  """
  try:
    child = subprocess.run(
      [sys.executable, '-c', f'import programs\n{code}'],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      timeout=_IMPORT_SECONDS,
      check=False,
    )
  except subprocess.TimeoutExpired:
    return None, f'timed out after {_IMPORT_SECONDS} s: the machine is too busy'
  if child.returncode < 0:
    return None, f'crashes with signal {-child.returncode}'
  error = child.stderr.strip().rpartition('\n')[2][-200:]
  return None if child.returncode else child.stdout.strip(), error


def check_python() -> Iterator[Finding]:
  """Check Python, its library, and packages against requirements.txt."""
  text = f'{platform.python_version()} at {sys.executable}'
  yield Finding('Python', 'ok', text)
  found = startup.can_load(startup.LIBPYTHON)
  fix = (
    "install your system's libpython3.10 package, or a Python built with "
    '--enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)'
  )
  yield _judge('FAIL', found, 'libpython', startup.LIBPYTHON, fix)
  pins = _read_pins('requirements.txt')
  wrong = []
  if provenance.installed_version('tensorflow'):  # The CUDA build.
    pins.pop('tensorflow-cpu', None)
    pins |= _read_pins('requirements-gpu.txt')
    if provenance.installed_version('tensorflow-cpu'):
      wrong.append('tensorflow and tensorflow-cpu, which overwrite each other')
  for name, wanted in pins.items():
    installed = provenance.installed_version(name) or 'absent'
    if installed != wanted:
      wrong.append(f'{name} {installed} (wanted {wanted})')
  text = ', '.join(wrong) or f'all {len(pins)} as pinned'
  yield _judge('FAIL', not wrong, 'packages', text, _INSTALL)


def _read_pins(name: str) -> dict[str, str]:
  text = (_ROOT / name).read_text()
  return dict(re.findall(r'^([\w.-]+)(?:\[\w+\])?==(\S+)', text, re.MULTILINE))


def check_machine() -> Iterator[Finding]:
  """Check processor, memory and disk."""
  value = os.environ.get('TF_ENABLE_ONEDNN_OPTS')
  text = f'TF_ENABLE_ONEDNN_OPTS={value}'
  fix = 'learner steps take four times as long: unset it'
  yield _judge('warn', value == '1', 'oneDNN', text, fix)

  vectors = startup.vector_instructions()
  text = f'{platform.machine()}, {", ".join(vectors) or "no AVX"}'
  if 'avx' in vectors:
    fix = 'without AVX2 the learner is several times slower'
    yield _judge('warn', 'avx2' in vectors, 'CPU', text, fix)
  else:
    fix = 'TensorFlow 2.8 needs AVX: use another machine or virtual CPU'
    yield Finding('CPU', 'FAIL', text, fix)

  cores = len(os.sched_getaffinity(0))
  info = pathlib.Path('/proc/meminfo').read_text()
  free = int(info.partition('MemAvailable:')[2].split()[0]) / (1 << 20)
  actors = max(1, min(cores, int((free - _LEARNER_GIB) / _ACTOR_GIB)))
  text = f'{cores} cores, {free:.1f} GiB of memory free: --num_actors={actors}'
  text += f' fits ({_ACTOR_GIB} GiB each with 16 Atari environments)'
  fix = 'a learner and one actor need 2.5 GiB: close other programs'
  yield _judge('warn', free > 2.5, 'sizing', text, fix)

  free = shutil.disk_usage('.').free / _GIB
  text = f'{free:.1f} GiB free in {os.getcwd()}'
  fix = 'a run writes up to 1 GiB: free space or use another --logdir'
  yield _judge('warn', free >= 2, 'disk', text, fix)

  usage = shutil.disk_usage('/dev/shm')
  text = f'{usage.total / _GIB:.1f} GiB, {usage.free / _GIB:.1f} free'
  fix = 'in a container: docker run --shm-size=2g'
  yield _judge('warn', usage.total >= _GIB, '/dev/shm', text, fix)


def check_system() -> Iterator[Finding]:
  """Check limits, network and programs."""
  limits = {
    'open files': resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    'processes': resource.getrlimit(resource.RLIMIT_NPROC)[0],
  }
  unlimited = resource.RLIM_INFINITY
  text = ', '.join(f'{number} {name}' for name, number in limits.items())
  text = text.replace(str(unlimited), 'unlimited')
  enough = all(n == unlimited or n >= 4096 for n in limits.values())
  fix = 'many actors need 4096 of each: ulimit -n 4096; ulimit -u 4096'
  yield _judge('warn', enough, 'limits', text, fix)

  # gRPC uses them for this machine's own ports too, unless exempt.
  names = {name for name in os.environ if name.lower().endswith('_proxy')}
  names -= {'no_proxy', 'NO_PROXY'}
  text = f'{", ".join(sorted(names))}; not for {os.environ.get("no_proxy")}'
  yield Finding('proxies', 'ok', text if names else 'none')

  why = isolation.why_impossible()
  text = why or 'a run on this machine has a private network namespace'
  fix = (
    'other machines can connect to runs here unless a firewall prevents it: '
    '--require_isolation refuses to start; or use a container with '
    '--network=none'
  )
  yield _judge('warn', not why, 'isolation', text, fix)

  path = shutil.which('git')
  fix = 'runs do not record their git revision: install git'
  yield _judge('warn', path is not None, 'git', path or 'absent', fix)


def check_gpu() -> Iterator[Finding]:
  """Check for a GPU, and that the learner uses it."""
  why = ''
  if not startup.can_load(startup.CUDA_DRIVER):
    why = 'no NVIDIA driver'
  elif startup.hides_gpus():
    why = 'hidden by CUDA_VISIBLE_DEVICES'
  elif not _count_gpus():
    why = 'driver without a GPU'
  if why:
    yield Finding('GPU', 'info', f'{why}: the learner uses the CPU')
    return
  names = [pathlib.Path(path).name for path in startup.CUDA_LIBRARIES]
  missing = [name for name in names if not startup.can_load(name)]
  if not provenance.installed_version('tensorflow'):
    why = 'TensorFlow is the build without CUDA'
    fix = './impala gpu'
  elif missing:
    why = f'{", ".join(missing)} missing'
    fix = 'rm -r .venv, then ./impala gpu'
  else:
    devices, error = _run_python(
      'import tensorflow as tf\n'
      "print(len(tf.config.list_physical_devices('GPU')))"
    )
    why = '' if devices not in (None, '', '0') else error or 'no reason given'
    fix = 'CUDA 11 needs driver 450.80 or later (see nvidia-smi)'
  text = f'not used: {why}' if why else 'used by the learner'
  yield _judge('warn', not why, 'GPU', text, fix)


def _count_gpus() -> int:
  driver = ctypes.CDLL(startup.CUDA_DRIVER)
  count = ctypes.c_int()
  failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
  return 0 if failed else count.value


def check_files() -> Iterator[Finding]:
  """Check for Atari ROMs and ViZDoom scenarios."""
  needed = {'Doom scenario': downloads.scenarios()}
  if importlib.util.find_spec('ale_py') is not None:
    needed = {'Atari ROMs': downloads.roms(), **needed}
  for name, files in needed.items():
    folder = pathlib.Path(os.environ.get(files.variable) or files.directory)
    missing = downloads.missing(files, folder)
    total = len(files.md5s)
    text = f'{total - len(missing)} of {total} in {folder}'
    text += ', without Pong' if 'pong.bin' in missing else ''
    fix = f'./impala {files.command} --accept_license'
    yield _judge('warn', not missing, name, text, fix)


def check_dmlab() -> Iterator[Finding]:
  """Check DeepMind Lab, which users install themselves."""
  if importlib.util.find_spec('deepmind_lab') is None:
    fix = f'for its levels: {sys.executable} -m pip install YOUR.whl'
    fix += ' (see requirements.txt)'
    yield Finding('deepmind_lab', 'info', 'absent (optional)', fix)
  else:
    yield check_import('deepmind_lab', 'warn')


def check_import(module: str, level: str = 'FAIL') -> Finding:
  """Import a module in a child process."""
  printed, error = _run_python(f'import {module}')
  fix = 'see libpython' if startup.LIBPYTHON in error else _INSTALL
  text = 'imports' if printed is not None else error
  return _judge(level, printed is not None, module, text, fix)


def main(arguments: Sequence[str] | None = None) -> int:
  """Print the findings; return 1 if no run can work, else 0."""
  parser = argparse.ArgumentParser(
    prog='./impala doctor',
    description='Checks this machine and the installation, and prints a fix '
    'for each problem. Exit status 1 if training cannot work.',
  )
  parser.parse_args(arguments)
  with concurrent.futures.ThreadPoolExecutor() as pool:
    imports = pool.map(check_import, _MODULES)
    findings = []
    for finding in itertools.chain(
      check_python(),
      check_machine(),
      check_system(),
      check_gpu(),
      check_files(),
      check_dmlab(),
      imports,
    ):
      _print_finding(finding)
      findings.append(finding)
  failed = sum(finding.level == 'FAIL' for finding in findings)
  count = f'{failed} of {len(findings)} checks'
  print(f'\n{count} failed' if failed else '\nReady.')
  return 1 if failed else 0


def _print_finding(finding: Finding) -> None:
  level = f'{finding.level:<5}'
  if sys.stdout.isatty() and not os.environ.get('NO_COLOR'):
    level = f'\x1b[{_ANSI_COLOURS[finding.level]}m{level}\x1b[0m'
  print(f'{level}{finding.name:<14}{finding.text}', flush=True)
  if finding.fix:
    print(f'{"":<19}-> {finding.fix}', flush=True)


if __name__ == '__main__':
  sys.exit(main())
