"""A program's graph as a picture, in SVG.

Drawn are roles, not nodes: 64 actors are one box, 'actor x 64'. The layout is
ours, since a graph of a few roles needs none of what a layout engine installs:
columns along what flows from role to role, variables and other edges that lead
back below, and above those who only call and are called, as a monitor.
"""

import collections
import html
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from programs.inspection import graph as graph_lib

_WIDTH, _HEIGHT = 168, 64  # Of a box, in pixels, as everything here.
_COLUMN, _ROW = 300, 132  # From one box to the next.
_MARGIN = 28
_LANE = 30  # Below the boxes, for each edge that leads back.
_LINE = 16  # For each label in a box.

COLORS = {
  'insert': '#1f6feb',
  'sample': '#1a7f37',
  'variables': '#8250df',
  'call': '#9a6700',
  'data': '#57606a',
}
DASHES = {'variables': '7 4', 'call': '2 4'}
_FONT = 'font-family="system-ui, sans-serif"'

# Role, or '<source> <kind> <target>' of an edge -> more lines of text; an edge
# shows the first.
Labels = Mapping[str, Sequence[str]]


def title(role: str, nodes: Sequence[graph_lib.Node]) -> str:
  """'actor x 64', or the role alone."""
  return role if len(nodes) == 1 else f'{role} x {len(nodes)}'


def order(graph: graph_lib.ProgramGraph) -> list[str]:
  """The roles along what flows, and at the end those who watch."""
  above = watching(graph)
  points = _layout(graph, above)
  return sorted(graph.roles, key=lambda role: (role in above, points[role]))


class _Point(NamedTuple):
  x: float
  y: float


def svg(graph: graph_lib.ProgramGraph, labels: Labels | None = None) -> str:
  """A picture; each box leads to `#<role>`.

  Args:
    graph: What is drawn.
    labels: What boxes and edges show besides their name and kind.
  """
  labels = labels or {}
  height = _HEIGHT + _LINE * max(
    (len(labels.get(role, ())) for role in graph.roles), default=0
  )
  row = height + _ROW - _HEIGHT
  above = watching(graph)
  corners = {
    role: _Point(_MARGIN + p.x * _COLUMN, _MARGIN + p.y * row)
    for role, p in _layout(graph, above).items()
  }
  floor = max((p.y for p in corners.values()), default=0) + height
  drawn, lanes = [], 0
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
      lanes += 1
      path, middle = _back(source, target, height, floor + lanes * _LANE)
    drawn.append(_line(edge, path, middle, labels))
  boxes = [
    _box(role, nodes, corners[role], height, labels.get(role, ()))
    for role, nodes in graph.roles.items()
  ]
  right = max((p.x for p in corners.values()), default=0)
  return _picture(
    graph.name,
    width=right + _WIDTH + _MARGIN,
    height=floor + (lanes + 1) * _LANE,
    drawn=[*drawn, *boxes],
  )


def _picture(
  name: str, width: float, height: float, drawn: Sequence[str]
) -> str:
  markers = [
    f'<marker id="{kind}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
    f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{color}"/>'
    '</marker>'
    for kind, color in COLORS.items()
  ]
  return '\n'.join(
    [
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
      f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" role="img">',
      f'<title>{html.escape(name)}</title>',
      '<rect width="100%" height="100%" fill="white"/>',
      f'<defs>{"".join(markers)}</defs>',
      *drawn,
      '</svg>\n',
    ]
  )


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


def _layout(
  graph: graph_lib.ProgramGraph, watching: Collection[str]
) -> dict[str, _Point]:
  """Role -> column and row, from 0; who watches, above the middle of others."""
  targets = _flow(graph, watching)
  columns = _columns(targets)
  rows: collections.Counter[int] = collections.Counter()
  points = {}
  for role in targets:
    row = rows[columns[role]] + bool(watching)
    points[role] = _Point(columns[role], row)
    rows[columns[role]] += 1
  middle = (max(columns.values(), default=0) - len(watching) + 1) / 2
  for number, role in enumerate(r for r in graph.roles if r in watching):
    points[role] = _Point(max(middle, 0) + number, 0)
  return points


