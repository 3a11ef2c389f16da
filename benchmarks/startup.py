"""How long does it take from the command to the first learner step?"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import rich.table

from benchmarks import commands, trial
from programs.inspection import milestones, phases

NAME = 'startup'

_DESCRIPTION = """\
Starts the real training program several times and tells by phase what comes
before the first learner step, and how long and how large the processes of each
role come up. Prints tables and, as the last line, one JSON object. Progress
goes to the standard error.

  ./impala benchmark startup
  ./impala benchmark startup --runs=3 --level_name=catch

Seconds are medians over the runs, memory is the most. The first start after a
reboot reads a gigabyte from the disk."""

_COLUMNS = (
  ('imports, s', 'import_seconds', '.2f'),
  ('of a core, s', 'import_cpu_seconds', '.2f'),
  ('MB with imports', 'imported_mb', ',.0f'),
  ('ready after, s', 'ready_seconds', '.2f'),
  ('MB when ready', 'ready_mb', ',.0f'),
)


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  if given.runs < 1:
    parser.error(f'--runs must be at least 1, got {given.runs}')
  starts = []
  with commands.failing(NAME):
    for number in range(given.runs):
      trial.tell(f'run {number + 1} of {given.runs}')
      with trial.start(train_flags) as run:
        starts.append(measure(run))
        facts = commands.facts(run.configuration)
  result = {'benchmark': NAME, **facts, **summarise(starts)}
  commands.finish(result, tables(result), given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  parser.add_argument(
    '--runs',
    type=int,
    default=5,
    metavar='INT',
    help='starts that are measured [default 5]',
  )
  return parser


def measure(run: trial.Trial) -> Sequence[milestones.Milestone]:
  """Waits for the first learner step of a run that was just started.

  Args:
    run: Not yet learning.

  Returns:
    What its processes reached until then.

  Raises:
    trial.TrialError: It did not come in time, or the run ended.
  """
  run.wait_for_learning()
  while True:
    found = milestones.read(run.directory.path)
    if phases.sentence(phases.make_phases(found)):
      return found
    run.new_rows()  # Waits a moment.


def summarise(
  starts: Sequence[Sequence[milestones.Milestone]],
) -> dict[str, Any]:
  """What several starts of one configuration come to.

  Args:
    starts: Their milestones.

  Returns:
    The figures, as they stand in the JSON object.
  """
  by_run = [dict(phases.make_phases(start)) for start in starts]
  seconds = [sum(each.values()) for each in by_run]
  names = dict.fromkeys(name for each in by_run for name in each)
  return {
    'seconds': seconds,
    'median_seconds': statistics.median(seconds),
    'phases': {
      name: statistics.median(each.get(name, 0.0) for each in by_run)
      for name in names
    },
    'roles': _roles(starts),
  }


def _roles(
  starts: Sequence[Sequence[milestones.Milestone]],
) -> dict[str, dict[str, float]]:
  """Role -> the figures of `_COLUMNS`."""
  roles: dict[str, list[phases.Start]] = {}
  for start in starts:
    for made in phases.make_starts(start):
      roles.setdefault(made.role, []).append(made)
  return {
    role: {
      'import_seconds': statistics.median(s.import_seconds for s in made),
      'import_cpu_seconds': statistics.median(
        s.import_cpu_seconds for s in made
      ),
      'imported_mb': max(s.imported_bytes for s in made) / trial.MEGABYTE,
      'ready_seconds': statistics.median(s.ready_seconds for s in made),
      'ready_mb': max(s.ready_bytes for s in made) / trial.MEGABYTE,
    }
    for role, made in roles.items()
  }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table]:
  """The result for people."""
  title = (
    f'{result["level_name"]}, {result["num_actors"]} actors x '
    f'{result["num_envs_per_actor"]} environments, {result["cores"]} cores, '
    f'{len(result["seconds"])} starts'
  )
  table = rich.table.Table('phase', title=title, title_justify='left')
  table.add_column('seconds', justify='right')
  for name, seconds in result['phases'].items():
    table.add_row(name, f'{seconds:.2f}')
  table.add_section()
  least, most = min(result['seconds']), max(result['seconds'])
  table.add_row(
    'command to first learner step',
    f'{result["median_seconds"]:.2f} ({least:.2f} to {most:.2f})',
  )
  roles = rich.table.Table('role')
  for heading, _, _ in _COLUMNS:
    roles.add_column(heading, justify='right')
  for role, figures in result['roles'].items():
    roles.add_row(
      role, *(format(figures[name], form) for _, name, form in _COLUMNS)
    )
  return [table, roles]
