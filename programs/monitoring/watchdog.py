"""Detect a program that is stuck, from the records of the monitor."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from programs.monitoring import graph, recording

ACTIONS = ('warn', 'stop')

_START_FACTOR = 5  # Limit before the first batch: simulators load levels.


class StuckError(Exception):
  """The program is stuck; the message names the nodes."""


class Watchdog:
  """Checks records for nodes that wait or are silent for too long."""

  def __init__(self, seconds: float) -> None:
    """Let a node wait or be silent for `seconds`."""
    self._seconds = seconds
    self._found: dict[str, str] = {}  # Key of a fault -> warning.
    self._has_begun = False
    self._answered = time.monotonic()  # Last answer of the Reverb server.

  @property
  def warnings(self) -> Sequence[str]:
    """Warnings of the last record."""
    return list(self._found.values())

  def check(self, record: recording.Record) -> list[str]:
    """Return new warnings; each once until its cause is over."""
    before = self._found
    # Texts contain times: the first stays, so that it is logged once.
    self._found = {
      key: before.get(key, text) for key, text in self._find_faults(record)
    }
    return [text for key, text in self._found.items() if key not in before]

  def _find_faults(self, record: recording.Record) -> Iterator[tuple[str, str]]:
    # The learner has had a batch: its first wait is over.
    self._has_begun |= any(
      node['calls'].get('waiting_for_data') for node in record['nodes'].values()
    )
    limit, rule = self._seconds, f'--watchdog_seconds={self._seconds:g}.'
    if not self._has_begun:
      limit, rule = _START_FACTOR * limit, f'{_START_FACTOR} x {rule}'
    rule = f'longer than {rule}'
    tables = _describe_tables(record)
    now = record['time']
    blocked = []
    for name, node in record['nodes'].items():
      activity = node['activity'].replace('_', ' ')
      lasted = node['activity_seconds']
      is_long = lasted >= limit
      if node['age_seconds'] >= limit:
        yield (
          f'{name} silent',
          f'{name} has been silent since {_clock(now - node["age_seconds"])}, '
          f'{rule} Last activity: {activity}. Is its process alive? '
          f'See logs/{graph.log_name(name)}.',
        )
      elif is_long and _state(node) == 'waiting':
        yield (
          f'{name} waits',
          f'{name} has been {activity} since {_clock(now - lasted)}, {rule} '
          f'{tables} Is the node that it waits for alive? See the logs.',
        )
      elif is_long and _state(node) == 'blocked':
        blocked.append((lasted, name))
    # The queue stays full once the learner is done.
    is_over = any(
      _state(node) == 'idle' and 'waiting_for_data' in node['seconds']
      for node in record['nodes'].values()
    )
    if blocked and not is_over:
      names = ', '.join(name for _, name in blocked)
      yield (
        'blocked',
        f'The queue has been full since {_clock(now - max(blocked)[0])}, {rule}'
        f' {tables} {names} cannot insert. Is the node that samples alive? See '
        'its log.',
      )
    if record['tables'] is not None:
      self._answered = time.monotonic()
    silence = time.monotonic() - self._answered
    if silence >= limit:
      yield (
        'no answer',
        f'The Reverb server has not answered since {_clock(now - silence)}, '
        f'{rule} Is its process alive? See its log.',
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
