"""Makes a page of runs: `./impala report RUN [RUN ...] --output=DIR`."""

import pathlib
import sys
from collections.abc import Sequence

from programs.runs import flags, run_directory
from programs.views import report

_DESCRIPTION = """\
Makes one page of one or more run directories, whether they go on or have ended:
the dashboard's page of each, and of them together learning curves, scores and
what differs. Runs that differ in their seed alone become one curve with its
interval. Writes index.html, which needs no other file and no server, and beside
it curves.png and scores.csv.

  ./impala report runs/pong
  ./impala report runs/pong_seed1 runs/pong_seed2 --output=runs/pong_report"""


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
      raise run_directory.RunError(
        f'output must be given for several runs, got {len(paths)} runs without'
      )
    output = pathlib.Path(
      given.output or run_directory.RunDirectory(paths[0]).report
    )
    output = output.expanduser().absolute()
    said = report.write(paths, output)
  except run_directory.RunError as error:
    print(f'./impala report: {error}', file=sys.stderr)
    return 2
  for name, sentence in said.items():
    print(sentence if len(said) == 1 else f'{name}: {sentence}')
  print(output / report.PAGE)
  return 0


if __name__ == '__main__':
  sys.exit(main())
