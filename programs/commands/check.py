"""Run formatter, linter, type checker and tests: `./impala check`."""

import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from playwright import sync_api

from programs.commands import downloads

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PACKAGES = ('agents', 'environments', 'programs', 'benchmarks', 'tests')
_USAGE = """\
usage: ./impala check [--all] [--require_browser] [pytest arguments]

Runs ruff format --check, ruff check, mypy and pytest in the checkout.
Arguments go to pytest, for example: ./impala check -x -k losses
--all includes the thorough tests: more games, command lines and benchmarks.

Missing Atari ROMs and ViZDoom scenarios are downloaded first; without arguments
for pytest also a Chromium for the tests of the dashboard's page, as root with
apt-get, else with Playwright. Without Chromium these tests are skipped;
--require_browser makes the check fail instead."""
_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


def launch_browser(driver: sync_api.Playwright) -> sync_api.Browser:
  """Start the Chromium on PATH, else the one that Playwright downloaded.

  Raises:
    playwright.sync_api.Error: Neither of them starts.
  """
  for path in filter(None, map(shutil.which, _BROWSERS)):
    try:
      return driver.chromium.launch(executable_path=path, args=['--no-sandbox'])
    except sync_api.Error:
      continue  # On some systems it is a script that tells how to install it.
  return driver.chromium.launch(args=['--no-sandbox'])


def _provide_browser() -> str:
  """Install Chromium if there is none; return its source, or ''."""
  apt = ['apt-get', '-qy', '-o', 'Acquire::http::Timeout=20']
  playwright = [sys.executable, '-m', 'playwright', 'install', '--only-shell']
  ways: dict[str, list[list[str]]] = {'installed already': []}
  if not os.geteuid() and shutil.which('apt-get'):
    install = [*apt, 'install', '--no-install-recommends', 'chromium']
    ways['installed with apt-get'] = [[*apt, 'update'], install]
    playwright.append('--with-deps')
  ways['downloaded by Playwright'] = [[*playwright, 'chromium']]
  environment = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
  with sync_api.sync_playwright() as driver:
    for name, commands in ways.items():
      for command in commands:
        print('$', *command, flush=True)
        bounded = ['timeout', '--kill-after=10', '300', *command]
        subprocess.call(bounded, env=environment, stdin=subprocess.DEVNULL)
      try:
        launch_browser(driver).close()
      except sync_api.Error as error:
        if commands:
          print(error.message.partition('\n')[0])
        continue
      return name
  return ''


def main(arguments: Sequence[str] | None = None) -> int:
  """Run all tools and print a summary; return the exit status.

  Args:
    arguments: Arguments of pytest; by default, the command line's.
  """
  arguments = sys.argv[1:] if arguments is None else arguments
  if '--help' in arguments or '-h' in arguments:
    print(_USAGE)
    return 0
  own = {'--all', '--require_browser'}.intersection(arguments)
  arguments = [argument for argument in arguments if argument not in own]
  for files in (downloads.roms(), downloads.scenarios()):
    downloads.provide(files)
  browser = 'not looked for' if arguments else _provide_browser()
  print(f'Chromium: {browser or "none"}')
  packages = [name for name in _PACKAGES if (_ROOT / name).is_dir()]
  tools = {
    'ruff format': ['ruff', 'format', '--check', '.'],
    'ruff check': ['ruff', 'check', '.'],
    'mypy': ['mypy', *packages],
    # By file, so that module fixtures are made once; more processes than cores,
    # since many tests wait.
    'pytest': [
      'pytest',
      '--numprocesses=3',
      '--dist=loadfile',
      '--no-loadscope-reorder',
      *([] if '--all' in own else ['-m', 'not thorough']),
      *arguments,
    ],
  }
  summary = []
  for name, command in tools.items():
    print(f'\n== {name}', flush=True)
    start = time.monotonic()
    # With this environment's Python, not PATH's.
    status = subprocess.call([sys.executable, '-m', *command], cwd=_ROOT)
    seconds = time.monotonic() - start
    summary.append((name, status, seconds))
  print('\n== summary')
  for name, status, seconds in summary:
    outcome = f'FAILED (status {status})' if status else 'ok'
    print(f'{name:<12}{seconds:>7.1f} s  {outcome}')
  failed = any(status for _, status, _ in summary)
  if not browser:
    print(
      "!! THE DASHBOARD'S PAGE WAS NOT TESTED: Chromium could not be installed "
      '(see the top).'
    )
    failed = failed or '--require_browser' in own
  return 1 if failed else 0


if __name__ == '__main__':
  sys.exit(main())
