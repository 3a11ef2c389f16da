"""Write a report of runs: `./impala report RUN [RUN ...] --output=DIR`."""

import pathlib
import sys
from collections.abc import Sequence

from programs.runs import flags, run_directory
from programs.views import report

_DESCRIPTION = """\
Writes a report of one or more runs, running or ended: the dashboard of each
run, and their learning curves, scores and differing settings compared. Runs
that differ in the seed only are drawn as one curve with its interval. The
report is a self-contained index.html, with curves.png and scores.csv beside it.

  ./impala report runs/pong
  ./impala report runs/pong_seed1 runs/pong_seed2 --output=runs/pong_report"""


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command; return its exit status, 2 if nothing was written."""
  parser = flags.make_parser('report', _DESCRIPTION)
  parser.usage = './impala report RUN [RUN ...] [--output=DIR]'
  parser.add_argument('runs', nargs='+', metavar='RUN', help='Run directory.')
  parser.add_argument(
    '--output',
    metavar='DIR',
    help="Folder of the report. [default for one run: 'report' in its "
    'directory]',
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
        f'output must be given with several runs, got {len(paths)} runs'
      )
    output = pathlib.Path(
      given.output or run_directory.RunDirectory(paths[0]).report
    )
    output = output.expanduser().absolute()
    verdicts = report.write(paths, output)
  except run_directory.RunError as error:
    print(f'./impala report: {error}', file=sys.stderr)
    return 2
  for name, sentence in verdicts.items():
    print(sentence if len(verdicts) == 1 else f'{name}: {sentence}')
  print(output / report.PAGE)
  return 0


if __name__ == '__main__':
  sys.exit(main())
