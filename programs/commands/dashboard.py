"""Shows a run in the browser: `./impala dashboard --logdir=DIR`."""

import contextlib
import pathlib
import signal
import sys
from collections.abc import Sequence
from typing import Any

from programs.runs import flags, run_directory
from programs.views import reading, server, view

_DESCRIPTION = """\
Shows a run in the browser: its graph with what each node does, where the
bottleneck is, learning curves, evaluations and logs. The run may be going on,
have ended, or be started again meanwhile. Nothing but this machine is answered;
from another one, forward the port: ssh -L 8765:localhost:8765 MACHINE.

  ./impala dashboard --logdir=runs/pong
  ./impala dashboard --logdir=runs/pong --port=0"""

_DEFAULT_PORT = 8765
_PORTS = range(65536)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command until interrupted; returns its exit status, 0 or 2."""
  parser = flags.make_parser('dashboard', _DESCRIPTION)
  parser.add_argument(
    '--logdir', required=True, metavar='DIR', help='The run directory.'
  )
  parser.add_argument(
    '--port',
    type=int,
    default=_DEFAULT_PORT,
    metavar='INT',
    help='Where the page is; 0: any free port [at least 0 and below 65536; '
    f'default {_DEFAULT_PORT}]',
  )
  arguments = parser.parse_args(argv)
  path = pathlib.Path(arguments.logdir).expanduser().absolute()
  with contextlib.suppress(KeyboardInterrupt):
    try:
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
      'port must be free on this machine (--port=0 takes any that is), got '
      f'{port} ({error.strerror})'
    ) from error


if __name__ == '__main__':
  sys.exit(main())
