"""What must stand before any test file imports TensorFlow or Launchpad."""

import programs  # noqa: F401, sets the environment as for every command.
