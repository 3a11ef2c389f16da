"""Draw the program of a run: `./impala graph --output=graph.html`."""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

from programs import program as impala
from programs.monitoring import graph as graph_lib
from programs.monitoring import wiring
from programs.runs import flags, run_directory
from programs.views import drawing, markup

_DESCRIPTION = """\
Draws the nodes of a run and the data that flows between them, for flags of
train. Nothing is launched.

  ./impala graph --num_actors=64 --output=graph.html
  ./impala graph --format=mermaid"""

_FORMATS: Mapping[str, Callable[[graph_lib.ProgramGraph], str]] = {
  'html': markup.html,
  'svg': drawing.svg,
  'mermaid': markup.mermaid,
  'json': graph_lib.ProgramGraph.to_json,
}


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command; return its exit status."""
  parser = flags.make_parser('graph', _DESCRIPTION)
  group = parser.add_argument_group('drawing')
  group.add_argument(
    '--format',
    choices=_FORMATS,
    help="[default: by the file extension of output, else 'mermaid']",
  )
  group.add_argument(
    '--output',
    metavar='FILE',
    help='Output file. [default: standard output]',
  )
  flags.add_configuration(parser)
  given = vars(parser.parse_args(argv))
  form, output = given.pop('format'), given.pop('output')
  try:
    configuration = flags.resolve(given)
  except ValueError as error:
    print(f'./impala graph: {error}', file=sys.stderr)
    return 2
  graph = wiring.make_graph(impala.make_program(configuration))
  if form is None:
    form = pathlib.Path(output or '').suffix.removeprefix('.')
  text = _FORMATS.get(form, markup.mermaid)(graph)
  if output is None:
    print(text, end='')
    return 0
  try:
    run_directory.write_text(pathlib.Path(output), text)
  except OSError as error:
    print(
      f'./impala graph: output must be a writable file, got {output} '
      f'({error.strerror})',
      file=sys.stderr,
    )
    return 2
  print(output)
  return 0


if __name__ == '__main__':
  sys.exit(main())
