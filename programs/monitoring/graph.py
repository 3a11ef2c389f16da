"""The graph of a program: its nodes, and the handles that connect them.

`wiring` builds it from a Launchpad program. Reading one needs no Launchpad.
"""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

# Flow along an edge: items into a table; items out of a table; variables that
# are fetched; remote calls; anything else.
EDGE_KINDS = ('insert', 'sample', 'variables', 'call', 'data')

# These flow from the service to its user, the others the other way.
_FETCHED = ('sample', 'variables')

USES_ATTRIBUTE = '__graph_uses__'  # Set by `uses` on the function.

_Callable = TypeVar('_Callable', bound=Callable[..., Any])


def uses(**kinds: str) -> Callable[[_Callable], _Callable]:
  """Declare what a node's function or class does with its handles.

    @graph.uses(queue='insert', learner='variables')
    def run_actor(index, learner, queue): ...

  Args:
    **kinds: Parameter that takes a handle -> one of `EDGE_KINDS`.

  Raises:
    ValueError: A kind is unknown, or the decorated function lacks a parameter.
  """
  for name, kind in kinds.items():
    if kind not in EDGE_KINDS:
      raise ValueError(
        f'{name} must be one of {", ".join(EDGE_KINDS)}, got {kind!r}'
      )

  def declare(function: _Callable) -> _Callable:
    known = inspect.signature(function).parameters
    for name in kinds:
      if name not in known:
        raise ValueError(
          f'uses must name parameters of {function.__qualname__}, '
          f'{", ".join(known)}, got {name!r}'
        )
    setattr(function, USES_ATTRIBUTE, kinds)
    return function

  return declare


@dataclasses.dataclass(frozen=True)
class Node:
  """One node of a program.

  Attributes:
    name: `<group>/<index>`; `<group>/<index>/<number>` of a node that is
      colocated in another.
    role: Its group; `<group>.<function>` of a colocated node.
    function: `<module>.<name>` of the function or class that it runs.
    about: First line of that function's docstring, or ''.
    arguments: Name -> value as text. Handles are edges, not arguments.
  """

  name: str
  group: str
  role: str
  type: str
  function: str
  about: str
  arguments: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Edge:
  """A handle to the node `service` that was passed to the node `user`.

  `kind` is one of `EDGE_KINDS`, `label` the parameter that takes the handle.
  """

  user: str
  service: str
  kind: str
  label: str

  @property
  def source(self) -> str:
    """Name of the node that the data comes from."""
    return self.service if self.kind in _FETCHED else self.user

  @property
  def target(self) -> str:
    """Name of the node that the data goes to."""
    return self.user if self.kind in _FETCHED else self.service


@dataclasses.dataclass(frozen=True)
class RoleEdge:
  """The `count` edges between two roles with the same kind and label."""

  source: str
  target: str
  kind: str
  label: str
  count: int


@dataclasses.dataclass(frozen=True)
class ProgramGraph:
  """The nodes of a program in its order, and the edges by user."""

  name: str
  nodes: Sequence[Node]
  edges: Sequence[Edge]

  @functools.cached_property
  def roles(self) -> Mapping[str, Sequence[Node]]:
    """Nodes by role, in the order of the program."""
    roles: dict[str, list[Node]] = {}
    for node in self.nodes:
      roles.setdefault(node.role, []).append(node)
    return roles

  @functools.cached_property
  def role_edges(self) -> Sequence[RoleEdge]:
    """Edges between roles, in the order in which each first appears."""
    role = {node.name: node.role for node in self.nodes}
    counts: dict[tuple[str, str, str, str], int] = {}
    for edge in self.edges:
      key = (role[edge.source], role[edge.target], edge.kind, edge.label)
      counts[key] = counts.get(key, 0) + 1
    return [RoleEdge(*key, count) for key, count in counts.items()]

  def has_tables(self, role: str) -> bool:
    """Return True if nodes insert into or sample from this role."""
    ends = {'insert': 'target', 'sample': 'source'}
    return any(
      edge.kind in ends and getattr(edge, ends[edge.kind]) == role
      for edge in self.role_edges
    )

  def to_json(self) -> str:
    """Return the content of `graph.json`; `from_json` is the inverse."""
    return json.dumps(dataclasses.asdict(self), indent=1) + '\n'

  @classmethod
  def from_json(cls, text: str) -> 'ProgramGraph':
    """Parse the text that `to_json` returns."""
    content = json.loads(text)
    return cls(
      content['name'],
      [Node(**node) for node in content['nodes']],
      [Edge(**edge) for edge in content['edges']],
    )


def log_name(node: str) -> str:
  """Return the name of a node's log file; colocated nodes share one."""
  return '_'.join(node.split('/')[:2]) + '.log'
