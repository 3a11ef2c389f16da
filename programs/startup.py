"""Process environment that TensorFlow, Reverb and Launchpad need.

It is set in `os.environ`, so that child processes inherit it. Variables that
the user has set are kept.
"""

# Unevaluated annotations let an older Python reach the error about its version.
from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import sys
import sysconfig
import time

# Start of this process: this module is imported first.
STARTED = time.time()

PYTHON_VERSION = (3, 10)
LIBPYTHON = 'libpython3.10.so.1.0'
# Libraries that TensorFlow 2.8 opens for a GPU, by their path in NVIDIA's
# wheels. Each comes after those that it links to.
CUDA_LIBRARIES = (
  'cuda_runtime/lib/libcudart.so.11.0',
  'cublas/lib/libcublasLt.so.11',
  'cublas/lib/libcublas.so.11',
  'cufft/lib/libcufft.so.10',
  'curand/lib/libcurand.so.10',
  'cusparse/lib/libcusparse.so.11',
  'cusolver/lib/libcusolver.so.11',
  'cudnn/lib/libcudnn.so.8',
)
CUDA_DRIVER = 'libcuda.so.1'
_LOOPBACK = ('localhost', '127.0.0.1', '::1')
_PROXY_VARIABLES = ('http_proxy', 'https_proxy', 'all_proxy', 'grpc_proxy')


def data_directory(command: str) -> pathlib.Path:
  """Return the default folder of the files of `roms` or `scenarios`."""
  data = os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share')
  return pathlib.Path(data, 'impala', command)


def find_libpython() -> pathlib.Path | None:
  """Return the path of this Python's shared library, None if it has none."""
  folders = [
    os.path.join(sys.base_prefix, 'lib'),
    sysconfig.get_config_var('LIBDIR') or '',
  ]
  for folder in folders:
    path = pathlib.Path(folder, LIBPYTHON)
    if path.is_file():
      return path
  return None


def can_load(library: str, mode: int = ctypes.DEFAULT_MODE) -> bool:
  """Return whether this process can load a library by its name."""
  try:
    ctypes.CDLL(library, mode=mode)
  except OSError:
    return False
  return True


def vector_instructions() -> list[str]:
  """Return the processor's instruction sets that TensorFlow uses."""
  info = pathlib.Path('/proc/cpuinfo').read_text()
  flags = set(info.partition('flags')[2].partition('\n')[0].split())
  return [name for name in ('avx', 'avx2', 'avx512f') if name in flags]


def hides_gpus() -> bool:
  """Return whether GPUs are hidden from this process."""
  return os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1')


def prepare() -> None:
  """Set the environment of this process and of its children.

  Raises:
    SystemExit: Launchpad cannot run: Python is not 3.10, or the machine is not
      Linux on x86-64.
  """
  _check_machine()
  # oneDNN is off by default in TensorFlow 2.8; without it a learner step takes
  # four times as long.
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  # TensorFlow sets this itself, but too late if absl's app runs already, as in
  # Launchpad's nodes: its context is then made in the middle of its import, and
  # does not find functions that functions of datasets call.
  os.environ.setdefault('TF2_BEHAVIOR', '1')
  _exempt_loopback_from_proxies()
  for variable, directory in (
    ('ALE_PY_ROM_DIR', data_directory('roms')),
    ('IMPALA_SCENARIOS_DIR', data_directory('scenarios')),
  ):
    if directory.is_dir():
      os.environ.setdefault(variable, str(directory))
  _load_libpython()
  _load_cuda()


def _check_machine() -> None:
  if sys.version_info[:2] != PYTHON_VERSION:
    raise SystemExit(
      f'This is Python {sys.version.split()[0]}, but Reverb and Launchpad '
      'exist for Python 3.10 only: use ./impala, which finds one, or install '
      'requirements.txt into a Python 3.10.'
    )
  machine = f'{os.uname().sysname} {os.uname().machine}'
  if machine != 'Linux x86_64':
    raise SystemExit(
      f'This machine is {machine}, but Reverb and Launchpad exist for Linux on '
      'x86-64 only: use such a machine or a linux/amd64 container.'
    )


def _exempt_loopback_from_proxies() -> None:
  """Exempt gRPC between processes of this machine from proxies."""
  if not any(
    os.environ.get(name) or os.environ.get(name.upper())
    for name in _PROXY_VARIABLES
  ):
    return
  # gRPC reads the lower case, other libraries the upper case.
  listed = os.environ.get('no_proxy') or os.environ.get('NO_PROXY') or ''
  hosts = [host.strip() for host in listed.split(',') if host.strip()]
  hosts += [host for host in _LOOPBACK if host not in hosts]
  os.environ['no_proxy'] = os.environ['NO_PROXY'] = ','.join(hosts)


def _load_libpython() -> None:
  """Make `LIBPYTHON`, which Reverb and Launchpad link to, loadable.

  A statically linked Python (conda's, uv's downloads) has it in a folder that
  the loader does not search. Loading it by its path is for this process;
  `LD_LIBRARY_PATH`, which is read when a process starts, is for its children.
  """
  if can_load(LIBPYTHON, os.RTLD_NOLOAD):
    return
  path = find_libpython()
  if path is None:
    return  # The system may have one; `doctor` reports if not.
  ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
  _extend_library_path(path.parent)


def _load_cuda() -> None:
  """Make the CUDA libraries of NVIDIA's wheels loadable, as `LIBPYTHON`."""
  folder = pathlib.Path(sysconfig.get_path('purelib'), 'nvidia')
  if hides_gpus() or not folder.is_dir() or not can_load(CUDA_DRIVER):
    return
  for name in CUDA_LIBRARIES:
    path = folder / name
    # `doctor` reports missing and broken ones.
    with contextlib.suppress(OSError):
      ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    _extend_library_path(path.parent)


def _extend_library_path(folder: pathlib.Path) -> None:
  folders = os.environ.get('LD_LIBRARY_PATH', '').split(':')
  if str(folder) not in folders:
    os.environ['LD_LIBRARY_PATH'] = ':'.join(
      [other for other in folders if other] + [str(folder)]
    )
