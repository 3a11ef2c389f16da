"""Fetches Atari's ROM files: `./impala roms --accept_license`.

They are never part of this project. The ale-py wheel of a later version than
the one this project plays with holds them, so the user's own package index is
asked for that wheel, and the files are checked against the list that the
installed ale-py plays.
"""

import argparse
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence

from programs import startup

# ale-py 0.8.1 came without ROMs; all 104 of its list are in this wheel.
WHEEL = 'ale-py==0.10.1'
WHEEL_SHA256 = (
  '5d4f326236c95736182323a480363c7b98959fc9a4ba09d2aa5b152faa6a2d59'
)
NOTICE = f"""\
Atari's games belong to those who made and published them, or to their heirs.
The package that the files are fetched from ({WHEEL}, by its makers
under the GPLv2) states no licence for the games themselves. You need the right
to use them; whether you have it depends on where you are and what you do."""


def expected_md5s() -> dict[str, str]:
  """The md5 of every ROM file that the installed ale-py plays, by file name.

  Raises:
    RuntimeError: if ale-py is not installed.
  """
  spec = importlib.util.find_spec('ale_py')
  if spec is None or spec.origin is None:
    raise RuntimeError('ale-py is not installed: install requirements.txt')
  text = pathlib.Path(spec.origin).with_name('roms').joinpath('md5.txt')
  rows = [line.split() for line in text.read_text().splitlines()]
  return {row[1]: row[0] for row in rows if len(row) == 2}


def missing_roms(directory: pathlib.Path) -> list[str]:
  """The file names that `directory` lacks or holds with another content."""
  return [
    name
    for name, md5 in expected_md5s().items()
    if not (directory / name).is_file()
    or _md5((directory / name).read_bytes()) != md5
  ]


def fetch(directory: pathlib.Path) -> None:
  """Puts the ROM files that `directory` lacks there, each of them at once.

  Raises:
    RuntimeError: if the package index does not give the wheel, or the wheel
      not the files, or the directory cannot be written; in one sentence.
  """
  missing = missing_roms(directory)
  md5s = expected_md5s()
  try:
    directory.mkdir(parents=True, exist_ok=True)
    # Beside its destination, so that moving a file there is one atomic step.
    with tempfile.TemporaryDirectory(dir=directory, prefix='.new-') as folder:
      new = pathlib.Path(folder)
      with zipfile.ZipFile(_download(new)) as wheel:
        for name in missing:
          content = wheel.read(f'ale_py/roms/{name}')
          if _md5(content) != md5s[name]:
            raise RuntimeError(f'{WHEEL} holds another {name} than expected')
          (new / name).write_bytes(content)
          os.replace(new / name, directory / name)
  except OSError as error:
    raise RuntimeError(f'{directory} cannot be written: {error}') from error


def _download(folder: pathlib.Path) -> pathlib.Path:
  """Has pip download the wheel into `folder` and check its hash."""
  request = folder / 'request.txt'
  request.write_text(f'{WHEEL} --hash=sha256:{WHEEL_SHA256}\n')
  command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
  command += ['--only-binary=:all:', '--require-hashes', '-r', str(request)]
  command += ['--disable-pip-version-check', '--dest', str(folder)]
  environment = dict(os.environ)
  # Who told uv alone about an index means it for this as well.
  index = os.environ.get('UV_DEFAULT_INDEX') or os.environ.get('UV_INDEX_URL')
  if index:
    environment.setdefault('PIP_INDEX_URL', index)
  result = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  wheels = list(folder.glob('*.whl'))
  if result.returncode or not wheels:
    said = [line for line in result.stderr.splitlines() if 'ERROR' in line]
    raise RuntimeError(
      f'{WHEEL} did not come from the package index: check the network, or '
      'name your index in PIP_INDEX_URL. '
      f'pip said: {said[-1] if said else result.stderr.strip()[-200:]}'
    )
  return wheels[0]


def _md5(content: bytes) -> str:
  return hashlib.md5(content).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status."""
  parser = argparse.ArgumentParser(
    prog='./impala roms',
    description="Fetches Atari's ROM files from your own package index.",
    epilog=NOTICE,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--accept_license',
    action='store_true',
    help='say that you have the right to use the games (see below)',
  )
  parser.add_argument(
    '--directory',
    type=pathlib.Path,
    default=startup.rom_directory(),
    help='folder the files go to; any other than the default is to be named '
    'in ALE_PY_ROM_DIR when playing (default: %(default)s)',
  )
  flags = parser.parse_args(arguments)
  directory = flags.directory.absolute()
  try:
    if directory.is_dir() and not missing_roms(directory):
      print(f'All {len(expected_md5s())} ROM files are in {directory} already.')
      return 0
    print(NOTICE)
    if not flags.accept_license:
      print('\nNothing was fetched. If you have it, say so: --accept_license')
      return 2
    fetch(directory)
  except RuntimeError as error:
    print(f'roms: {error}', file=sys.stderr)
    return 1
  print(f'\nFetched {len(expected_md5s())} ROM files into {directory}')
  if directory != startup.rom_directory():
    print(f'Play with them: export ALE_PY_ROM_DIR={directory}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
