"""What must stand before any test file imports TensorFlow or Launchpad."""

import os
import pathlib
import tempfile

import programs  # noqa: F401, sets the environment as for every command.

# Files run side by side: each process has a temporary folder of its own, so
# that tests can look at what is left in it.
_worker = os.environ.get('PYTEST_XDIST_WORKER')
if _worker:
  _folder = pathlib.Path(
    tempfile.gettempdir(), f'pytest-{os.getuid()}-{_worker}'
  )
  _folder.mkdir(exist_ok=True)
  os.environ['TMPDIR'] = tempfile.tempdir = str(_folder)
