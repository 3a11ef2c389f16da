"""Serializes the nodes of a Launchpad program."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import cloudpickle
import launchpad as lp
import tree
from launchpad.launch import serialization as lp_serialization

from programs.launching import tasks, workspace

# Attributes in which Launchpad's node types keep the arguments of their
# function or class.
_ARGUMENTS = ('_func_args', '_func_kwargs', '_args', '_kwargs')


@dataclasses.dataclass(frozen=True)
class _LateAddress(lp.AbstractAddressBuilder):
  """Address that is looked up when the node runs."""

  key: str

  def build(self) -> str:
    return json.loads(os.environ[tasks.ADDRESSES])[self.key]


def make_tasks(program: lp.Program) -> list[tasks.Task]:
  """Return a task for each node, with its launch context and addresses set.

  A program can be launched once. Its nodes must be `PyNode`s, as all of
  Launchpad's are.

  Raises:
    ValueError: It has no nodes.
    RuntimeError: A node cannot be pickled; the message names it.
  """
  if not program.groups:
    raise ValueError(f'program must have nodes, got none in {program.name!r}')
  keys: dict[int, str] = {}
  for group, index, node in _all_nodes(program):
    # Launchpad's own stopper signals the process that launched: on another
    # machine that could be anybody's.
    node._launch_context.initialize(
      lp.LaunchType.LOCAL_MULTI_PROCESSING, None, stop_program
    )
    for handle in node.input_handles:
      handle.connect(node, group)
    for address in node.addresses:
      if id(address) not in keys:
        keys[id(address)] = f'{group}/{index}/{len(keys)}'
        address.bind(_LateAddress(keys[id(address)]))
  users = _find_users(program)
  lp_serialization.enable_lru_cache_pickling_once()
  made = []
  for group, nodes in program.groups.items():
    for index, node in enumerate(nodes):
      name = f'{group}/{index}'
      served = [id(address) for address in node.addresses]
      made.append(
        tasks.Task(
          group,
          index,
          address_keys=tuple(keys[address] for address in served),
          is_server=any(
            users.get(address, set()) - {name} for address in served
          ),
          payload=_pickle(name, node.function),
        )
      )
  return made


def stop_program() -> None:
  """Stop the program from inside a node, as `lp.stop()` does."""
  path = pathlib.Path(os.environ[tasks.STOP])
  workspace.write_stop(path, os.environ[tasks.NODE])


def _all_nodes(program: lp.Program) -> Iterator[tuple[str, int, Any]]:
  """Yield group, index and node, of nodes and of nodes colocated in them."""

  def colocated(node: Any) -> Iterator[Any]:
    yield node
    for inner in getattr(node, '_nodes', ()):
      yield from colocated(inner)

  for group, nodes in program.groups.items():
    for index, outer in enumerate(nodes):
      for node in colocated(outer):
        yield group, index, node


def _find_users(program: lp.Program) -> Mapping[int, set[str]]:
  """Return id of an address -> nodes that have it or a handle with it."""
  users: dict[int, set[str]] = {}
  for group, index, node in _all_nodes(program):
    arguments = [getattr(node, name, ()) for name in _ARGUMENTS]
    held = [value for h in node.input_handles for value in vars(h).values()]
    for value in (*tree.flatten(arguments), *held):
      if isinstance(value, lp.Address):
        users.setdefault(id(value), set()).add(f'{group}/{index}')
  return users


def _pickle(name: str, function: Any) -> bytes:
  try:
    # A list of one, as Launchpad's process_entry.py reads it.
    return cloudpickle.dumps([function])
  except Exception as error:  # Of any type: objects pickle themselves.
    raise RuntimeError(
      f'{name} must have arguments that can be pickled (plain values and '
      f'handles; no flags, locks or open files), got {type(error).__name__}: '
      f'{error}'
    ) from error
