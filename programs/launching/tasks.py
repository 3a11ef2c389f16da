"""Tasks: what any machine can be given to run, and without Launchpad so far.

What a task's process has to know beyond its payload, it has in its environment,
so that a node that moves needs no other payload:

  LAUNCHING_NODE       its name, `<group>/<index>`
  LAUNCHING_ADDRESSES  JSON: key of an address -> 'host:port'
  LAUNCHING_STOP       the file that it makes to stop the program
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

# Launchpad's own notice in the node: none, the supervisor gives it.
_NO_NOTICE = '--lp_termination_notice_secs=-1'


@dataclasses.dataclass(frozen=True)
class Task:
  """One node of a program.

  Attributes:
    group: The group's label.
    index: The node's position in its group.
    address_keys: Of the addresses that it serves at, those of nodes that are
      colocated in it among them.
    is_server: Whether another node holds a handle to it: it then must come back
      at its old address, while others can go on anywhere.
    payload: The function that it runs and what that is given, cloudpickled.
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
class Need:
  """What each node of a group needs of its machine.

  Attributes:
    cpu: Cores that Ray is to set aside for it.
    gpu: GPUs, of which it then sees no others.
    is_here: Whether that must be this one, where the run directory is.
  """

  cpu: float = 0.0
  gpu: float = 0.0
  is_here: bool = True


def make_command(
  task: Task,
  addresses: Mapping[str, str],
  folder: pathlib.Path,
  stop_path: pathlib.Path,
  environment: Mapping[str, str],
) -> children.NodeCommand:
  """Makes the command that runs a task on this machine.

  The folder takes its payload; to the environment come the variables above: the
  addresses ('host:port') and the file whose appearance stops the program.
  """
  path = folder / f'{task.name.replace("/", "_")}.pkl'
  path.write_bytes(task.payload)
  return children.NodeCommand(
    name=task.name,
    argv=(
      sys.executable,
      _entry(),
      f'--data_file={path}',
      '--lp_task_id=0',
      _NO_NOTICE,
    ),
    env={
      **environment,
      NODE: task.name,
      ADDRESSES: json.dumps(dict(addresses)),
      STOP: str(stop_path),
    },
  )


def import_path() -> list[str]:
  """Where the launcher imports from, without what every Python has anyway."""
  standard = {sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib')}
  return [
    os.path.abspath(entry)
    for entry in sys.path
    if not any(f'{entry}/'.startswith(f'{folder}/') for folder in standard)
    and os.path.basename(entry) not in ('site-packages', 'dist-packages')
  ]


def _entry() -> str:
  """Launchpad's script that runs a node, found without importing Launchpad."""
  spec = importlib.util.find_spec('launchpad')
  assert spec is not None and spec.submodule_search_locations
  folder = pathlib.Path(spec.submodule_search_locations[0])
  return str(folder / 'nodes' / 'python' / 'process_entry.py')
