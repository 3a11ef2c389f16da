"""Draw the graph of a program as SVG.

Draws roles, not nodes: 64 actors are one box, 'actor x 64'. A few roles need
no layout engine: boxes stand in a row along the data flow, edges that lead
back or skip a box run below it, and observers (roles that only call and are
called, such as a monitor) stand above.
"""

import collections
import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from programs.monitoring import graph as graph_lib

# In pixels.
_WIDTH, _HEIGHT = 168, 64  # Of a box.
_COLUMN = 300  # From one box to the next.
_GAP = 68  # Between observers and other boxes.
_MARGIN = 28
_LANE = 30  # Below the boxes, for each edge that leads back.
_LINE = 16  # For each additional line in a box.

COLORS = {
  'insert': '#1f6feb',
  'sample': '#1a7f37',
  'variables': '#8250df',
  'call': '#9a6700',
  'data': '#57606a',
}
DASHES = {'variables': '7 4', 'call': '2 4'}


def title(role: str, nodes: Sequence[graph_lib.Node]) -> str:
  """Return 'actor x 64', or the role alone of a single node."""
  return role if len(nodes) == 1 else f'{role} x {len(nodes)}'


def order(graph: graph_lib.ProgramGraph) -> list[str]:
  """Return the roles along the data flow, observers last."""
  above = observers(graph)
  left = [role for role in graph.roles if role not in above]
  placed: list[str] = []
  while left:
    behind = {
      edge.target
      for edge in graph.role_edges
      if edge.source in left
      and edge.source != edge.target
      and edge.kind != 'variables'  # Variables flow back to the actors.
    }
    # The first role without an inflow; any of a cycle.
    role = next((role for role in left if role not in behind), left[0])
    left.remove(role)
    placed.append(role)
  return placed + [role for role in graph.roles if role in above]


def observers(graph: graph_lib.ProgramGraph) -> set[str]:
  """Return the roles that only call and are called; none if all are."""
  connected = {r for e in graph.role_edges for r in (e.source, e.target)}
  working = {
    role
    for edge in graph.role_edges
    if edge.kind != 'call'
    for role in (edge.source, edge.target)
  }
  return connected - working if working else set()


class _Point(NamedTuple):
  x: float
  y: float


def svg(graph: graph_lib.ProgramGraph, num_lines: int = 0) -> str:
  """Draw the graph; boxes have `num_lines` empty lines and link `#<role>`."""
  height = _HEIGHT + _LINE * num_lines
  corners = _corners(graph, height)
  above = observers(graph)
  floor = max((p.y for p in corners.values()), default=0) + height
  drawn = [_marker(kind, color) for kind, color in COLORS.items()]
  seen: collections.Counter[tuple[str, str]] = collections.Counter()
  for edge in graph.role_edges:
    source, target = corners[edge.source], corners[edge.target]
    if {edge.source, edge.target} & above:
      path, middle = _to_observer(source, target, height)
    elif target.x - source.x == _COLUMN:
      y = source.y + height / 2 + 16 * seen[edge.source, edge.target]
      seen[edge.source, edge.target] += 1
      path = f'M{source.x + _WIDTH:g} {y:g} H{target.x:g}'
      middle = _Point((source.x + _WIDTH + target.x) / 2, y - 7)
    else:
      floor += _LANE
      path, middle = _below(source, target, height, floor)
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


def _corners(graph: graph_lib.ProgramGraph, height: float) -> dict[str, _Point]:
  """Place the boxes; observers above the middle of the others."""
  above, roles = observers(graph), order(graph)
  count = len(roles) - len(above)
  top = _MARGIN + (height + _GAP if above else 0)
  middle = max((count - len(above)) / 2, 0)
  return {
    role: _Point(
      _MARGIN
      + _COLUMN * (number if number < count else middle + number - count),
      top if number < count else _MARGIN,
    )
    for number, role in enumerate(roles)
  }


def _marker(kind: str, color: str) -> str:
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


def _below(
  source: _Point, target: _Point, height: float, lane: float
) -> tuple[str, _Point]:
  """Route an edge down, along a lane below all boxes, and up again."""
  x, end = source.x + _WIDTH * 0.6, target.x + _WIDTH * 0.4
  turn = math.copysign(10, end - x)
  path = (
    f'M{x:g} {source.y + height:g} V{lane - 10:g} Q{x:g} {lane:g} '
    f'{x + turn:g} {lane:g} H{end - turn:g} Q{end:g} {lane:g} {end:g} '
    f'{lane - 10:g} V{target.y + height:g}'
  )
  return path, _Point((x + end) / 2, lane - 7)


def _to_observer(
  source: _Point, target: _Point, height: float
) -> tuple[str, _Point]:
  """Route an edge between a box and an observer above it."""
  rises = source.y > target.y
  # The edges of an observer spread along its lower side.
  lower, upper = (source, target) if rises else (target, source)
  lean = max(min((lower.x - upper.x) / _COLUMN, 1.0), -1.0) * _WIDTH * 0.4
  top = _Point(upper.x + _WIDTH / 2 + lean, upper.y + height)
  bottom = _Point(lower.x + _WIDTH / 2, lower.y - 8)
  (x, y), (right, end) = (bottom, top) if rises else (top, bottom)
  bend = (y + end) / 2
  path = f'M{x:g} {y:g} C{x:g} {bend:g} {right:g} {bend:g} {right:g} {end:g}'
  return path, _Point((x + right) / 2, bend - 5)
