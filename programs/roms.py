"""Fetches Atari's ROM files: `./impala roms --accept_license`.

The ale-py wheel of a later version than the one this project plays with holds
them; they are checked against the list that the installed ale-py plays.
"""

import importlib.util
import pathlib
import sys
from collections.abc import Sequence

from programs import downloads, startup

# ale-py 0.8.1 came without ROMs; all 104 of its list are in this wheel.
_WHEEL = 'ale-py==0.10.1'
_NOTICE = f"""\
Atari's games belong to those who made and published them, or to their heirs.
The package that the files are fetched from ({_WHEEL}, by its makers
under the GPLv2) states no licence for the games themselves. You need the right
to use them; whether you have it depends on where you are and what you do."""


def files() -> downloads.Files:
  """Every ROM file that the installed ale-py plays.

  Raises:
    RuntimeError: if ale-py is not installed.
  """
  spec = importlib.util.find_spec('ale_py')
  if spec is None or spec.origin is None:
    raise RuntimeError('ale-py is not installed: install requirements.txt')
  text = pathlib.Path(spec.origin).with_name('roms').joinpath('md5.txt')
  rows = [line.split() for line in text.read_text().splitlines()]
  return downloads.Files(
    command='roms',
    what='ROM files',
    wheel=_WHEEL,
    sha256='5d4f326236c95736182323a480363c7b98959fc9a4ba09d2aa5b152faa6a2d59',
    folder='ale_py/roms',
    md5s={row[1]: row[0] for row in rows if len(row) == 2},
    directory=startup.rom_directory(),
    variable='ALE_PY_ROM_DIR',
    notice=_NOTICE,
  )


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status."""
  try:
    return downloads.run(files(), arguments)
  except RuntimeError as error:
    print(f'roms: {error}', file=sys.stderr)
    return 1


if __name__ == '__main__':
  sys.exit(main())
