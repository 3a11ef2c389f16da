"""A program's graph as a picture, in SVG.

Drawn are roles, not nodes: 64 actors are one box, 'actor x 64'. The layout is
ours, since a graph of a few roles needs none of what a layout engine installs:
columns along what flows from role to role, variables and other edges that lead
back below, and above those who only call and are called, as a monitor.
"""

import collections
import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from programs.inspection import graph as graph_lib

_WIDTH, _HEIGHT = 168, 64  # Of a box, in pixels, as everything here.
_COLUMN, _ROW = 300, 132  # From one box to the next.
_MARGIN = 28
_LANE = 30  # Below the boxes, for each edge that leads back.
_LINE = 16  # For each further line in a box.

COLORS = {
  'insert': '#1f6feb',
  'sample': '#1a7f37',
  'variables': '#8250df',
  'call': '#9a6700',
  'data': '#57606a',
}
DASHES = {'variables': '7 4', 'call': '2 4'}


def title(role: str, nodes: Sequence[graph_lib.Node]) -> str:
  """'actor x 64', or the role alone."""
  return role if len(nodes) == 1 else f'{role} x {len(nodes)}'


def order(graph: graph_lib.ProgramGraph) -> list[str]:
  """The roles along what flows, and at the end those who watch."""
  above, points = watching(graph), _layout(graph)
  return sorted(graph.roles, key=lambda role: (role in above, points[role]))


def watching(graph: graph_lib.ProgramGraph) -> set[str]:
  """Roles that only call and are called, where others do more than that."""
  calling = {r for e in graph.role_edges for r in (e.source, e.target)}
  doing = {
    role
    for edge in graph.role_edges
    if edge.kind != 'call'
    for role in (edge.source, edge.target)
  }
  return calling - doing if doing else set()


class _Point(NamedTuple):
  x: float
  y: float


def svg(graph: graph_lib.ProgramGraph, num_lines: int = 0) -> str:
  """A picture; each box leads to `#<role>`.

  Args:
    graph: What is drawn.
    num_lines: Empty lines of text in each box, for who fills them.
  """
  height = _HEIGHT + _LINE * num_lines
  above = watching(graph)
  corners = {
    role: _Point(
      _MARGIN + point.x * _COLUMN,
      _MARGIN + point.y * (_ROW + _LINE * num_lines),
    )
    for role, point in _layout(graph).items()
  }
  floor = max((p.y for p in corners.values()), default=0) + height
  drawn = [_marker(kind, color) for kind, color in COLORS.items()]
  seen: collections.Counter[frozenset[str]] = collections.Counter()
  for edge in graph.role_edges:
    source, target = corners[edge.source], corners[edge.target]
    pair = frozenset((edge.source, edge.target))
    if pair & above:
      path, middle = _upright(source, target, height)
    elif source.x < target.x:
      path, middle = _forward(source, target, height / 2 + 16 * seen[pair])
      seen[pair] += 1
    else:
      floor += _LANE
      path, middle = _back(source, target, height, floor)
    drawn.append(_edge(edge, path, middle))
  for role, nodes in graph.roles.items():
    drawn.append(_box(role, nodes, corners[role], height, num_lines))
  width = max((p.x for p in corners.values()), default=0) + _WIDTH + _MARGIN
  floor += _LANE
  return '\n'.join(
    [
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
      f'height="{floor:g}" viewBox="0 0 {width:g} {floor:g}" role="img" '
      'font-family="system-ui, sans-serif">',
      f'<title>{html.escape(graph.name)}</title>',
      '<rect width="100%" height="100%" fill="white"/>',
      *drawn,
      '</svg>\n',
    ]
  )


def _layout(graph: graph_lib.ProgramGraph) -> dict[str, _Point]:
  """Role -> column and row, from 0; who watches, above the middle of others."""
  above = watching(graph)
  columns = _columns(_flow(graph, above))
  rows: collections.Counter[int] = collections.Counter()
  points = {}
  for role in (r for r in graph.roles if r not in above):
    points[role] = _Point(columns[role], rows[columns[role]] + bool(above))
    rows[columns[role]] += 1
  middle = (max(columns.values(), default=0) - len(above) + 1) / 2
  for number, role in enumerate(r for r in graph.roles if r in above):
    points[role] = _Point(max(middle, 0) + number, 0)
  return points


def _flow(
  graph: graph_lib.ProgramGraph, above: Collection[str]
) -> dict[str, set[str]]:
  """Role -> the roles that stand behind it."""
  targets: dict[str, set[str]] = {
    role: set() for role in graph.roles if role not in above
  }
  edges = [e for e in graph.role_edges if not {e.source, e.target} & {*above}]
  for edge in edges:
    if edge.source != edge.target and edge.kind != 'variables':
      targets[edge.source].add(edge.target)
  # Who only takes variables stands behind who gives them.
  bound = {r for r, t in targets.items() if t} | set().union(*targets.values())
  for edge in edges:
    if edge.kind == 'variables' and edge.target not in bound:
      targets[edge.source].add(edge.target)
  return targets


