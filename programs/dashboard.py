"""Shows a run in the browser: `./impala dashboard --logdir=DIR`."""

import argparse
import contextlib
import dataclasses
import pathlib
import signal
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from programs import flags, presets, runs
from programs.inspection import server, view

_DESCRIPTION = """\
Shows a run in the browser: its graph with what each node does, where the
bottleneck is, learning curves, evaluations and logs. The run may be going on,
have ended, or be started again meanwhile. Nothing but this machine is answered;
from another one, forward the port: ssh -L 8765:localhost:8765 MACHINE.

  ./impala dashboard --logdir=runs/pong
  ./impala dashboard --logdir=runs/pong --port=0"""

DEFAULT_PORT = 8765
_PORTS = range(65536)

_OF_THE_RUN = ('preset', 'logdir')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command until it is interrupted.

  Args:
    argv: Its flags; by default those of this process.

  Returns:
    Its exit status: 0, or 2 when nothing could be shown.
  """
  arguments = _make_parser().parse_args(argv)
  directory = runs.RunDirectory(
    pathlib.Path(arguments.logdir).expanduser().absolute()
  )
  with contextlib.suppress(KeyboardInterrupt):
    try:
      directory.read_config()
      shown = view.View(directory.path, describe)
      listening = _listen(shown, arguments.port)
    except (runs.RunError, ValueError) as error:
      print(f'./impala dashboard: {error}', file=sys.stderr)
      return 2
    signal.signal(signal.SIGTERM, _interrupt)
    print(f'http://{server.HOST}:{listening.port}/', flush=True)
    listening.serve_forever()
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = flags.make_parser('dashboard', _DESCRIPTION)
  parser.add_argument(
    '--logdir', required=True, metavar='DIR', help='The run directory.'
  )
  parser.add_argument(
    '--port',
    type=int,
    default=DEFAULT_PORT,
    metavar='INT',
    help='Where the page is; 0: any free port [at least 0 and below 65536; '
    f'default {DEFAULT_PORT}]',
  )
  return parser


def _listen(shown: view.View, port: int) -> Any:
  """A server at the port.

  Raises:
    ValueError: It cannot be had.
  """
  if port not in _PORTS:
    raise ValueError(f'port must be at least 0 and below 65536, got {port}')
  try:
    return server.make_server(shown, port)
  except OSError as error:
    raise ValueError(
      'port must be free on this machine (--port=0 takes any that is), got '
      f'{port} ({error.strerror})'
    ) from error


def _interrupt(signum: int, frame: types.FrameType | None) -> None:
  raise KeyboardInterrupt


def describe(groups: Mapping[str, Any]) -> list[dict[str, Any]]:
  """The settings of a run, one by one.

  Args:
    groups: As `config.json` holds them.

  Returns:
    For each its group, name, value, unit and help, and its origin: 'default',
    'preset' where that says otherwise, or 'flag' where both do.
  """
  preset = presets.PRESETS.get(groups.get('run', {}).get('preset', ''), {})
  settings = []
  for group, values in groups.items():
    known = {}
    if group in flags.GROUPS:  # Another version may know others.
      fields = dataclasses.fields(flags.GROUPS[group])
      known = {field.name: field for field in fields}
    for name, value in values.items():
      field = known.get(name)
      if name in preset and value == preset[name]:
        origin = 'preset'
      elif name in _OF_THE_RUN:
        origin = 'default'  # Chosen for each run.
      else:
        origin = 'default' if field and value == field.default else 'flag'
      facts = field.metadata if field else {}
      settings.append(
        {
          'group': group,
          'name': name,
          'value': value,
          'origin': origin,
          'unit': facts.get('unit', ''),
          'help': facts.get('help', ''),
        }
      )
  return settings


if __name__ == '__main__':
  sys.exit(main())
