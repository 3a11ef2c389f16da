"""What must stand before any test file imports TensorFlow or Launchpad."""

import os
import pathlib
import signal
import tempfile

import programs  # noqa: F401, sets the environment as for every command.

# A script's background jobs ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files run side by side: each process has a temporary folder of its own, so
# that tests can look at what is left in it.
_worker = os.environ.get('PYTEST_XDIST_WORKER')
if _worker:
  _folder = pathlib.Path(
    tempfile.gettempdir(), f'pytest-{os.getuid()}-{_worker}'
  )
  _folder.mkdir(exist_ok=True)
  os.environ['TMPDIR'] = tempfile.tempdir = str(_folder)


# They launch whole runs and wait for them: begun first, none is left alone at
# the end.
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
