"""Makes a page of runs: `./impala report RUN [RUN ...] --output=DIR`."""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from programs import flags, runs
from programs.reports import (
  comparisons,
  curves,
  histories,
  labels,
  pages,
  plots,
  scores,
)

_DESCRIPTION = """\
Makes one page of one or more run directories, whether they go on or have ended:
learning curves, scores, where the time goes, and what differs between the runs.
Runs that differ in their seed alone are drawn as one curve with its interval.
Writes report.html, which needs no other file, and beside it returns.png,
training.png and scores.md, .csv and .json.

  ./impala report runs/pong
  ./impala report runs/pong_seed1 runs/pong_seed2 --output=runs/pong_report"""

PAGE = 'report.html'

_PATIENCE_SECONDS = 2.0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command.

  Args:
    argv: Its arguments; by default, the command line's.

  Returns:
    Its exit status: 0, or 2 where nothing was written.
  """
  given = _make_parser().parse_args(argv)
  paths = list(
    dict.fromkeys(
      pathlib.Path(run).expanduser().resolve() for run in given.runs
    )
  )
  try:
    if given.output is None and len(paths) > 1:
      raise runs.RunError(
        f'output must be given for several runs, got {len(paths)} runs without'
      )
    output = pathlib.Path(given.output or runs.RunDirectory(paths[0]).report)
    output = output.expanduser().absolute()
    found = write(paths, output, _Teller())
  except runs.RunError as error:
    print(f'./impala report: {error}', file=sys.stderr)
    return 2
  for run in found:
    prefix = '' if len(found) == 1 else f'{run.name}: '
    print(f'{prefix}{labels.sentence(run)}')
  print(output / PAGE)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('report', _DESCRIPTION)
  parser.usage = './impala report RUN [RUN ...] [--output=DIR]'
  parser.add_argument('runs', nargs='+', metavar='RUN', help='a run directory')
  parser.add_argument(
    '--output',
    metavar='DIR',
    help="where it goes [default: 'report' in the run directory, if there is "
    'but one]',
  )
  return parser


class _Teller:
  """Says what is done where it takes a while."""

  def __init__(self) -> None:
    self._due = time.monotonic() + _PATIENCE_SECONDS

  def __call__(self, what: str) -> None:
    if time.monotonic() >= self._due:
      print(what, file=sys.stderr, flush=True)
      self._due = time.monotonic() + _PATIENCE_SECONDS


def write(
  paths: Sequence[pathlib.Path],
  output: pathlib.Path,
  tell: Callable[[str], None] = lambda what: None,
) -> list[histories.History]:
  """Writes the report.

  Args:
    paths: Of run directories, absolute, each another one.
    output: Folder of the report, absolute; made if it is not there. A report
      that is there is replaced when the new one is whole.
    tell: Told what comes next.

  Returns:
    What was read of each run.

  Raises:
    runs.RunError: One is no run directory, or the folder cannot be written to.
  """
  found = []
  for path, name in zip(paths, comparisons.names(paths), strict=True):
    tell(f'reading {path}')
    found.append(histories.read(runs.RunDirectory(path), name))
  groups = comparisons.groups(found)
  try:
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.new-', dir=output) as folder:
      _write_files(groups, pathlib.Path(folder), tell)
      # The page last: it is what there is a report by.
      for new in sorted(
        pathlib.Path(folder).iterdir(), key=lambda path: path.name == PAGE
      ):
        os.replace(new, output / new.name)
  except OSError as error:
    raise runs.RunError(
      f'output must be a directory that can be written to, got {output} '
      f'({error.strerror})'
    ) from error
  return found


def _write_files(
  groups: dict[str, list[histories.History]],
  folder: pathlib.Path,
  tell: Callable[[str], None],
) -> None:
  pictures = {}
  drawn = curves.make_curves(groups)
  tell(f'drawing the curves of {len(drawn)} levels')
  plots.save(plots.draw_returns(drawn), folder / 'returns.png')
  tell('drawing the figures of learning')
  plots.save(plots.draw_training(groups), folder / 'training.png')
  for title, name in (('Returns', 'returns'), ('Learning', 'training')):
    pictures[title] = (folder / f'{name}.png').read_bytes()
  of_runs, of_groups = scores.make_scores(groups)
  runs.write_text(folder / 'scores.csv', scores.to_csv([*of_groups, *of_runs]))
  runs.write_text(folder / 'scores.md', scores.to_markdown(of_runs, of_groups))
  runs.write_json(
    folder / 'scores.json',
    {'method': scores.METHOD, 'groups': of_groups, 'runs': of_runs},
  )
  tell('writing the page')
  page = pages.make_page(groups, of_runs, of_groups, pictures)
  runs.write_text(folder / PAGE, page)


if __name__ == '__main__':
  sys.exit(main())
