"""Tasks: serialized nodes, which any machine can run.

Launchpad is not imported here, so that processes that start tasks stay small.
The environment of a task's process holds all that it needs beside its payload,
so that a restart elsewhere needs no other payload:

  LAUNCHING_NODE       its name, `<group>/<index>`
  LAUNCHING_ADDRESSES  JSON: key of an address -> 'host:port'
  LAUNCHING_STOP       the file that it creates to stop the program
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import sys
import sysconfig
from collections.abc import Mapping

from programs.launching import children

NODE = 'LAUNCHING_NODE'
ADDRESSES = 'LAUNCHING_ADDRESSES'
STOP = 'LAUNCHING_STOP'


@dataclasses.dataclass(frozen=True)
class Task:
  """A serialized node.

  Attributes:
    group: Label of its group.
    index: Position in its group.
    address_keys: Keys of the addresses on which it listens, those of nodes
      colocated in it included.
    is_server: Whether another node holds a handle to it. It must then restart
      at its old address; other nodes can move.
    payload: Cloudpickled function with its arguments.
  """

  group: str
  index: int
  address_keys: tuple[str, ...]
  is_server: bool
  payload: bytes = dataclasses.field(repr=False)

  @property
  def name(self) -> str:
    """`<group>/<index>`."""
    return f'{self.group}/{self.index}'


@dataclasses.dataclass(frozen=True)
class Requirements:
  """Resources that each node of a group needs.

  Attributes:
    cpu: Cores for Ray to reserve.
    gpu: GPUs for Ray to reserve; if any, the node sees no others.
    is_local: Whether it must run on the launcher's machine, which has the run
      directory.
  """

  cpu: float = 0.0
  gpu: float = 0.0
  is_local: bool = True


def make_command(
  task: Task,
  addresses: Mapping[str, str],
  folder: pathlib.Path,
  stop_path: pathlib.Path,
  environment: Mapping[str, str],
) -> children.NodeCommand:
  """Write the payload into a folder and return the command that runs it.

  `addresses` is key -> 'host:port' of all servers. The process gets the
  environment and the variables above.
  """
  path = folder / f'{task.name.replace("/", "_")}.pkl'
  path.write_bytes(task.payload)
  # Launchpad's script that runs a node, found without importing Launchpad.
  spec = importlib.util.find_spec('launchpad')
  assert spec is not None and spec.submodule_search_locations
  launchpad = pathlib.Path(spec.submodule_search_locations[0])
  return children.NodeCommand(
    name=task.name,
    argv=(
      sys.executable,
      str(launchpad / 'nodes' / 'python' / 'process_entry.py'),
      f'--data_file={path}',
      '--lp_task_id=0',
      # The supervisor limits the time to end, not Launchpad in the node.
      '--lp_termination_notice_secs=-1',
    ),
    env={
      **environment,
      NODE: task.name,
      ADDRESSES: json.dumps(dict(addresses)),
      STOP: str(stop_path),
    },
  )


def import_path() -> list[str]:
  """Return this process's import path without Python's own folders."""
  standard = {sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib')}
  return [
    os.path.abspath(entry)
    for entry in sys.path
    if not any(f'{entry}/'.startswith(f'{folder}/') for folder in standard)
    and os.path.basename(entry) not in ('site-packages', 'dist-packages')
  ]
