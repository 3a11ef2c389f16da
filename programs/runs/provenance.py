"""Provenance of a run: command line, versions, host, git revision."""

import importlib.metadata
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

from programs.runs import run_directory

_PACKAGES = (
  'tensorflow-cpu',
  'tensorflow',
  'dm-reverb',
  'dm-launchpad',
  'dm-acme',
  'dm-sonnet',
  'trfl',
  'numpy',
  'ale-py',
)


def describe_start(seed: int) -> dict[str, Any]:
  """Return command line, host and versions, for `meta.json`."""
  return {
    'command_line': sys.orig_argv,
    'started': run_directory.now(),
    'ended': None,
    'processes': {},
    'seed': seed,
    'host': socket.gethostname(),
    'cores': os.cpu_count(),
    'python': sys.version.split()[0],
    'git_revision': git_revision(),
    'versions': {
      name: version
      for name in _PACKAGES
      if (version := installed_version(name))
    },
  }


def git_revision() -> str:
  """Return the checkout's revision, with '+' if files differ; or ''."""
  git = ('git', '-C', str(pathlib.Path(__file__).parent))
  try:
    return subprocess.run(
      [*git, 'describe', '--always', '--exclude=*', '--dirty=+', '--abbrev=40'],
      capture_output=True,
      text=True,
      check=True,
      timeout=10,
    ).stdout.strip()
  except (OSError, subprocess.SubprocessError):
    return ''


def installed_version(package: str) -> str:
  """Return the version of a package, '' if it is not installed."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return ''