def _flow(
  graph: graph_lib.ProgramGraph, watching: Collection[str]
) -> dict[str, set[str]]:
  """Role -> the roles that stand behind it."""
  targets: dict[str, set[str]] = {
    role: set() for role in graph.roles if role not in watching
  }
  edges = [
    edge
    for edge in graph.role_edges
    if edge.source in targets and edge.target in targets
  ]
  for edge in edges:
    if edge.source != edge.target and edge.kind != 'variables':
      targets[edge.source].add(edge.target)
  # Who only takes variables stands behind who gives them.
  bound = {r for r, t in targets.items() if t} | set().union(*targets.values())
  for edge in edges:
    if edge.kind == 'variables' and edge.target not in bound:
      targets[edge.source].add(edge.target)
  return targets


def _columns(targets: Mapping[str, Collection[str]]) -> dict[str, int]:
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


def _box(
  role: str,
  nodes: Sequence[graph_lib.Node],
  corner: _Point,
  height: float,
  lines: Sequence[str],
) -> str:
  """A box, with two more behind it where it stands for several."""
  shapes = [
    f'<rect x="{corner.x + shift:g}" y="{corner.y - shift:g}" rx="8" '
    f'width="{_WIDTH}" height="{height:g}" fill="white" stroke="#24292f"/>'
    for shift in ((8, 4, 0) if len(nodes) > 1 else (0,))
  ]
  middle = corner.x + _WIDTH / 2

  def text(line: str, y: float, style: str) -> str:
    return (
      f'<text x="{middle:g}" y="{corner.y + y:g}" text-anchor="middle" '
      f'{_FONT} {style}>{html.escape(line)}</text>'
    )

  small = 'font-size="11" fill="#57606a"'
  texts = [
    text(title(role, nodes), 28, 'font-size="15" font-weight="600"'),
    text(nodes[0].function.rpartition('.')[2], 48, small),
    *(
      text(line, 48 + _LINE * (number + 1), small)
      for number, line in enumerate(lines)
    ),
  ]
  return (
    f'<a href="#{html.escape(role)}" data-role="{html.escape(role)}">'
    f'{"".join(shapes + texts)}</a>'
  )


def _forward(
  source: _Point, target: _Point, shift: float
) -> tuple[str, _Point]:
  """From the right of one box to the left of another, `shift` from the top."""
  start = _Point(source.x + _WIDTH, source.y + shift)
  end = _Point(target.x, target.y + shift)
  bend = (start.x + end.x) / 2
  path = f'M{start.x:g} {start.y:g} C{bend:g} {start.y:g} {bend:g} {end.y:g} '
  path += f'{end.x:g} {end.y:g}'
  return path, _Point(bend, (start.y + end.y) / 2 - 7)


def _back(
  source: _Point, target: _Point, height: float, lane: float
) -> tuple[str, _Point]:
  """Down from one box, along a lane below all, and up into another."""
  start = _Point(source.x + _WIDTH * 0.6, source.y + height)
  end = _Point(target.x + _WIDTH * 0.4, target.y + height)
  path = (
    f'M{start.x:g} {start.y:g} V{lane - 10:g} Q{start.x:g} {lane:g} '
    f'{start.x - 10:g} {lane:g} H{end.x + 10:g} Q{end.x:g} {lane:g} '
    f'{end.x:g} {lane - 10:g} V{end.y:g}'
  )
  return path, _Point((start.x + end.x) / 2, lane - 7)


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
  start, end = (bottom, top) if rises else (top, bottom)
  bend = (start.y + end.y) / 2
  path = f'M{start.x:g} {start.y:g} C{start.x:g} {bend:g} {end.x:g} {bend:g} '
  path += f'{end.x:g} {end.y:g}'
  return path, _Point((start.x + end.x) / 2, bend - 5)


def _line(
  edge: graph_lib.RoleEdge, path: str, middle: _Point, labels: Labels
) -> str:
  color = COLORS[edge.kind]
  name = f'{edge.source} {edge.kind} {edge.target}'
  text = ' '.join([edge.kind, *labels.get(name, ())[:1]])
  return (
    f'<g data-edge="{html.escape(name)}"><path d="{path}" fill="none" '
    f'stroke="{color}" '
    f'stroke-width="2" stroke-dasharray="{DASHES.get(edge.kind, "none")}" '
    f'marker-end="url(#{edge.kind})"/>'
    f'<text x="{middle.x:g}" y="{middle.y:g}" text-anchor="middle" {_FONT} '
    f'font-size="12" fill="{color}">{html.escape(text)}</text></g>'
  )
