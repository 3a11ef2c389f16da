"""Shows a run in the terminal: `./impala top --logdir=DIR`."""

import argparse
import datetime
import pathlib
import sys
import time
from collections.abc import Sequence

import rich.console
import rich.live
import rich.text

from programs import flags
from programs.inspection import live, rows, terminal

_DESCRIPTION = """\
Shows a run's graph with figures: what each node is at, what flows, how full the
queue is, and which side is slow. The run may go on or be over: then the figures
are means over all of it.

  ./impala top --logdir=runs/pong

Ctrl-C ends it, and not the run."""

_PERIOD_SECONDS = 1.0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: Its flags; by default, the command line's.
  """
  arguments = _make_parser().parse_args(argv)
  path = pathlib.Path(arguments.logdir).expanduser().absolute()
  run = live.Run(path)
  snapshot = run.look()
  if snapshot is None:
    print(
      f'./impala top: logdir must be a run directory with a graph.json, got '
      f'{path}',
      file=sys.stderr,
    )
    return 2
  header = _Header(path)
  console = rich.console.Console(highlight=False)
  if not console.is_terminal or snapshot.state != 'running':
    console.print(_page(snapshot, header))
    return 0
  try:
    with rich.live.Live(console=console, auto_refresh=False) as shown:
      while True:
        shown.update(_page(snapshot, header), refresh=True)
        if snapshot.state not in ('running', 'lost'):
          return 0
        time.sleep(_PERIOD_SECONDS)
        # A run that is set aside is gone for a moment.
        snapshot = run.look() or snapshot
  except KeyboardInterrupt:
    return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('top', _DESCRIPTION)
  parser.add_argument(
    '--logdir', required=True, metavar='DIR', help='The run directory.'
  )
  return parser


class _Header:
  """The line above the graph."""

  def __init__(self, path: pathlib.Path) -> None:
    self._path = path
    self._learner = rows.Rows(path / 'metrics' / 'learner.csv')
    self._row: rows.Row = {}

  def text(self, snapshot: live.Snapshot) -> rich.text.Text:
    """What runs, for how long, and how far it is."""
    for row in self._learner.read()[-1:]:
      self._row = row
    parts = [str(self._path), snapshot.state, _elapsed(snapshot)]
    if snapshot.state == 'lost' and snapshot.age_seconds is not None:
      parts.append(f'no record for {snapshot.age_seconds:,.0f} s')
    if self._row:
      parts += [
        f'frames {self._row["frames"]:,.0f}',
        f'return {self._row["episode_return"]:.2f}',
      ]
    return rich.text.Text('  '.join(filter(None, parts)), style='bold')


def _elapsed(snapshot: live.Snapshot) -> str:
  started = snapshot.meta.get('started')
  if not started:
    return ''
  ended = (snapshot.meta.get('ended') or {}).get('time')
  if ended:
    end = datetime.datetime.fromisoformat(ended)
  else:
    lost = snapshot.state == 'lost' and snapshot.age_seconds
    end = datetime.datetime.now().astimezone() - datetime.timedelta(
      seconds=lost or 0.0
    )
  seconds = (end - datetime.datetime.fromisoformat(started)).total_seconds()
  return str(datetime.timedelta(seconds=round(seconds)))


def _page(
  snapshot: live.Snapshot, header: _Header
) -> rich.console.RenderableType:
  figures = snapshot.figures
  # What matters most stands where no terminal is too small for it.
  parts: list[rich.console.RenderableType] = [header.text(snapshot)]
  for warning in figures.warnings if figures else ():
    parts.append(rich.text.Text(warning, style='bold red'))
  if snapshot.verdict:
    parts.append(rich.text.Text(snapshot.verdict.sentence))
  if figures is None:
    parts.append('No figures yet: nodes import TensorFlow, or run unwatched.')
  else:
    parts.append(
      f'machine: {figures.cores} cores, {figures.machine_busy:.0%} busy'
    )
  graph = terminal.graph_text(snapshot.graph, figures)
  return rich.console.Group(*parts, '', graph)


if __name__ == '__main__':
  sys.exit(main())
