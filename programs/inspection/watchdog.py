"""Says in words that a program is stuck, from what the monitor records."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from programs.inspection import recording

ACTIONS = ('warn', 'stop')


# Before the first sample everything may take so many times longer: simulators
# load their levels.
_START_FACTOR = 5


class StuckError(Exception):
  """The program is stuck; the message says who waits for whom."""


class Watchdog:
  """Looks at each record; tells what is wrong once, and that it is over."""

  def __init__(
    self, seconds: float, clock: Callable[[], float] = time.monotonic
  ) -> None:
    """Everything is well so far.

    Args:
      seconds: How long a node may wait or be silent.
      clock: Tells the time in seconds.
    """
    self._seconds = seconds
    self._clock = clock
    self._found: dict[str, str] = {}  # What is wrong -> in words.
    self._no_answer_since: float | None = None

  @property
  def warnings(self) -> Sequence[str]:
    """What is wrong at present."""
    return list(self._found.values())

  def look(self, record: recording.Record) -> list[str]:
    """Looks at a record.

    Returns:
      What is wrong since this one, each told once until it is over.
    """
    before, self._found = self._found, dict(self._judge(record))
    return [text for key, text in self._found.items() if key not in before]

  def _judge(self, record: recording.Record) -> Iterator[tuple[str, str]]:
    """What is wrong, and that in words."""
    state = _describe_tables(record)
    patience, blocked = self._seconds, []
    if not any(table['samples'] for table in (record['tables'] or {}).values()):
      patience *= _START_FACTOR
    # Who has learned all there is lets the queue fill up.
    is_over = any(
      _kind(node) == 'idle' and 'waiting_for_data' in node['seconds']
      for node in record['nodes'].values()
    )
    for name, node in record['nodes'].items():
      if node['age_seconds'] >= self._seconds:
        yield (
          f'{name} silent',
          f'{name} has been silent for {node["age_seconds"]:.0f} s; it was '
          f'last at: {_words(node["activity"])}. See its log.',
        )
      elif node['activity_seconds'] >= patience:
        if _kind(node) == 'waiting':
          yield (
            f'{name} waits',
            f'{name} has been {_words(node["activity"])} for '
            f'{node["activity_seconds"]:.0f} s. {state} Does the node that it '
            'waits for still run? See its log.',
          )
        elif _kind(node) == 'blocked' and not is_over:
          blocked.append(name)
    if blocked:
      yield (
        'blocked',
        f'The queue has not drained for {patience:.0f} s: '
        f'{", ".join(blocked)} cannot insert. {state} Does the node that '
        'samples still run? See its log.',
      )
    if record['tables'] is not None:
      self._no_answer_since = None
    elif self._no_answer_since is None:
      self._no_answer_since = self._clock()
    elif self._clock() - self._no_answer_since >= self._seconds:
      yield (
        'no answer',
        'The Reverb server has not answered for '
        f'{self._clock() - self._no_answer_since:.0f} s. See its log.',
      )


def _kind(node: Any) -> str:
  return node['kinds'].get(node['activity'], 'busy')


def _words(activity: str) -> str:
  return activity.replace('_', ' ')


def _describe_tables(record: recording.Record) -> str:
  if record['tables'] is None:
    return 'The Reverb server does not answer.'
  return ' '.join(
    f"Table '{name}' holds {table['size']:,} of {table['capacity']:,}, after "
    f'{table["inserts"]:,} inserts and {table["samples"]:,} samples.'
    for name, table in record['tables'].items()
  )
