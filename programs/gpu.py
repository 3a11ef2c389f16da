"""Whether the learner uses a GPU: `./impala gpu`, and a line of `doctor`.

It needs the standard library only, like the doctor.
"""

import argparse
import ctypes
import importlib.metadata
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from programs import machine, startup

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_NAME = 'GPU'
_NAME_BYTES = 256
_CUDA_SUCCESS = 0
# As many GPUs as TensorFlow sees in a process like the learner's.
_COUNT = """
import programs
import tensorflow as tf
print(len(tf.config.list_physical_devices('GPU')))
"""
_COUNT_SECONDS = 300  # TensorFlow's import, on a slow and busy disk.


def check() -> machine.Finding:
  """Whether there is a GPU, and whether the learner uses it."""
  if not startup.can_load(startup.CUDA_DRIVER):
    text = 'no NVIDIA driver: the learner uses the CPU'
    return machine.Finding(_NAME, 'info', text)
  if startup.hides_gpus():
    text = 'hidden by CUDA_VISIBLE_DEVICES: the learner uses the CPU'
    return machine.Finding(_NAME, 'info', text)
  found = ', '.join(read_names())
  if not found:
    text = 'a driver, but no GPU that it shows: the learner uses the CPU'
    return machine.Finding(_NAME, 'info', text)
  if not is_chosen():
    text = f'{found}, not used: TensorFlow is the build without CUDA'
    return machine.Finding(_NAME, 'warn', text, './impala gpu')
  names = [pathlib.Path(path).name for path in startup.CUDA_LIBRARIES]
  missing = [name for name in names if not startup.can_load(name)]
  if missing:
    text = f'{found}, not used: {", ".join(missing)} missing'
    mend = 'rm -r .venv, then ./impala gpu'
    return machine.Finding(_NAME, 'warn', text, mend)
  return _check_tensorflow(found)


def _check_tensorflow(found: str) -> machine.Finding:
  """Asks TensorFlow itself, in a process of its own, which may crash."""
  try:
    child = subprocess.run(
      [sys.executable, '-c', _COUNT],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      timeout=_COUNT_SECONDS,
      check=False,
    )
  except subprocess.TimeoutExpired:
    text = f'{found}; TensorFlow did not answer within {_COUNT_SECONDS} s'
    return machine.Finding(_NAME, 'warn', text, 'try again')
  if child.returncode == 0 and child.stdout.strip() not in ('', '0'):
    return machine.Finding(_NAME, 'ok', f'{found}, used by the learner')
  said = child.stderr.strip().rpartition('\n')[2][-200:]
  text = f'{found}, not used by TensorFlow: {said or "it gives no reason"}'
  mend = (
    'CUDA 11 wants a driver of version 450.80 or later, a newer card a newer'
  )
  mend += ' one (nvidia-smi)'
  return machine.Finding(_NAME, 'warn', text, mend)


def is_chosen() -> bool:
  """Whether the installed TensorFlow is the build with CUDA."""
  return installed_version('tensorflow') is not None


def installed_version(package: str) -> str | None:
  """The version of a package, or None where it is absent."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def read_names() -> list[str]:
  """What the driver calls the GPUs that this process may use.

  Raises:
    OSError: There is no driver.
  """
  driver = ctypes.CDLL(startup.CUDA_DRIVER)
  count = ctypes.c_int()
  if (
    driver.cuInit(0) != _CUDA_SUCCESS
    or driver.cuDeviceGetCount(ctypes.byref(count)) != _CUDA_SUCCESS
  ):
    return []
  names = []
  for index in range(count.value):
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGetName(name, _NAME_BYTES, index)
    names.append(name.value.decode(errors='replace'))
  return names


def main(arguments: Sequence[str] | None = None) -> int:
  """Says whether a GPU is used; returns 1 where one is there and is not.

  The launcher has installed what was asked for before.
  """
  parser = argparse.ArgumentParser(
    prog='./impala gpu',
    description='Makes .venv anew with TensorFlow for NVIDIA GPUs and the CUDA '
    'libraries that it loads (6 GB; the system needs a driver alone), and '
    'keeps to that until `./impala gpu off`.',
  )
  parser.add_argument(
    'wanted',
    nargs='?',
    choices=('on', 'off'),
    default='on',
    help='off: TensorFlow for CPUs again [default on]',
  )
  given = parser.parse_args(arguments)
  if given.wanted == 'off':
    print('TensorFlow for CPUs is installed.')
    return 0
  finding = check()
  print(finding.text)
  if finding.mend:
    print(f'-> {finding.mend}')
  return 1 if finding.level == 'warn' else 0


if __name__ == '__main__':
  sys.exit(main())
