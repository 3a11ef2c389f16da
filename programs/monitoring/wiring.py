"""Build the graph of any Launchpad program.

Each handle that a node receives is an edge to the node that owns the handle's
address. Its kind follows from the handle's type, or from the declaration of
the node's function (`graph.uses`) where a type serves several purposes.
"""

import dataclasses
import functools
import inspect
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import launchpad as lp
import tree
from launchpad.nodes import base, dereference
from launchpad.nodes.courier import node as courier_node

from programs.monitoring import graph


def make_graph(program: lp.Program) -> graph.ProgramGraph:
  """Return the graph of a Launchpad program, launched or not.

  Raises:
    ValueError: A handle belongs to a node of another program.
  """
  found = [
    each
    for group, members in program.groups.items()
    for index, node in enumerate(members)
    for each in _flatten(group, f'{group}/{index}', group, node)
  ]
  owners = {
    id(address): name
    for _, name, _, node in found
    for address in node.addresses
  }
  nodes, edges = [], []
  for group, name, role, node in found:
    function, arguments = _call(node)
    declared = getattr(function, graph.USES_ATTRIBUTE, {})
    plain = {}
    for argument, value in arguments.items():
      handles = list(_handles(value))
      if not handles:
        plain[argument] = _text(value)
      for handle in handles:
        is_call = isinstance(handle, courier_node.CourierHandle)
        kind = declared.get(argument) or ('call' if is_call else 'data')
        edges.append(graph.Edge(name, _owner(handle, owners), kind, argument))
    about = (inspect.getdoc(function) or '').partition('\n')[0]
    type_ = type(node).__name__
    nodes.append(
      graph.Node(name, group, role, type_, _name(function), about, plain)
    )
  return graph.ProgramGraph(program.name, nodes, edges)


def _flatten(
  group: str, name: str, role: str, node: base.Node
) -> Iterator[tuple[str, str, str, base.Node]]:
  yield group, name, role, node
  for number, inner in enumerate(getattr(node, '_nodes', ())):
    function, _ = _call(inner)
    inner_role = f'{group}.{_name(function).rpartition(".")[2]}'
    yield from _flatten(group, f'{name}/{number}', inner_role, inner)


def _call(node: base.Node) -> tuple[Callable[..., Any], dict[str, Any]]:
  """Return the function or class that a node runs, and its arguments."""
  # By attribute: naming `lp.ReverbNode` would import TensorFlow.
  if hasattr(node, '_priority_tables_fn'):
    function, args, kwargs = node._priority_tables_fn, (), {}
  elif hasattr(node, '_constructor'):
    function, args, kwargs = node._constructor, node._args, node._kwargs
  elif hasattr(node, '_func_args'):
    function = node._function
    args, kwargs = node._func_args, node._func_kwargs
  else:  # A node type that Launchpad does not define.
    return type(node), {
      f'input_handles_{index}': handle
      for index, handle in enumerate(node.input_handles)
    }
  while isinstance(function, functools.partial):
    args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
    function = function.func
  try:
    signature = inspect.signature(function)
  except ValueError:  # Some functions written in C have no signature.
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
  for leaf in tree.flatten(value):
    if isinstance(leaf, base.Handle):
      yield leaf
    elif isinstance(leaf, dereference.Deferred):
      yield from _handles((leaf._args, leaf._kwargs))


def _owner(handle: base.Handle, owners: Mapping[int, str]) -> str:
  for value in vars(handle).values():
    if isinstance(value, lp.Address) and id(value) in owners:
      return owners[id(value)]
  raise ValueError(
    f'program must contain the node that owns each handle, got a '
    f'{type(handle).__name__} of another program'
  )


def _name(function: Callable[..., Any]) -> str:
  name = getattr(function, '__qualname__', type(function).__qualname__)
  return f'{getattr(function, "__module__", "?")}.{name}'


def _text(value: Any) -> str:
  """Return one short line; for a dataclass its type alone."""
  if dataclasses.is_dataclass(value):
    return type(value).__name__
  shortened = reprlib.Repr()
  shortened.maxstring = shortened.maxother = 60
  return shortened.repr(value)
