"""A Launchpad program as a graph: which nodes there are, and who uses whom.

Made from the program alone, before or without launching it. An edge is a
handle that a node was given; it leads to the node that owns the handle's
address. What flows along it is told by the handle's type and, where the same
type serves several purposes, declared by who uses it (`uses`).
"""

import dataclasses
import functools
import inspect
import json
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import launchpad as lp
import tree
from launchpad.nodes import base, dereference
from launchpad.nodes.courier import node as courier_node

# What flows: items into a table; items out of a table; the newest variables;
# remote calls; anything else.
KINDS = ('insert', 'sample', 'variables', 'call', 'data')

# Where the service gives and its user takes.
_TAKEN = ('sample', 'variables')

_DECLARED = '__graph_uses__'

_Callable = TypeVar('_Callable', bound=Callable[..., Any])


def uses(**kinds: str) -> Callable[[_Callable], _Callable]:
  """Declares what a node's function or class does with what it is given.

    @graph.uses(queue='insert', learner='variables')
    def run_actor(index, learner, queue): ...

  Args:
    **kinds: Parameter that takes a handle -> one of `KINDS`.

  Returns:
    A decorator that changes nothing but the graph.

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
    setattr(function, _DECLARED, kinds)
    return function

  return declare


@dataclasses.dataclass(frozen=True)
class Node:
  """One node of a program.

  Attributes:
    name: `<group>/<index>`, and `<group>/<index>/<number>` of one that is
      colocated in it.
    group: Of the program.
    role: What it is one of several of: its group, and for a colocated one
      `<group>.<function>`.
    type: Launchpad's name of the kind of node.
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
  """A handle that a node was given.

  Attributes:
    user: Name of the node that has the handle.
    service: Name of the node that the handle leads to.
    kind: One of `KINDS`.
    label: Name of the parameter that takes the handle.
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
  """All edges of one kind and label between two roles.

  Attributes:
    source: Role where what flows comes from.
    target: Role where it goes.
    kind: One of `KINDS`.
    label: Name of the parameter.
    count: How many edges it stands for.
  """

  source: str
  target: str
  kind: str
  label: str
  count: int


@dataclasses.dataclass(frozen=True)
class ProgramGraph:
  """A program's nodes and edges.

  Attributes:
    name: Of the program.
    nodes: In the order of the program.
    edges: By user.
  """

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


def make_graph(program: lp.Program) -> ProgramGraph:
  """The graph of any Launchpad program.

  Args:
    program: Need not be launched, and is not.

  Returns:
    Its graph.

  Raises:
    ValueError: A handle leads to a node that is not in the program.
  """
  found = list(_flatten(program))
  owners = {
    id(address): name
    for _, name, _, node in found
    for address in node.addresses
  }
  nodes, edges = [], []
  for group, name, role, node in found:
    function, arguments = _call(node)
    handles = {
      argument: list(_handles(value)) for argument, value in arguments.items()
    }
    nodes.append(
      Node(
        name,
        group,
        role,
        type(node).__name__,
        _name(function),
        (inspect.getdoc(function) or '').partition('\n')[0],
        {
          argument: _text(value)
          for argument, value in arguments.items()
          if not handles[argument]
        },
      )
    )
    declared = getattr(function, _DECLARED, {})
    for argument, given in handles.items():
      for handle in given:
        kind = declared.get(argument) or _kind(handle)
        edges.append(Edge(name, _owner(handle, owners), kind, argument))
  return ProgramGraph(program.name, nodes, edges)


def _flatten(
  program: lp.Program,
) -> Iterator[tuple[str, str, str, base.Node]]:
  """Group, name, role and node, of nodes and then of those inside them."""

  def inside(
    group: str, name: str, role: str, node: base.Node
  ) -> Iterator[tuple[str, str, str, base.Node]]:
    yield group, name, role, node
    for number, inner in enumerate(getattr(node, '_nodes', ())):
      function, _ = _call(inner)
      inner_role = f'{group}.{_name(function).rpartition(".")[2]}'
      yield from inside(group, f'{name}/{number}', inner_role, inner)

  for group, nodes in program.groups.items():
    for index, node in enumerate(nodes):
      yield from inside(group, f'{group}/{index}', group, node)


def _call(node: base.Node) -> tuple[Callable[..., Any], dict[str, Any]]:
  """What a node runs or constructs, and its arguments by name."""
  if isinstance(node, lp.ReverbNode):
    function, args, kwargs = node._priority_tables_fn, (), {}
  elif hasattr(node, '_constructor'):
    function, args, kwargs = node._constructor, node._args, node._kwargs
  elif hasattr(node, '_func_args'):
    function = node._function
    args, kwargs = node._func_args, node._func_kwargs
  else:  # Somebody's own kind of node.
    return type(node), {
      f'input_handles_{index}': handle
      for index, handle in enumerate(node.input_handles)
    }
  while isinstance(function, functools.partial):
    args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
    function = function.func
  try:
    signature = inspect.signature(function)
  except ValueError:  # Some of those that are written in C have none.
    signature = inspect.signature(lambda *arguments, **named: None)
  bound = signature.bind_partial(*args, **kwargs)
  arguments: dict[str, Any] = {}
  for name, value in bound.arguments.items():
    kind = bound.signature.parameters[name].kind
    if kind is inspect.Parameter.VAR_POSITIONAL:
      arguments |= {f'{name}_{index}': each for index, each in enumerate(value)}
    elif kind is inspect.Parameter.VAR_KEYWORD:
      arguments |= value
    else:
      arguments[name] = value
  return function, arguments


def _handles(value: Any) -> Iterator[base.Handle]:
  """The handles of an argument, as Launchpad finds them."""
  for leaf in tree.flatten(value):
    if isinstance(leaf, base.Handle):
      yield leaf
    elif isinstance(leaf, dereference.Deferred):
      yield from _handles((leaf._args, leaf._kwargs))


def _kind(handle: base.Handle) -> str:
  return 'call' if isinstance(handle, courier_node.CourierHandle) else 'data'


def _owner(handle: base.Handle, owners: Mapping[int, str]) -> str:
  """Name of the node that owns a handle's address."""
  for value in vars(handle).values():
    if isinstance(value, lp.Address) and id(value) in owners:
      return owners[id(value)]
  raise ValueError(
    f'program must have the node that {type(handle).__name__} leads to, got '
    'a handle of another program'
  )


def _name(function: Callable[..., Any]) -> str:
  name = getattr(function, '__qualname__', type(function).__qualname__)
  return f'{getattr(function, "__module__", "?")}.{name}'


def _text(value: Any) -> str:
  """One short line; of a large configuration its type alone."""
  if dataclasses.is_dataclass(value):
    return type(value).__name__
  shortened = reprlib.Repr()
  shortened.maxstring = shortened.maxother = 60
  return shortened.repr(value)
