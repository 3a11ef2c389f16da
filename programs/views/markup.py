"""A program's graph as Mermaid and a page of HTML."""

import html as html_lib
from collections.abc import Mapping

from programs.monitoring import graph as graph_lib
from programs.views import drawing

Facts = Mapping[str, Mapping[str, str]]  # Node -> what else is known of it.

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
  """A Mermaid flowchart, as GitHub renders it."""
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
  """A page of the picture, and of every role, unfolding to its nodes' facts."""
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


def _row(node: graph_lib.Node, facts: Mapping[str, str]) -> str:
  known = {'runs': node.function, **node.arguments, **facts}
  cells = ''.join(
    f'<dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>'
    for name, value in known.items()
  )
  return f'<tr><th>{_escape(node.name)}</th><td><dl>{cells}</dl></td></tr>'


def _escape(text: str) -> str:
  return html_lib.escape(text, quote=True)
