"""Flags <-> configuration: one flag for each field, by its name.

Order of authority: flag, the run directory's `config.json` (when a run is
resumed), preset (chosen by the level), the dataclass's default.
"""

import argparse
import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import environments
from agents.impala import config as config_lib
from environments import suites
from programs.runs import presets, run_config

# Group of `config.json` -> whose fields it holds.
GROUPS = {
  'run': run_config.RunConfig,
  'agent': config_lib.ImpalaConfig,
  'environment': environments.Settings,
}

# Of the environment, what may differ from one machine to the next.
OF_MACHINE = ('dataset_path', 'level_cache', 'renderer')

HELP_FORMATTER = functools.partial(
  argparse.RawDescriptionHelpFormatter, max_help_position=28, width=80
)


def make_parser(command: str, description: str) -> argparse.ArgumentParser:
  """A parser that teaches; flags cannot be abbreviated."""
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
  """Adds flags for fields of a `run_config.Configuration`, by default for all.

  Their help shows the defaults of the presets named.
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
  """Adds the flag of one field; it is absent from the result if not given.

  `overrides` are of what argparse is told.
  """
  is_switch = isinstance(field.default, bool)
  metavar = 'true|false' if is_switch else type(field.default).__name__.upper()
  options: dict[str, Any] = dict(
    type=_switch if is_switch else type(field.default),
    default=argparse.SUPPRESS,
    metavar=metavar,
    help=f'{field.metadata["help"]} {_describe(field, preset_names)}'.replace(
      '%', '%%'
    ),
  )
  if is_switch:
    options |= {'nargs': '?', 'const': True}
  group.add_argument(f'--{field.name}', **{**options, **overrides})


def add_isolation(group: Any) -> None:
  """Adds `--require_isolation`; it is absent from the result if not given."""
  group.add_argument(
    '--require_isolation',
    type=_switch,
    nargs='?',
    const=True,
    default=argparse.SUPPRESS,
    metavar='true|false',
    help='refuse to start where the kernel allows no network of the own, in '
    'which no other machine reaches the ports of the nodes [default false: a '
    'warning names the ports]',
  )


def _describe(field: dataclasses.Field, preset_names: Collection[str]) -> str:
  """'[agent steps; greater than 0; default 100; atari_expert 20]'."""
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
  """Puts a configuration together by order of authority.

  `given` has flags alone that were given, others than fields being ignored;
  `stored` what `config.json` says when a run is resumed.

  Raises:
    ValueError: A value breaks its rule; names field, rule and value.
  """
  known = {
    name: value
    for group in (stored or {}).values()
    for name, value in group.items()
  }
  level_name = given.get(
    'level_name', known.get('level_name', run_config.RunConfig().level_name)
  )
  suites.check(level_name)
  preset = (
    given.get('preset') or known.get('preset') or presets.choose(level_name)
  )
  defaults = presets.PRESETS.get(preset, {})  # RunConfig refuses the others.
  values = {**defaults, **known, **given, 'preset': preset}
  return run_config.Configuration.from_dict(dict.fromkeys(GROUPS, values))


def unknown(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Fields of a stored configuration that this version does not have."""
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
  """Fields that differ from a stored configuration: (name, stored, new)."""
  return [
    (name, stored[title][name], value)
    for title, group in configuration.to_dict().items()
    for name, value in group.items()
    if name in stored.get(title, {}) and stored[title][name] != value
  ]
