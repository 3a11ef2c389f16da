"""Makes a page of runs: `./impala report RUN [RUN ...] --output=DIR`."""

import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from programs.runs import flags, runs, settings
from programs.views import comparison, page_files, plots, reading, scores, view

_DESCRIPTION = """\
Makes one page of one or more run directories, whether they go on or have ended:
the dashboard's page of each, and of them together learning curves, scores and
what differs. Runs that differ in their seed alone become one curve with its
interval. Writes index.html, which needs no other file and no server, and beside
it curves.png and scores.csv.

  ./impala report runs/pong
  ./impala report runs/pong_seed1 runs/pong_seed2 --output=runs/pong_report"""

PAGE = 'index.html'


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status, 2 where nothing was written."""
  parser = flags.make_parser('report', _DESCRIPTION)
  parser.usage = './impala report RUN [RUN ...] [--output=DIR]'
  parser.add_argument('runs', nargs='+', metavar='RUN', help='a run directory')
  parser.add_argument(
    '--output',
    metavar='DIR',
    help="where it goes [default: 'report' in the run directory, if there is "
    'but one]',
  )
  given = parser.parse_args(argv)
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
    said = write(paths, output)
  except runs.RunError as error:
    print(f'./impala report: {error}', file=sys.stderr)
    return 2
  for name, sentence in said.items():
    print(sentence if len(said) == 1 else f'{name}: {sentence}')
  print(output / PAGE)
  return 0


def write(
  paths: Sequence[pathlib.Path], output: pathlib.Path
) -> dict[str, str]:
  """Writes the report; a run's name -> the verdict on its speed, or why none.

  Args:
    paths: Of run directories, absolute, each another one.
    output: Folder of the report, absolute; made if it is not there. A report
      that is there is replaced when the new one is whole.

  Raises:
    runs.RunError: One is no run directory, or the folder cannot be written to.
  """
  found, pages = {}, {}
  for path, name in zip(paths, comparison.names(paths), strict=True):
    runs.RunDirectory(path).read_config()  # Or says what is wrong.
    found[name] = reading.Run(path)
    pages[name] = view.View(found[name], settings.describe).export()
  compared = comparison.compare(found)
  content = {'made': runs.now(), 'runs': pages, 'comparison': compared}
  try:
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.new-', dir=output) as name:
      folder = pathlib.Path(name)
      plots.save(plots.draw_curves(compared['curves']), folder / 'curves.png')
      table = scores.to_csv(compared['scores'])
      runs.write_text(folder / 'scores.csv', table)
      runs.write_text(folder / PAGE, page_files.make_one(content))
      # The page last: it is what there is a report by.
      for new in sorted(folder.iterdir(), key=lambda path: path.name == PAGE):
        os.replace(new, output / new.name)
  except OSError as error:
    raise runs.RunError(
      f'output must be a directory that can be written to, got {output} '
      f'({error.strerror})'
    ) from error
  return {name: comparison.sentence(run) for name, run in found.items()}


if __name__ == '__main__':
  sys.exit(main())
