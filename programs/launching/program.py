"""A Launchpad program, taken apart into tasks."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import cloudpickle
import launchpad as lp
import tree
from launchpad.launch import serialization

from programs.launching import tasks, workspace

# Where Launchpad's kinds of nodes keep what their function or class is given.
_GIVEN = ('_func_args', '_func_kwargs', '_args', '_kwargs')


@dataclasses.dataclass(frozen=True)
class _LateAddress(lp.AbstractAddressBuilder):
  """An address that is known when the node runs, and not before."""

  key: str

  def build(self) -> str:
    return json.loads(os.environ[tasks.ADDRESSES])[self.key]


def make_tasks(program: lp.Program) -> list[tasks.Task]:
  """Takes a program apart; its nodes get their contexts and addresses here.

  It can be launched once, and is of `PyNode`s, as all that Launchpad has are.

  Raises:
    ValueError: It has no nodes.
    RuntimeError: A node cannot be pickled; the message names it.
  """
  if not program.groups:
    raise ValueError(f'program must have nodes, got none in {program.name!r}')
  keys: dict[int, str] = {}
  for group, index, node in _all_nodes(program):
    # Launchpad's own stopper signals the process that launched: on another
    # machine, whoever has that number there.
    node._launch_context.initialize(
      lp.LaunchType.LOCAL_MULTI_PROCESSING, None, stop_program
    )
    for handle in node.input_handles:
      handle.connect(node, group)
    for address in node.addresses:
      if id(address) not in keys:
        keys[id(address)] = f'{group}/{index}/{len(keys)}'
        address.bind(_LateAddress(keys[id(address)]))
  users = _users(program)
  serialization.enable_lru_cache_pickling_once()
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
  """What `lp.stop()` does in a node: leaves its name for the supervisor."""
  path = pathlib.Path(os.environ[tasks.STOP])
  workspace.write_stop(path, os.environ[tasks.NODE])


def _all_nodes(program: lp.Program) -> Iterator[tuple[str, int, Any]]:
  """Group, index and node, of nodes and of those colocated in them."""

  def colocated(node: Any) -> Iterator[Any]:
    yield node
    for inner in getattr(node, '_nodes', ()):
      yield from colocated(inner)

  for group, nodes in program.groups.items():
    for index, outer in enumerate(nodes):
      for node in colocated(outer):
        yield group, index, node


def _users(program: lp.Program) -> Mapping[int, set[str]]:
  """Address, by its id -> the tasks that are given it, or a handle with it."""
  users: dict[int, set[str]] = {}
  for group, index, node in _all_nodes(program):
    given = [getattr(node, name, ()) for name in _GIVEN]
    held = [value for h in node.input_handles for value in vars(h).values()]
    for value in (*tree.flatten(given), *held):
      if isinstance(value, lp.Address):
        users.setdefault(id(value), set()).add(f'{group}/{index}')
  return users


def _pickle(name: str, function: Any) -> bytes:
  """A list of one, as Launchpad's entry to a process reads it."""
  try:
    return cloudpickle.dumps([function])
  except Exception as error:  # Of any type: objects pickle themselves.
    raise RuntimeError(
      f'{name} must take what can be pickled (plain arguments and handles; no '
      f'flags, locks or open files), got {type(error).__name__}: {error}'
    ) from error
