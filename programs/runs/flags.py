"""Flags of the configuration: one flag per field, with the field's name.

Precedence: flag, `config.json` of a resumed run, preset (chosen by the level),
default of the dataclass.
"""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import environments
from programs.runs import presets, run_config

# Group in `config.json` -> its dataclass.
GROUPS: dict[str, Any] = {
  group.name: group.type
  for group in dataclasses.fields(run_config.Configuration)
}

# Environment settings that may differ between machines.
OF_MACHINE = ('dataset_path', 'level_cache', 'renderer')

# Shown as defaults whatever their value.
_CHOSEN_PER_RUN = ('preset', 'logdir')

HELP_FORMATTER = functools.partial(
  argparse.RawDescriptionHelpFormatter, max_help_position=28, width=80
)


def make_parser(command: str, description: str) -> argparse.ArgumentParser:
  """Return the parser of a command; flags cannot be abbreviated."""
  return argparse.ArgumentParser(
    prog=f'./impala {command}',
    usage=f'./impala {command} [--FLAG=VALUE ...]',
    description=description,
    formatter_class=HELP_FORMATTER,
    allow_abbrev=False,
  )


def add_configuration(
  parser: argparse.ArgumentParser,
  names: Collection[str] | None = None,
  preset_names: Collection[str] = tuple(presets.PRESETS),
) -> None:
  """Add flags for fields of `run_config.Configuration`, by default all.

  Their help shows the defaults of these presets.
  """
  for title, config_class in GROUPS.items():
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(config_class):
      if names is None or field.name in names:
        add_field(group, field, preset_names)


def add_field(
  group: Any,
  field: dataclasses.Field,
  preset_names: Collection[str] = (),
  **overrides: Any,
) -> None:
  """Add the flag of a field; it is absent from the result if not given.

  `overrides` replace arguments of argparse.
  """
  is_switch = isinstance(field.default, bool)
  metavar = 'true|false' if is_switch else type(field.default).__name__.upper()
  options: dict[str, Any] = dict(
    type=_switch if is_switch else type(field.default),
    default=argparse.SUPPRESS,
    metavar=metavar,
    help=f'{field.metadata["help"]} {_annotation(field, preset_names)}'.replace(
      '%', '%%'
    ),
  )
  if is_switch:
    options |= {'nargs': '?', 'const': True}
  group.add_argument(f'--{field.name}', **{**options, **overrides})


def add_logdir(parser: argparse.ArgumentParser) -> None:
  """Add `--logdir` of an existing run, which becomes an absolute path."""
  parser.add_argument(
    '--logdir',
    type=lambda text: pathlib.Path(text).expanduser().absolute(),
    required=True,
    metavar='DIR',
    help='Run directory.',
  )


def add_isolation(group: Any) -> None:
  """Add `--require_isolation`; it is absent from the result if not given."""
  group.add_argument(
    '--require_isolation',
    type=_switch,
    nargs='?',
    const=True,
    default=argparse.SUPPRESS,
    metavar='true|false',
    help='Refuse to start if the kernel allows no private network namespace, '
    'so that other machines could connect to the nodes. [default false: log a '
    'warning with the ports]',
  )


def _annotation(field: dataclasses.Field, preset_names: Collection[str]) -> str:
  """Return '[agent steps; greater than 0; default 100; atari_expert 20]'."""
  rule = field.metadata.get('rule')
  by_value: dict[Any, list[str]] = {}
  for name in preset_names:
    value = presets.PRESETS[name].get(field.name, field.default)
    if value != field.default:
      by_value.setdefault(value, []).append(name)
  parts = [
    field.metadata['unit'],
    rule.text if rule else '',
    f'default {_show(field.default)}',
    *(f'{", ".join(names)} {_show(v)}' for v, names in by_value.items()),
  ]
  return f'[{"; ".join(part for part in parts if part)}]'


def _show(value: Any) -> str:
  if isinstance(value, bool):
    return str(value).lower()
  return (
    repr(value) if isinstance(value, str) else f'{value:,}'.replace(',', '_')
  )


def _switch(text: str) -> bool:
  try:
    return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
  except KeyError:
    raise argparse.ArgumentTypeError(
      f'must be true or false, got {text!r}'
    ) from None


def resolve(
  given: Mapping[str, Any],
  stored: Mapping[str, Mapping[str, Any]] | None = None,
) -> run_config.Configuration:
  """Return the configuration, by precedence.

  Args:
    given: The flags of the command line; those that are no field are ignored.
    stored: Content of `config.json` when a run is resumed.

  Raises:
    ValueError: A value breaks its rule.
  """
  known = {
    name: value
    for group in (stored or {}).values()
    for name, value in group.items()
  }
  level_name = given.get(
    'level_name', known.get('level_name', run_config.RunConfig().level_name)
  )
  environments.check(level_name)
  preset = (
    given.get('preset') or known.get('preset') or presets.choose(level_name)
  )
  defaults = presets.PRESETS.get(preset, {})  # RunConfig refuses the others.
  values = {**defaults, **known, **given, 'preset': preset}
  return run_config.Configuration.from_dict(dict.fromkeys(GROUPS, values))


def unknown(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Return the fields of a stored configuration unknown to this version."""
  known = {
    field.name
    for config_class in GROUPS.values()
    for field in dataclasses.fields(config_class)
  }
  return {
    name: value
    for group in stored.values()
    for name, value in group.items()
    if name not in known
  }


def changes(
  stored: Mapping[str, Mapping[str, Any]],
  configuration: run_config.Configuration,
) -> Sequence[tuple[str, Any, Any]]:
  """Return the changed fields as (name, stored value, new value)."""
  return [
    (name, stored[title][name], value)
    for title, group in configuration.to_dict().items()
    for name, value in group.items()
    if name in stored.get(title, {}) and stored[title][name] != value
  ]


def describe(groups: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Return the settings in a run's `config.json`, for display.

  Each has its group, name, value, unit and help, and its origin: 'default',
  'preset' or 'flag'.
  """
  preset = presets.PRESETS.get(str(groups.get('run', {}).get('preset')), {})
  settings = []
  for group, values in groups.items():
    known = {}
    if group in GROUPS:  # Another version may have others.
      fields = dataclasses.fields(GROUPS[group])
      known = {field.name: field for field in fields}
    for name, value in values.items():
      field = known.get(name)
      if name in preset and value == preset[name]:
        origin = 'preset'
      elif name in _CHOSEN_PER_RUN or (field and value == field.default):
        origin = 'default'
      else:
        origin = 'flag'
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
