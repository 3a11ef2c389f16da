"""A program's graph as Mermaid, DOT, SVG and a page of HTML.

Drawn are roles, not nodes: 64 actors are one box, 'actor x 64'. The layout is
ours, since a graph of a few roles needs none of what a layout engine installs:
columns along what flows from role to role, variables and other edges that lead
back below.
"""

import collections
import html as html_lib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from programs.inspection import graph as graph_lib

_WIDTH, _HEIGHT = 168, 64  # Of a box, in pixels, as everything here.
_COLUMN, _ROW = 300, 132  # From one box to the next.
_MARGIN = 28
_LANE = 30  # Below the boxes, for each edge that leads back.

_COLORS = {
  'insert': '#1f6feb',
  'sample': '#1a7f37',
  'variables': '#8250df',
  'call': '#9a6700',
  'data': '#57606a',
}
_DASHES = {'variables': '7 4', 'call': '2 4'}
_FONT = 'font-family="system-ui, sans-serif"'

Facts = Mapping[str, Mapping[str, str]]  # Node -> what else is known of it.


def title(role: str, nodes: Sequence[graph_lib.Node]) -> str:
  """'actor x 64', or the role alone."""
  return role if len(nodes) == 1 else f'{role} x {len(nodes)}'


def mermaid(graph: graph_lib.ProgramGraph) -> str:
  """A Mermaid flowchart, as GitHub renders it."""
  names = _identifiers(graph)
  arrows = {'variables': '-.->', 'call': '-.->'}
  return ''.join(
    [
      'flowchart LR\n',
      *(
        f'  {names[role]}["{title(role, nodes)}"]\n'
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
    lines.append(f'  {names[role]} [label="{title(role, nodes)}"]')
  for edge in graph.role_edges:
    style = 'dashed' if edge.kind in _DASHES else 'solid'
    # What leads back must not pull its target behind its source.
    constraint = 'false' if edge.kind == 'variables' else 'true'
    lines.append(
      f'  {names[edge.source]} -> {names[edge.target]} [label="{edge.kind}", '
      f'color="{_COLORS[edge.kind]}", style={style}, constraint={constraint}]'
    )
  return '\n'.join([*lines, '}']) + '\n'


def _identifiers(graph: graph_lib.ProgramGraph) -> dict[str, str]:
  """Role -> a name that every language takes."""
  return {role: f'n{number}' for number, role in enumerate(graph.roles)}


class _Point(NamedTuple):
  x: float
  y: float


def svg(graph: graph_lib.ProgramGraph) -> str:
  """A picture; each box leads to `#<role>`."""
  corners = _layout(graph)
  columns = 1 + max((p.x for p in corners.values()), default=0)
  rows = 1 + max((p.y for p in corners.values()), default=0)
  corners = {
    role: _Point(_MARGIN + p.x * _COLUMN, _MARGIN + p.y * _ROW)
    for role, p in corners.items()
  }
  floor = _MARGIN + (rows - 1) * _ROW + _HEIGHT
  drawn, lanes = [], 0
  seen: collections.Counter[frozenset[str]] = collections.Counter()
  for edge in graph.role_edges:
    source, target = corners[edge.source], corners[edge.target]
    if source.x < target.x:
      pair = frozenset((edge.source, edge.target))
      drawn.append(_forward(edge, source, target, seen[pair]))
      seen[pair] += 1
    else:
      lanes += 1
      drawn.append(_back(edge, source, target, floor + lanes * _LANE))
  width = 2 * _MARGIN + (columns - 1) * _COLUMN + _WIDTH
  height = floor + (lanes + 1) * _LANE
  boxes = [
    _box(role, nodes, corners[role]) for role, nodes in graph.roles.items()
  ]
  markers = [
    f'<marker id="{kind}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
    f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{color}"/>'
    '</marker>'
    for kind, color in _COLORS.items()
  ]
  return '\n'.join(
    [
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
      f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" role="img">',
      f'<title>{_escape(graph.name)}</title>',
      '<rect width="100%" height="100%" fill="white"/>',
      f'<defs>{"".join(markers)}</defs>',
      *drawn,
      *boxes,
      '</svg>\n',
    ]
  )


def _layout(graph: graph_lib.ProgramGraph) -> dict[str, _Point]:
  """Role -> column and row, whole numbers from 0."""
  targets: dict[str, set[str]] = {role: set() for role in graph.roles}
  for edge in graph.role_edges:
    if edge.source != edge.target and edge.kind != 'variables':
      targets[edge.source].add(edge.target)
  # Who only takes variables stands behind who gives them.
  bound = {r for r, t in targets.items() if t} | set().union(*targets.values())
  for edge in graph.role_edges:
    if edge.kind == 'variables' and edge.target not in bound:
      targets[edge.source].add(edge.target)
  columns: dict[str, int] = {}
  under_way: set[str] = set()

  def place(role: str, column: int) -> None:
    if role in under_way:
      return  # A cycle: this edge leads back.
    under_way.add(role)
    if column > columns.get(role, -1):
      columns[role] = column
      for target in sorted(targets[role], key=list(graph.roles).index):
        place(target, column + 1)
    under_way.remove(role)

  entered = set().union(*targets.values())
  for role in [*(r for r in targets if r not in entered), *targets]:
    if role not in columns:
      place(role, 0)
  rows: collections.Counter[int] = collections.Counter()
  points = {}
  for role in graph.roles:
    points[role] = _Point(columns[role], rows[columns[role]])
    rows[columns[role]] += 1
  return points


def _box(role: str, nodes: Sequence[graph_lib.Node], corner: _Point) -> str:
  """A box, with two more behind it where it stands for several."""
  shapes = [
    f'<rect x="{corner.x + shift:g}" y="{corner.y - shift:g}" rx="8" '
    f'width="{_WIDTH}" height="{_HEIGHT}" fill="white" stroke="#24292f"/>'
    for shift in ((8, 4, 0) if len(nodes) > 1 else (0,))
  ]
  middle = corner.x + _WIDTH / 2
  name = nodes[0].function.rpartition('.')[2]
  return (
    f'<a href="#{_escape(role)}" data-role="{_escape(role)}">{"".join(shapes)}'
    f'<text x="{middle:g}" y="{corner.y + 28:g}" text-anchor="middle" '
    f'{_FONT} font-size="15" font-weight="600">'
    f'{_escape(title(role, nodes))}</text>'
    f'<text x="{middle:g}" y="{corner.y + 48:g}" text-anchor="middle" '
    f'{_FONT} font-size="11" fill="#57606a">{_escape(name)}</text></a>'
  )


def _forward(
  edge: graph_lib.RoleEdge, source: _Point, target: _Point, number: int
) -> str:
  """From the right of one box to the left of another; `number` of its pair."""
  shift = _HEIGHT / 2 + 16 * number
  start = _Point(source.x + _WIDTH, source.y + shift)
  end = _Point(target.x, target.y + shift)
  bend = (start.x + end.x) / 2
  path = f'M{start.x:g} {start.y:g} C{bend:g} {start.y:g} {bend:g} {end.y:g} '
  path += f'{end.x:g} {end.y:g}'
  return _line(edge, path, _Point(bend, (start.y + end.y) / 2 - 7))


def _back(
  edge: graph_lib.RoleEdge, source: _Point, target: _Point, lane: float
) -> str:
  """Down from one box, along a lane below all, and up into another."""
  start = _Point(source.x + _WIDTH * 0.6, source.y + _HEIGHT)
  end = _Point(target.x + _WIDTH * 0.4, target.y + _HEIGHT)
  path = (
    f'M{start.x:g} {start.y:g} V{lane - 10:g} Q{start.x:g} {lane:g} '
    f'{start.x - 10:g} {lane:g} H{end.x + 10:g} Q{end.x:g} {lane:g} '
    f'{end.x:g} {lane - 10:g} V{end.y:g}'
  )
  return _line(edge, path, _Point((start.x + end.x) / 2, lane - 7))


def _line(edge: graph_lib.RoleEdge, path: str, middle: _Point) -> str:
  color = _COLORS[edge.kind]
  name = _escape(f'{edge.source} {edge.kind} {edge.target}')
  return (
    f'<g data-edge="{name}"><path d="{path}" fill="none" stroke="{color}" '
    f'stroke-width="2" stroke-dasharray="{_DASHES.get(edge.kind, "none")}" '
    f'marker-end="url(#{edge.kind})"/>'
    f'<text x="{middle.x:g}" y="{middle.y:g}" text-anchor="middle" {_FONT} '
    f'font-size="12" fill="{color}">{_escape(edge.kind)}</text></g>'
  )


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
      f'<b>{_escape(title(role, nodes))}</b> {_escape(nodes[0].about)}'
      f'</summary><table>{rows}</table></details>'
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
{svg(graph)}
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
