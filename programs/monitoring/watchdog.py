"""Says in words that a program is stuck, from what the monitor records."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from programs.monitoring import recording

ACTIONS = ('warn', 'stop')

# Before the first batch everything may take so many times longer: simulators
# load their levels.
_START_FACTOR = 5


class StuckError(Exception):
  """The program is stuck; the message says who waits for whom."""


class Watchdog:
  """Looks at each record; says what is wrong once, and that it is over."""

  def __init__(self, seconds: float) -> None:
    """A node may wait or be silent for so many seconds."""
    self._seconds = seconds
    self._found: dict[str, str] = {}  # What is wrong -> in words.
    self._has_begun = False
    self._answered = time.monotonic()  # When the Reverb server did last.

  @property
  def warnings(self) -> Sequence[str]:
    """What is wrong at present."""
    return list(self._found.values())

  def look(self, record: recording.Record) -> list[str]:
    """What is wrong since this record, each said once until it is over."""
    before = self._found
    # As it was said first, lest it be said again with every second.
    self._found = {
      key: before.get(key, text) for key, text in self._judge(record)
    }
    return [text for key, text in self._found.items() if key not in before]

  def _judge(self, record: recording.Record) -> Iterator[tuple[str, str]]:
    # Whoever samples has had a batch: its first wait is over.
    self._has_begun |= any(
      node['calls'].get('waiting_for_data') for node in record['nodes'].values()
    )
    patience = self._seconds * (1 if self._has_begun else _START_FACTOR)
    state = _describe_tables(record)
    now = record['time']
    blocked = []
    for name, node in record['nodes'].items():
      activity = node['activity'].replace('_', ' ')
      lasted = node['activity_seconds']
      is_long = lasted >= patience
      if node['age_seconds'] >= patience:
        yield (
          f'{name} silent',
          f'{name} has been silent since {_clock(now - node["age_seconds"])}, '
          f'when it was at: {activity}. See its log.',
        )
      elif is_long and _state(node) == 'waiting':
        yield (
          f'{name} waits',
          f'{name} has been {activity} since {_clock(now - lasted)}. {state} '
          'Does the node that it waits for still run? See the logs.',
        )
      elif is_long and _state(node) == 'blocked':
        blocked.append((lasted, name))
    # When who samples is done, the queue fills up and stays so.
    is_over = any(
      _state(node) == 'idle' and 'waiting_for_data' in node['seconds']
      for node in record['nodes'].values()
    )
    if blocked and not is_over:
      names = ', '.join(name for _, name in blocked)
      yield (
        'blocked',
        f'The queue has not drained since {_clock(now - max(blocked)[0])}: '
        f'{names} cannot insert. {state} Does the node that samples still run? '
        'See its log.',
      )
    if record['tables'] is not None:
      self._answered = time.monotonic()
    silence = time.monotonic() - self._answered
    if silence >= patience:
      yield (
        'no answer',
        f'The Reverb server has not answered since {_clock(now - silence)}. '
        'See its log.',
      )


def _clock(seconds: float) -> str:
  return time.strftime('%H:%M:%S', time.localtime(seconds))


def _state(node: Any) -> str:
  return node['kinds'].get(node['activity'], 'busy')


def _describe_tables(record: recording.Record) -> str:
  if record['tables'] is None:
    return 'The Reverb server does not answer.'
  return ' '.join(
    f"Table '{name}' holds {table['size']:,} of {table['capacity']:,}, after "
    f'{table["inserts"]:,} inserts and {table["samples"]:,} samples.'
    for name, table in record['tables'].items()
  )
