"""What must stand before TensorFlow, Reverb and Launchpad are imported.

The one place for it. What it sets is in `os.environ`, so that child processes
inherit it, and nothing that the user has set is overridden.
"""

# Annotations stay unevaluated, so that an older Python gets as far as being
# told that it is too old.
from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import sys
import sysconfig
import time

# When this process began: nothing of ours is imported earlier.
STARTED = time.time()

PYTHON_VERSION = (3, 10)
LIBPYTHON = 'libpython3.10.so.1.0'
# What TensorFlow 2.8 opens for a GPU, where NVIDIA's wheels have it below their
# folder. Each comes after those that it links to.
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
  """Where `roms` or `scenarios` puts its files and they are looked for."""
  data = os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share')
  return pathlib.Path(data, 'impala', command)


def find_libpython() -> pathlib.Path | None:
  """The shared library of this Python, or None where it came without one."""
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
  """Whether the loader finds a library by its name, in this process."""
  try:
    ctypes.CDLL(library, mode=mode)
  except OSError:
    return False
  return True


def vector_instructions() -> list[str]:
  """Those that TensorFlow and oneDNN ask for and this processor has."""
  info = pathlib.Path('/proc/cpuinfo').read_text()
  flags = set(info.partition('flags')[2].partition('\n')[0].split())
  return [name for name in ('avx', 'avx2', 'avx512f') if name in flags]


def hides_gpus() -> bool:
  """Whether this process is told to use no GPU, as all but learners are."""
  return os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1')


def prepare() -> None:
  """Sets the environment of this process and of its children.

  Raises:
    SystemExit: Where no Launchpad can run: another Python than 3.10, or a
      machine other than Linux on x86-64.
  """
  _check_machine()
  # TensorFlow 2.8 leaves oneDNN off by default: a learner step then takes four
  # times as long.
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  # TensorFlow sets this itself, but too late where absl's app runs already, as
  # in each of Launchpad's nodes: its context is then made in the middle of its
  # import, and never finds functions that the functions of datasets call.
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
      f'Python {sys.version.split()[0]} runs this, but Reverb and Launchpad '
      'exist for Python 3.10 only: start it with ./impala, which finds one, '
      'or install requirements.txt into a Python 3.10.'
    )
  machine = f'{os.uname().sysname} {os.uname().machine}'
  if machine != 'Linux x86_64':
    raise SystemExit(
      f'This machine is {machine}, but Reverb and Launchpad exist for Linux on '
      'x86-64 only: run it on such a machine, or in a linux/amd64 container.'
    )


def _exempt_loopback_from_proxies() -> None:
  """Keeps gRPC's traffic between processes of this machine off proxies."""
  if not any(
    os.environ.get(name) or os.environ.get(name.upper())
    for name in _PROXY_VARIABLES
  ):
    return
  # gRPC reads no_grpc_proxy and no_proxy, other libraries the upper case.
  listed = os.environ.get('no_proxy') or os.environ.get('NO_PROXY') or ''
  hosts = [host.strip() for host in listed.split(',') if host.strip()]
  hosts += [host for host in _LOOPBACK if host not in hosts]
  os.environ['no_proxy'] = os.environ['NO_PROXY'] = ','.join(hosts)


def _load_libpython() -> None:
  """Makes `LIBPYTHON`, which Reverb and Launchpad link to, loadable.

  A Python that is itself linked to the library has it loaded already. One that
  holds the interpreter in its executable (conda's, uv's downloads) has it
  beside, in a folder that the loader does not search. `LD_LIBRARY_PATH` is read
  when a process starts: it serves the children, and loading the library by its
  path serves this one.
  """
  if can_load(LIBPYTHON, os.RTLD_NOLOAD):
    return
  path = find_libpython()
  if path is None:
    return  # The system's own may serve; `doctor` tells where none does.
  ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
  _extend_library_path(path.parent)


def _load_cuda() -> None:
  """Makes the CUDA libraries of NVIDIA's wheels loadable, where they are.

  As with `LIBPYTHON`: TensorFlow opens them by name, which succeeds where they
  are loaded already, and children find them in `LD_LIBRARY_PATH`, even if they
  import TensorFlow before this.
  """
  folder = pathlib.Path(sysconfig.get_path('purelib'), 'nvidia')
  if hides_gpus() or not folder.is_dir() or not can_load(CUDA_DRIVER):
    return
  for name in CUDA_LIBRARIES:
    path = folder / name
    # What is missing or broken, `doctor` tells.
    with contextlib.suppress(OSError):
      ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    _extend_library_path(path.parent)


def _extend_library_path(folder: pathlib.Path) -> None:
  folders = os.environ.get('LD_LIBRARY_PATH', '').split(':')
  if str(folder) not in folders:
    os.environ['LD_LIBRARY_PATH'] = ':'.join(
      [other for other in folders if other] + [str(folder)]
    )
