"""Fetch Atari ROMs or ViZDoom scenarios: `./impala roms`, `scenarios`."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from programs.commands import downloads


def main(arguments: Sequence[str] | None = None) -> int:
  """Run `roms` or `scenarios`; return the exit status."""
  arguments = sys.argv[1:] if arguments is None else arguments
  try:
    files = {'roms': downloads.roms, 'scenarios': downloads.scenarios}[
      arguments[0]
    ]()
    return _run(files, arguments[1:])
  except RuntimeError as error:
    print(f'{arguments[0]}: {error}', file=sys.stderr)
    return 1


def _run(files: downloads.Files, arguments: Sequence[str]) -> int:
  parser = argparse.ArgumentParser(
    prog=f'./impala {files.command}',
    description=f'Downloads {files.what} from your package index.',
    epilog=files.notice,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--accept_license',
    action='store_true',
    help='confirm that you have the right to use them (see below)',
  )
  parser.add_argument(
    '--directory',
    type=pathlib.Path,
    default=files.directory,
    help='folder of the files; name any other than the default in '
    f'{files.variable} when you train (default: %(default)s)',
  )
  flags = parser.parse_args(arguments)
  directory = flags.directory.absolute()
  count = f'{len(files.md5s)} {files.what}'
  if directory.is_dir() and not downloads.missing(files, directory):
    print(f'All {count} are already in {directory}.')
    return 0
  print(files.notice)
  if not flags.accept_license:
    print('\nNothing was fetched. Confirm with --accept_license.')
    return 2
  downloads.fetch(files, directory)
  print(f'\nFetched {count} into {directory}')
  if directory != files.directory:
    print(f'To use them: export {files.variable}={directory}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
