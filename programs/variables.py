"""The learner's variables, fetched once for all actors of a machine."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence

import acme
import numpy as np

from agents.impala import lag
from programs import nodes, runs

# Files in memory; where there are none, the temporary folder does.
_FOLDERS = (pathlib.Path('/dev/shm'), pathlib.Path('/tmp'))
_POLL_SECONDS = 0.002


def shared_path(logdir: str) -> pathlib.Path:
  """Where the actors of this user and machine share a run's variables."""
  folder = next(path for path in _FOLDERS if os.access(path, os.W_OK))
  name = hashlib.sha256(os.fsencode(logdir)).hexdigest()[:16]
  return folder / f'impala-{os.getuid()}-{name}'


class SharedVariables(acme.VariableSource):
  """Asks the learner for the version of its variables, and for them if needed.

  Which they are if they are newer than what this actor has, and no other actor
  of the machine has fetched them: those put them into a file. It goes with the
  first actor that ends.
  """

  def __init__(
    self,
    learner: acme.VariableSource,
    path: pathlib.Path,
    stop: threading.Event,
  ) -> None:
    """Fetches nothing yet.

    Args:
      learner: Serves 'version' and 'policy' as `learning.Learner` does.
      path: The file; see `shared_path`.
      stop: Ends a wait for another actor that fetches.
    """
    self._learner = learner
    self._path = path
    self._stop = stop
    self._version = np.zeros(2, np.int64)
    self._variables: Sequence[np.ndarray] = ()

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """The newest variables there are.

    Args:
      names: ['policy'].

    Returns:
      As the learner; the same arrays again while there are none newer.

    Raises:
      nodes.Stopped: The program stops.
    """
    (wanted,) = self._learner.get_variables(['version'])
    if not _is_fit(self._version, wanted):
      with self._locked():
        self._read(wanted)
        if not _is_fit(self._version, wanted):
          version, self._variables = self._learner.get_variables(
            ['version', *names]
          )
          self._version = np.array(version)
          self._write()
    return [self._variables]

  def close(self) -> None:
    """Removes the file."""
    for path in (self._path, self._lock_path):
      with contextlib.suppress(OSError):
        path.unlink()

  @property
  def _lock_path(self) -> pathlib.Path:
    return self._path.with_name(f'{self._path.name}.lock')

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    """Keeps the other actors from fetching meanwhile."""
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(self._lock_path, flags, 0o600)
    try:
      while not _take(lock):
        if self._stop.wait(_POLL_SECONDS):
          raise nodes.Stopped
      yield
    finally:
      os.close(lock)

  def _read(self, wanted: Sequence[np.ndarray]) -> None:
    """Takes what the file holds, if that fits and is this user's."""
    try:
      with open(self._path, 'rb') as file:
        if os.fstat(file.fileno()).st_uid != os.getuid():
          return
        version = np.load(file, allow_pickle=False)
        if not _is_fit(version, wanted):
          return
        variables = np.load(file, allow_pickle=False)
    except (OSError, ValueError):  # There is none, or it is damaged.
      return
    self._version = version
    self._variables = [variables[name] for name in variables.dtype.names]

  def _write(self) -> None:
    """Leaves them to the others; where that fails, they fetch by themselves."""
    temporary = self._path.with_name(f'{self._path.name}.{os.getpid()}')
    # All as the fields of one record: a header and a write each would cost
    # as much as the fetch.
    fields = [
      (f'{index}', variable.dtype, variable.shape)
      for index, variable in enumerate(self._variables)
    ]
    record = np.array(tuple(self._variables), fields)
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
      flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
      with open(os.open(temporary, flags, 0o600), 'wb') as file:
        np.save(file, self._version, allow_pickle=False)
        np.save(file, record, allow_pickle=False)
      os.replace(temporary, self._path)


@contextlib.contextmanager
def acting_variables(
  configuration: runs.Configuration,
  learner: acme.VariableSource,
  stop: threading.Event,
) -> Iterator[acme.VariableSource]:
  """What is acted with: the newest variables, or older ones if so asked.

  Args:
    configuration: Of the run.
    learner: As `SharedVariables` takes it.
    stop: Ends a wait for another actor that fetches.
  """
  source = SharedVariables(learner, shared_path(configuration.run.logdir), stop)
  steps = configuration.agent.extra_policy_lag
  try:
    yield lag.LaggedVariables(source, steps) if steps else source
  finally:
    source.close()


def _is_fit(version: np.ndarray, wanted: Sequence[np.ndarray]) -> bool:
  """Whether a version is of the same learner, and no older."""
  return bool(version[0] == wanted[0] and version[1] >= wanted[1])


def _take(lock: int) -> bool:
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  return True
