"""Flags, output and facts that the benchmarks share."""

import argparse
import json
import os
import pathlib
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import rich.console
import rich.table

from benchmarks import trial
from programs.runs import flags, provenance, run_config, run_directory

WARMUP = 'learning before the measurement, after the first metric record'
WINDOW = 'duration of the measurement'


def make_parser(
  name: str,
  description: str,
  output: pathlib.Path | None = None,
  **numbers: tuple[float, str],
) -> argparse.ArgumentParser:
  """Return a parser; unknown flags are for `train`.

  `numbers` are flags with their default, which sets the type, and their help.
  """
  parser = argparse.ArgumentParser(
    prog=f'./impala benchmark {name}',
    usage=f'./impala benchmark {name} [--FLAG=VALUE ...] [flags of train ...]',
    description=description,
    epilog='Flags of train (./impala train --help) are passed on. Defaults: '
    f'{" ".join(trial.TRAIN_FLAGS)}; for Atari {trial.ATARI_FLAG}',
    formatter_class=flags.HELP_FORMATTER,
    allow_abbrev=False,
  )
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    default=output,
    metavar='DIR',
    help=f'folder for the result as JSON [default: {output or "printed only"}]',
  )
  for flag, (default, text) in numbers.items():
    parser.add_argument(
      f'--{flag}',
      type=type(default),
      default=default,
      metavar=type(default).__name__.upper(),
      help=f'{text} [default {default:g}]',
    )
  return parser


def parse(
  parser: argparse.ArgumentParser, arguments: Sequence[str], *above_zero: str
) -> tuple[argparse.Namespace, list[str]]:
  """Return the benchmark's flags, checked if `above_zero`, and `train`'s."""
  given, train_flags = parser.parse_known_args(arguments)
  for name in above_zero:
    if (value := getattr(given, name)) <= 0:
      parser.error(f'--{name} must be greater than 0, got {value:g}')
  return given, train_flags


def finish(
  result: Mapping[str, Any],
  shown: Sequence[rich.table.Table | str],
  folder: pathlib.Path | None = None,
  name: str = '',
) -> None:
  """Print a result as tables and as a line of JSON.

  A folder gets the JSON as `<name>.json`; the default name is the benchmark's.
  """
  width = None if sys.stdout.isatty() else 120
  console = rich.console.Console(highlight=False, soft_wrap=True, width=width)
  for each in shown:
    console.print(each, markup=not isinstance(each, str))
  if folder:
    folder.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
      folder / f'{name or result["benchmark"]}.json', result
    )
  print(json.dumps(result))


def make_table(
  title: str, rows: Mapping[str, Mapping[str, Any]]
) -> rich.table.Table:
  """Return a table of name -> heading -> number, text or a sequence of them."""
  table = rich.table.Table(title=title, title_justify='left', box=None)
  table.add_column('', no_wrap=True)
  for heading in next(iter(rows.values()), {}):
    text = heading.replace('_', ' ')
    table.add_column(text, justify='right', overflow='fold')
  for name, values in rows.items():
    table.add_row(name.replace('_', ' '), *map(_format, values.values()))
  return table


def _format(value: Any) -> str:
  if value is None or isinstance(value, str):
    return value or ''
  if isinstance(value, Sequence):
    return ' '.join(map(_format, value))
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'


def machine() -> dict[str, Any]:
  """Return code revision, machine and time of a measurement."""
  info = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8')
  model = info.partition('model name')[2].partition('\n')[0].strip('\t :')
  return {
    'git_revision': provenance.git_revision(),
    'cores': len(os.sched_getaffinity(0)),
    'cpu_model': model or platform.machine(),
    'time': run_directory.now(),
  }


def facts(configuration: run_config.Configuration) -> dict[str, Any]:
  """Return `machine` with the size of a run."""
  names = ('level_name', 'num_actors', 'num_envs_per_actor')
  size = {name: getattr(configuration.run, name) for name in names}
  return {**size, **machine()}