def _columns(targets: Mapping[str, Iterable[str]]) -> dict[str, int]:
  """Role -> its column: one more than the last of those before it."""
  roles = list(targets)
  columns: dict[str, int] = {}
  under_way: set[str] = set()

  def place(role: str, column: int) -> None:
    if role in under_way:
      return  # A cycle: this edge leads back.
    under_way.add(role)
    if column > columns.get(role, -1):
      columns[role] = column
      for target in sorted(targets[role], key=roles.index):
        place(target, column + 1)
    under_way.remove(role)

  entered = set().union(*targets.values())
  for role in [*(r for r in targets if r not in entered), *targets]:
    if role not in columns:
      place(role, 0)
  return columns


def _marker(kind: str, color: str) -> str:
  """The head of an arrow."""
  return (
    f'<marker id="{kind}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
    f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{color}"/>'
    '</marker>'
  )


def _box(
  role: str,
  nodes: Sequence[graph_lib.Node],
  corner: _Point,
  height: float,
  num_lines: int,
) -> str:
  """A box, with two more behind it where it stands for several."""
  parts = [
    f'<rect x="{corner.x + shift:g}" y="{corner.y - shift:g}" rx="8" '
    f'width="{_WIDTH}" height="{height:g}" fill="white" stroke="#24292f"/>'
    for shift in ((8, 4, 0) if len(nodes) > 1 else (0,))
  ]
  small = 'font-size="11" fill="#57606a"'
  lines = [
    (title(role, nodes), 28, 'font-size="15" font-weight="600"'),
    (nodes[0].function.rpartition('.')[2], 48, small),
    *(('', 48 + _LINE * (n + 1), small) for n in range(num_lines)),
  ]
  for text, y, style in lines:
    parts.append(
      f'<text x="{corner.x + _WIDTH / 2:g}" y="{corner.y + y:g}" '
      f'text-anchor="middle" {style}>{html.escape(text)}</text>'
    )
  name = html.escape(role)
  return f'<a href="#{name}" data-role="{name}">{"".join(parts)}</a>'


def _edge(edge: graph_lib.RoleEdge, path: str, middle: _Point) -> str:
  color = COLORS[edge.kind]
  name = html.escape(f'{edge.source} {edge.kind} {edge.target}')
  return (
    f'<g data-edge="{name}"><path d="{path}" fill="none" stroke="{color}" '
    f'stroke-width="2" stroke-dasharray="{DASHES.get(edge.kind, "none")}" '
    f'marker-end="url(#{edge.kind})"/>'
    f'<text x="{middle.x:g}" y="{middle.y:g}" text-anchor="middle" '
    f'font-size="12" fill="{color}">{edge.kind}</text></g>'
  )


def _forward(
  source: _Point, target: _Point, shift: float
) -> tuple[str, _Point]:
  """From the right of one box to the left of another, `shift` from the top."""
  x, y, end = source.x + _WIDTH, source.y + shift, target.y + shift
  bend = (x + target.x) / 2
  path = f'M{x:g} {y:g} C{bend:g} {y:g} {bend:g} {end:g} {target.x:g} {end:g}'
  return path, _Point(bend, (y + end) / 2 - 7)


def _back(
  source: _Point, target: _Point, height: float, lane: float
) -> tuple[str, _Point]:
  """Down from one box, along a lane below all, and up into another."""
  x, end = source.x + _WIDTH * 0.6, target.x + _WIDTH * 0.4
  path = (
    f'M{x:g} {source.y + height:g} V{lane - 10:g} Q{x:g} {lane:g} '
    f'{x - 10:g} {lane:g} H{end + 10:g} Q{end:g} {lane:g} {end:g} '
    f'{lane - 10:g} V{target.y + height:g}'
  )
  return path, _Point((x + end) / 2, lane - 7)


def _upright(
  source: _Point, target: _Point, height: float
) -> tuple[str, _Point]:
  """Between a box and one that watches it from above."""
  rises = source.y > target.y
  # Who watches has edges all along its side.
  lower, upper = (source, target) if rises else (target, source)
  lean = max(min((lower.x - upper.x) / _COLUMN, 1.0), -1.0) * _WIDTH * 0.4
  top = _Point(upper.x + _WIDTH / 2 + lean, upper.y + height)
  bottom = _Point(lower.x + _WIDTH / 2, lower.y - 8)
  (x, y), (right, end) = (bottom, top) if rises else (top, bottom)
  bend = (y + end) / 2
  path = f'M{x:g} {y:g} C{x:g} {bend:g} {right:g} {bend:g} {right:g} {end:g}'
  return path, _Point((x + right) / 2, bend - 5)
