"""Environment and order of the tests."""

import os
import pathlib
import signal
import tempfile

import programs  # noqa: F401, sets the environment.

# Background jobs of a script ignore Ctrl-C, which tests send to their commands.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each pytest process has its own temporary folder, so that tests can check what
# is left in it.
_worker = os.environ.get('PYTEST_XDIST_WORKER')
if _worker:
  _folder = pathlib.Path(
    tempfile.gettempdir(), f'pytest-{os.getuid()}-{_worker}'
  )
  _folder.mkdir(exist_ok=True)
  os.environ['TMPDIR'] = tempfile.tempdir = str(_folder)


# The longest files come first, so that none runs alone at the end.
_LONGEST = (
  'test_roles',
  'test_cluster',
  'test_train',
  'test_dashboard_page',
  'test_verdict',
  'test_launcher',
  'test_isolation',
  'test_evaluate',
  'test_program',
)


def pytest_collection_modifyitems(items):
  names = [*_LONGEST, *sorted({item.path.stem for item in items})]
  items.sort(key=lambda item: names.index(item.path.stem))
