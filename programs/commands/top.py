"""Show a run in the terminal: `./impala top --logdir=DIR`."""

import sys
import time
from collections.abc import Sequence

import rich.console
import rich.live

from programs.runs import flags
from programs.views import reading, terminal

_DESCRIPTION = """\
Shows the graph of a run with live statistics: how each node spends its time,
rates on the edges, how full the queue is, and the bottleneck. If the run has
ended, they are means over the whole run.

  ./impala top --logdir=runs/pong

Ctrl-C stops the display, not the run."""

_PERIOD_SECONDS = 1.0


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command; return its exit status."""
  parser = flags.make_parser('top', _DESCRIPTION)
  flags.add_logdir(parser)
  path = parser.parse_args(argv).logdir
  run = reading.Run(path)
  run.refresh()
  if run.graph is None:
    print(
      f'./impala top: logdir must be a run directory with a graph.json, got '
      f'{path}',
      file=sys.stderr,
    )
    return 2
  console = rich.console.Console(highlight=False)
  if not console.is_terminal or run.is_over:
    console.print(_page(run))
    return 0
  try:
    with rich.live.Live(console=console, auto_refresh=False) as shown:
      while True:
        shown.update(_page(run), refresh=True)
        if run.is_over and run.state != 'lost':
          return 0
        time.sleep(_PERIOD_SECONDS)
        run.refresh()
  except KeyboardInterrupt:
    return 0


def _page(run: reading.Run) -> rich.console.RenderableType:
  if run.graph is None:  # The directory is being renamed for a new run.
    return terminal.progress(run)
  graph = terminal.graph_text(run.graph, run.statistics)
  return rich.console.Group(terminal.progress(run), '', graph)


if __name__ == '__main__':
  sys.exit(main())
