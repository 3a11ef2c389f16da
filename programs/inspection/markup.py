"""A program's graph as Mermaid, DOT and a page of HTML."""

import html as html_lib
from collections.abc import Mapping

from programs.inspection import drawing
from programs.inspection import graph as graph_lib

Facts = Mapping[str, Mapping[str, str]]  # Node -> what else is known of it.


def mermaid(graph: graph_lib.ProgramGraph) -> str:
  """A Mermaid flowchart, as GitHub renders it."""
  names = _identifiers(graph)
  arrows = {'variables': '-.->', 'call': '-.->'}
  return ''.join(
    [
      'flowchart LR\n',
      *(
        f'  {names[role]}["{drawing.title(role, nodes)}"]\n'
        for role, nodes in graph.roles.items()
      ),
      *(
        f'  {names[edge.source]} {arrows.get(edge.kind, "-->")}|{edge.kind}| '
        f'{names[edge.target]}\n'
        for edge in graph.role_edges
      ),
    ]
  )


def dot(graph: graph_lib.ProgramGraph) -> str:
  """Graphviz's language."""
  names = _identifiers(graph)
  lines = [
    f'digraph "{graph.name}" {{',
    '  rankdir=LR',
    '  node [shape=box, style=rounded, fontname="sans-serif"]',
    '  edge [fontname="sans-serif", fontsize=10]',
  ]
  for role, nodes in graph.roles.items():
    lines.append(f'  {names[role]} [label="{drawing.title(role, nodes)}"]')
  for edge in graph.role_edges:
    style = 'dashed' if edge.kind in drawing.DASHES else 'solid'
    # What leads back must not pull its target behind its source.
    constraint = 'false' if edge.kind in drawing.DASHES else 'true'
    lines.append(
      f'  {names[edge.source]} -> {names[edge.target]} [label="{edge.kind}", '
      f'color="{drawing.COLORS[edge.kind]}", style={style}, '
      f'constraint={constraint}]'
    )
  return '\n'.join([*lines, '}']) + '\n'


def _identifiers(graph: graph_lib.ProgramGraph) -> dict[str, str]:
  """Role -> a name that every language takes."""
  return {role: f'n{number}' for number, role in enumerate(graph.roles)}


def html(graph: graph_lib.ProgramGraph, facts: Facts | None = None) -> str:
  """A page that needs nothing but itself.

  Args:
    graph: What is drawn.
    facts: What else is known of nodes, such as their log.

  Returns:
    The picture, and below it every role, unfolding to its nodes.
  """
  sections = []
  for role, nodes in graph.roles.items():
    rows = ''.join(
      _node_row(node, (facts or {}).get(node.name, {})) for node in nodes
    )
    sections.append(
      f'<details id="{_escape(role)}"><summary>'
      f'<b>{_escape(drawing.title(role, nodes))}</b> '
      f'{_escape(nodes[0].about)}</summary><table>{rows}</table></details>'
    )
  edges = ''.join(
    f'<tr><td>{_escape(edge.source)}</td><td>{_escape(edge.kind)}</td>'
    f'<td>{_escape(edge.target)}</td><td>{_escape(edge.label)}</td>'
    f'<td>{edge.count}</td></tr>'
    for edge in graph.role_edges
  )
  return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{_escape(graph.name)}</title>
<style>{_STYLE}</style>
<h1>{_escape(graph.name)}</h1>
{drawing.svg(graph)}
{''.join(sections)}
<details><summary><b>edges</b></summary><table>
<tr><th>from</th><th>what flows</th><th>to</th><th>argument</th><th>edges</th>
</tr>{edges}</table></details>
<script>{_SCRIPT}</script>
</html>
"""


def _node_row(node: graph_lib.Node, facts: Mapping[str, str]) -> str:
  told = {'runs': node.function, **node.arguments, **facts}
  items = ''.join(
    f'<dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>'
    for name, value in told.items()
  )
  return (
    f'<tr id="{_escape(node.name)}"><th>{_escape(node.name)}</th>'
    f'<td>{_escape(node.type)}</td><td><dl>{items}</dl></td></tr>'
  )


_STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2em; color: #24292f }
svg { max-width: 100%; height: auto }
details { border: 1px solid #d0d7de; border-radius: 6px; margin: .5em 0 }
summary { padding: .5em 1em; cursor: pointer }
table { border-collapse: collapse; margin: 0 1em 1em }
th, td { text-align: left; vertical-align: top; padding: .3em 1em .3em 0 }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 1em; margin: 0 }
dt { color: #57606a } dd { margin: 0; overflow-wrap: anywhere }
"""

# A box that is clicked unfolds what it stands for.
_SCRIPT = """
for (const box of document.querySelectorAll('a[data-role]'))
  box.addEventListener('click', () =>
    document.getElementById(box.dataset.role).open = true);
"""


def _escape(text: str) -> str:
  return html_lib.escape(text, quote=True)
