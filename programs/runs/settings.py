"""The settings of a run, one by one, for people."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from programs.runs import flags, presets

_OF_THE_RUN = ('preset', 'logdir')


def describe(groups: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Each setting of a run's `config.json`.

  Returns:
    For each its group, name, value, unit and help, and its origin: 'default',
    'preset' where that says otherwise, or 'flag' where both do.
  """
  preset = presets.PRESETS.get(str(groups.get('run', {}).get('preset')), {})
  settings = []
  for group, values in groups.items():
    known = {}
    if group in flags.GROUPS:  # Another version may know others.
      fields = dataclasses.fields(flags.GROUPS[group])
      known = {field.name: field for field in fields}
    for name, value in values.items():
      field = known.get(name)
      if name in preset and value == preset[name]:
        origin = 'preset'
      elif name in _OF_THE_RUN:
        origin = 'default'  # Chosen for each run.
      else:
        origin = 'default' if field and value == field.default else 'flag'
      facts = field.metadata if field else {}
      settings.append(
        {
          'group': group,
          'name': name,
          'value': value,
          'origin': origin,
          'unit': facts.get('unit', ''),
          'help': facts.get('help', ''),
        }
      )
  return settings
