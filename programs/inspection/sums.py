"""What was added to the monitor's sums between two records."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from programs.inspection import recording

Sums = Mapping[str, Any]


def is_under_way(record: recording.Record) -> bool:
  """Whether data flows: who samples has had a batch, and is not done.

  Before, all wait for the slowest start; after, the last evaluation runs while
  the queue is full. Neither says which side is slow.
  """
  return record['tables'] is not None and any(
    node['calls'].get('waiting_for_data')
    and node['kinds'].get(node['activity']) != 'idle'
    for node in record['nodes'].values()
  )


class Ends:
  """The first and the last record of each start of the monitor.

  Of those that are under way; of all where none is.
  """

  def __init__(self, records: Iterable[recording.Record] = ()) -> None:
    """Takes records in the order of their time."""
    self._all: dict[float, list[recording.Record]] = {}
    self._under_way: dict[float, list[recording.Record]] = {}
    for record in records:
      self.add(record)

  def add(self, record: recording.Record) -> None:
    """Takes the next record."""
    self._all.setdefault(record['start'], [record, record])[1] = record
    if is_under_way(record):
      ends = self._under_way.setdefault(record['start'], [record, record])
      ends[1] = record

  @property
  def are_under_way(self) -> bool:
    """Whether they say which side is slow."""
    return any(first is not last for first, last in self._under_way.values())

  def records(self) -> list[recording.Record]:
    """Two records of each start."""
    pairs = self._under_way if self.are_under_way else self._all
    return [record for pair in pairs.values() for record in pair]


def added(stretches: Iterable[Sequence[recording.Record]]) -> Sums:
  """What was added over stretches of records.

  Args:
    stretches: Records of one start each, by their time.

  Returns:
    'time' in seconds; by what the numbers of 'nodes', 'processes' and 'machine'
    have grown meanwhile; 'tables', and 'tables_time' between the first and the
    last record in which the server answered.
  """
  return functools.reduce(_add, map(_added, stretches), {})


def _added(records: Sequence[recording.Record]) -> Sums:
  first, last = records[0], records[-1]
  told = [record for record in records if record['tables'] is not None]
  answers = (told[0], told[-1]) if told else ()
  return {
    'time': last['time'] - first['time'],
    **{
      part: _grown_by_name(first, last, part) for part in ('nodes', 'processes')
    },
    'machine': _grown(first['machine'], last['machine']),
    'tables': _grown_by_name(*answers, 'tables') if answers else {},
    'tables_time': told[-1]['time'] - told[0]['time'] if told else 0.0,
  }


def _grown_by_name(
  first: recording.Record, last: recording.Record, part: str
) -> Sums:
  return {
    name: _grown(first[part].get(name) or {}, sums)
    for name, sums in last[part].items()
  }


def _grown(first: Mapping[str, Any], last: Mapping[str, Any]) -> Sums:
  """By how much each number has grown; all of it where it began anew."""
  grown: dict[str, Any] = {}
  for name, value in last.items():
    if isinstance(value, Mapping):
      grown[name] = _grown(first.get(name) or {}, value)
    elif isinstance(value, int | float):
      before = first.get(name) or 0
      grown[name] = value - before if value >= before else value
  return grown


def _add(one: Sums, other: Sums) -> Sums:
  both = dict(one)
  for name, value in other.items():
    if isinstance(value, Mapping):
      both[name] = _add(both.get(name, {}), value)
    else:
      both[name] = both.get(name, 0) + value
  return both
