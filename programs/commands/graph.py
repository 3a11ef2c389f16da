"""Draws the program of a run: `./impala graph --output=graph.html`."""

import pathlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from programs import program as impala
from programs.monitoring import graph as graph_lib
from programs.monitoring import wiring
from programs.runs import flags, runs
from programs.views import drawing, markup

_DESCRIPTION = """\
Draws which nodes a run has and what flows between them, for the same flags as
train. Nothing is launched or written but the drawing.

  ./impala graph --num_actors=64 --output=graph.html
  ./impala graph --format=mermaid"""

_FORMATS: Mapping[str, Callable[[graph_lib.ProgramGraph], str]] = {
  'html': markup.html,
  'svg': drawing.svg,
  'mermaid': markup.mermaid,
  'json': graph_lib.ProgramGraph.to_json,
}
_NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status."""
  parser = flags.make_parser('graph', _DESCRIPTION)
  group = parser.add_argument_group('drawing')
  group.add_argument(
    '--format',
    choices=_FORMATS,
    help="[default: by the ending of output, 'mermaid' without one]",
  )
  group.add_argument(
    '--output',
    metavar='FILE',
    help='where it goes [default: the standard output]',
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
    runs.write_text(pathlib.Path(output), text)
  except OSError as error:
    print(
      f'./impala graph: output must be a file that can be written, got '
      f'{output} ({error.strerror})',
      file=sys.stderr,
    )
    return 2
  print(output)
  return 0


def write_files(
  graph: graph_lib.ProgramGraph,
  configuration: runs.Configuration,
  resources: Mapping[str, Any] = _NOTHING,
  processes: Mapping[str, int] = _NOTHING,
  machines: Mapping[str, str] = _NOTHING,
) -> None:
  """Writes `graph.json`, `graph.mmd` and `graph.html` to the run directory.

  `processes` and `machines` have ids and addresses of nodes, as far as known.
  """
  directory = configuration.directory
  facts = {}
  for node in graph.nodes:
    if node.name in processes or node.name in machines:
      settings = resources[node.group].env.items()
      known = {
        'machine': machines.get(node.name),
        'process': processes.get(node.name),
        'log': directory.logs / f'{node.name.replace("/", "_")}.log',
        'environment': ' '.join(f'{name}={value}' for name, value in settings),
      }
      facts[node.name] = {
        what: str(value) for what, value in known.items() if value is not None
      }
  runs.write_text(directory.path / 'graph.json', graph.to_json())
  runs.write_text(directory.path / 'graph.mmd', markup.mermaid(graph))
  runs.write_text(directory.path / 'graph.html', markup.html(graph, facts))


if __name__ == '__main__':
  sys.exit(main())
