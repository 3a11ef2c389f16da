"""Runs side by side: which of them are the same, and what tells them apart."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from programs.reports import histories as histories_lib

# Where a run is kept and watched; runs that differ in nothing else learn the
# same but for chance. A preset is in the fields that it sets.
_UNRELATED = frozenset(
  (
    'logdir',
    'seed',
    'preset',
    'monitor',
    'watchdog',
    'watchdog_seconds',
    'log_period_seconds',
    'checkpoint_period_seconds',
    'evaluation_period_frames',
    'test_num_episodes',
    'learner_threads',
    'env_processes',
    'dataset_path',
    'level_cache',
    'renderer',
  )
)


def names(paths: Sequence[pathlib.Path]) -> list[str]:
  """The shortest names that tell directories apart, from their end.

  Args:
    paths: Absolute, each another one.
  """
  if len({path.name for path in paths}) == len(paths):
    return [path.name or str(path) for path in paths]
  common = os.path.commonpath(paths)
  return [os.path.relpath(path, common) for path in paths]


def groups(
  histories: Sequence[histories_lib.History],
) -> dict[str, list[histories_lib.History]]:
  """Runs that learn the same but for chance, by what tells them from others."""
  by_kind: dict[tuple[tuple[str, Any], ...], list[histories_lib.History]] = {}
  for history in histories:
    by_kind.setdefault(_kind(history), []).append(history)
  kinds = [dict(kind) for kind in by_kind]
  telling: list[str] = []
  for field in [
    'level_name',
    *dict.fromkeys(n for kind in kinds for n in kind),
  ]:
    before, after = (
      len({tuple(map(kind.get, fields)) for kind in kinds})
      for fields in (telling, [*telling, field])
    )
    if after > before:
      telling.append(field)
  if not telling:
    return {histories[0].fields['level_name']: list(histories)}
  return {
    ', '.join(
      str(kind[name]) if name == 'level_name' else f'{name}={kind.get(name)}'
      for name in telling
    ): found
    for kind, found in zip(kinds, by_kind.values(), strict=True)
  }


def differing(histories: Sequence[histories_lib.History]) -> list[str]:
  """Fields of the configuration whose value is not the same in all runs."""
  fields = dict.fromkeys(name for each in histories for name in each.fields)
  return [
    name
    for name in fields
    if len({repr(each.fields.get(name)) for each in histories}) > 1
    and name != 'logdir'
  ]


def _kind(history: histories_lib.History) -> tuple[tuple[str, Any], ...]:
  """What a run's learning depends on, but for chance."""
  return tuple(
    (name, value)
    for name, value in sorted(history.fields.items())
    if name not in _UNRELATED
  )
