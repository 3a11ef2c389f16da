"""Write the graph of a program as Mermaid and HTML."""

import html as html_lib
import types
from collections.abc import Mapping
from typing import Any

from programs.monitoring import graph as graph_lib
from programs.runs import run_directory
from programs.views import drawing

_NOTHING: Mapping[str, Any] = types.MappingProxyType({})
Facts = Mapping[str, Mapping[str, str]]  # Node -> name -> value.

_STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2em; color: #24292f }
svg { max-width: 100%; height: auto }
details { border: 1px solid #d0d7de; border-radius: 6px; margin: .5em 0 }
summary { padding: .5em 1em; cursor: pointer }
th, td { text-align: left; vertical-align: top; padding: .3em 1em }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 1em; margin: 0 }
dd { margin: 0; overflow-wrap: anywhere }
"""


def mermaid(graph: graph_lib.ProgramGraph) -> str:
  """Return a Mermaid flowchart, which GitHub renders."""
  names = {role: f'n{number}' for number, role in enumerate(graph.roles)}
  lines = ['flowchart LR']
  for role, nodes in graph.roles.items():
    lines.append(f'  {names[role]}["{drawing.title(role, nodes)}"]')
  for edge in graph.role_edges:
    arrow = '-.->' if edge.kind in drawing.DASHES else '-->'
    source, target = names[edge.source], names[edge.target]
    lines.append(f'  {source} {arrow}|{edge.kind}| {target}')
  return '\n'.join(lines) + '\n'


def html(graph: graph_lib.ProgramGraph, facts: Facts | None = None) -> str:
  """Return a page with the drawing and a table of each role's nodes."""
  parts = [
    f'<title>{_escape(graph.name)}</title><style>{_STYLE}</style>',
    drawing.svg(graph),
  ]
  for role, nodes in graph.roles.items():
    rows = ''.join(
      _row(node, (facts or {}).get(node.name, {})) for node in nodes
    )
    parts.append(
      f'<details id="{_escape(role)}"><summary><b>'
      f'{_escape(drawing.title(role, nodes))}</b> {_escape(nodes[0].about)}'
      f'</summary><table>{rows}</table></details>'
    )
  head = '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
  return '\n'.join([head, *parts, '</html>\n'])


def write_files(
  graph: graph_lib.ProgramGraph,
  directory: run_directory.RunDirectory,
  resources: Mapping[str, Any] = _NOTHING,
  processes: Mapping[str, int] = _NOTHING,
  machines: Mapping[str, str] = _NOTHING,
) -> None:
  """Write `graph.json`, `graph.mmd` and `graph.html` to the run directory.

  Args:
    graph: The graph.
    directory: The run directory.
    resources: Launch settings, with environment variables, by node group.
    processes: Process ids by node, if known.
    machines: Addresses of machines by node, if known.
  """
  facts = {}
  for node in graph.nodes:
    if node.name in processes or node.name in machines:
      settings = resources[node.group].env.items()
      known = {
        'machine': machines.get(node.name),
        'process': processes.get(node.name),
        'log': directory.logs / graph_lib.log_name(node.name),
        'environment': ' '.join(f'{name}={value}' for name, value in settings),
      }
      facts[node.name] = {
        name: str(value) for name, value in known.items() if value is not None
      }
  run_directory.write_text(directory.path / 'graph.json', graph.to_json())
  run_directory.write_text(directory.path / 'graph.mmd', mermaid(graph))
  run_directory.write_text(directory.path / 'graph.html', html(graph, facts))


def _row(node: graph_lib.Node, facts: Mapping[str, str]) -> str:
  known = {'runs': node.function, **node.arguments, **facts}
  cells = ''.join(
    f'<dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>'
    for name, value in known.items()
  )
  return f'<tr><th>{_escape(node.name)}</th><td><dl>{cells}</dl></td></tr>'


def _escape(text: str) -> str:
  return html_lib.escape(text, quote=True)
