"""Show a run in the browser: `./impala dashboard --logdir=DIR`."""

import contextlib
import signal
import sys
from collections.abc import Sequence
from typing import Any

from programs.runs import flags, run_directory
from programs.views import reading, server, view

_DESCRIPTION = """\
Serves a page on a run, running or ended: its graph with live statistics, the
bottleneck, learning curves, evaluations and logs. Only this machine can open
it; from another one: ssh -L 8765:localhost:8765 MACHINE, which forwards it.

  ./impala dashboard --logdir=runs/pong
  ./impala dashboard --logdir=runs/pong --port=0"""

_DEFAULT_PORT = 8765
_PORTS = range(65536)


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command until interrupted; return its exit status, 0 or 2."""
  parser = flags.make_parser('dashboard', _DESCRIPTION)
  flags.add_logdir(parser)
  parser.add_argument(
    '--port',
    type=int,
    default=_DEFAULT_PORT,
    metavar='INT',
    help='Port of the page; 0: any free port. [at least 0 and below 65536; '
    f'default {_DEFAULT_PORT}]',
  )
  arguments = parser.parse_args(argv)
  path = arguments.logdir
  with contextlib.suppress(KeyboardInterrupt):
    try:
      if reading.read_graph(path) is None:  # Of a program that is not ours.
        run_directory.RunDirectory(path).read_config()
      shown = view.View(reading.Run(path), flags.describe)
      listening = _listen(shown, arguments.port)
    except (run_directory.RunError, ValueError) as error:
      print(f'./impala dashboard: {error}', file=sys.stderr)
      return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f'http://{server.HOST}:{listening.port}/', flush=True)
    listening.serve_forever()
  return 0


def _listen(shown: view.View, port: int) -> Any:
  if port not in _PORTS:
    raise ValueError(f'port must be at least 0 and below 65536, got {port}')
  try:
    return server.make_server(shown, port)
  except OSError as error:
    raise ValueError(
      'port must be free (--port=0 takes any free one), got '
      f'{port} ({error.strerror})'
    ) from error


if __name__ == '__main__':
  sys.exit(main())
