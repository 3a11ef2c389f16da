"""A program as a graph: which nodes there are, and who uses whom.

`wiring` makes it of a Launchpad program; to read one takes no Launchpad.
"""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

# What flows: items into a table; items out of a table; the newest variables;
# remote calls; anything else.
KINDS = ('insert', 'sample', 'variables', 'call', 'data')

# Where the service gives and its user takes.
_TAKEN = ('sample', 'variables')

DECLARED = '__graph_uses__'  # Where `uses` leaves its declarations.

_Callable = TypeVar('_Callable', bound=Callable[..., Any])


def uses(**kinds: str) -> Callable[[_Callable], _Callable]:
  """Declares what a node's function or class does with what it is given.

    @graph.uses(queue='insert', learner='variables')
    def run_actor(index, learner, queue): ...

  Args:
    **kinds: Parameter that takes a handle -> one of `KINDS`.

  Raises:
    ValueError: There is no such kind; or, when it decorates, no such parameter.
  """
  for name, kind in kinds.items():
    if kind not in KINDS:
      raise ValueError(
        f'{name} must be one of {", ".join(KINDS)}, got {kind!r}'
      )

  def declare(function: _Callable) -> _Callable:
    known = inspect.signature(function).parameters
    for name in kinds:
      if name not in known:
        raise ValueError(
          f'uses must name parameters of {function.__qualname__}, '
          f'{", ".join(known)}, got {name!r}'
        )
    setattr(function, DECLARED, kinds)
    return function

  return declare


@dataclasses.dataclass(frozen=True)
class Node:
  """One node of a program.

  Attributes:
    name: `<group>/<index>`, and `<group>/<index>/<number>` of one that is
      colocated in it.
    role: What it is one of several of: its group, and for a colocated one
      `<group>.<function>`.
    function: What it runs or constructs, `<module>.<name>`.
    about: First line of that one's docstring; empty where it has none.
    arguments: Name -> value as text; handles are edges, not arguments.
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
  """A handle to the node `service` that the node `user` was given.

  `kind` is one of `KINDS`, `label` the parameter that takes the handle.
  """

  user: str
  service: str
  kind: str
  label: str

  @property
  def source(self) -> str:
    """Where what flows comes from."""
    return self.service if self.kind in _TAKEN else self.user

  @property
  def target(self) -> str:
    """Where it goes."""
    return self.user if self.kind in _TAKEN else self.service


@dataclasses.dataclass(frozen=True)
class RoleEdge:
  """All `count` edges of a kind and label from where data flows to where."""

  source: str
  target: str
  kind: str
  label: str
  count: int


@dataclasses.dataclass(frozen=True)
class ProgramGraph:
  """A program's nodes, in its order, and edges, by user."""

  name: str
  nodes: Sequence[Node]
  edges: Sequence[Edge]

  @functools.cached_property
  def roles(self) -> Mapping[str, Sequence[Node]]:
    """Role -> its nodes, in the order of the program."""
    roles: dict[str, list[Node]] = {}
    for node in self.nodes:
      roles.setdefault(node.role, []).append(node)
    return roles

  @functools.cached_property
  def role_edges(self) -> Sequence[RoleEdge]:
    """The edges between roles, in the order of the first of each."""
    role = {node.name: node.role for node in self.nodes}
    counts: dict[tuple[str, str, str, str], int] = {}
    for edge in self.edges:
      key = (role[edge.source], role[edge.target], edge.kind, edge.label)
      counts[key] = counts.get(key, 0) + 1
    return [RoleEdge(*key, count) for key, count in counts.items()]

  def has_tables(self, role: str) -> bool:
    """Whether others insert there or sample from there."""
    ends = {'insert': 'target', 'sample': 'source'}
    return any(
      edge.kind in ends and getattr(edge, ends[edge.kind]) == role
      for edge in self.role_edges
    )

  def to_json(self) -> str:
    """As `graph.json` holds it; `from_json` is the inverse."""
    return json.dumps(dataclasses.asdict(self), indent=1) + '\n'

  @classmethod
  def from_json(cls, text: str) -> 'ProgramGraph':
    """Reads what `to_json` wrote."""
    content = json.loads(text)
    return cls(
      content['name'],
      [Node(**node) for node in content['nodes']],
      [Edge(**edge) for edge in content['edges']],
    )
