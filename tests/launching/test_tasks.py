import os
import pathlib
import subprocess
import threading

import launch_nodes
import launchpad as lp
import pytest

from programs.launching import serialization, tasks

ROOT = pathlib.Path(__file__).absolute().parents[2]


def make_program():
  """A node of each type of Launchpad's, some with handles to others."""
  program = lp.Program('test')
  service = program.add_node(lp.CourierNode(launch_nodes.Service), 'service')
  queue = program.add_node(lp.ReverbNode(launch_nodes.make_tables), 'queue')
  inner = lp.CourierNode(launch_nodes.Service)
  inside = inner.create_handle()
  unused = lp.CourierNode(launch_nodes.Service)
  program.add_node(lp.MultiThreadingColocation([inner, unused]), 'both')
  bare = lp.ReverbNode(launch_nodes.make_tables)
  program.add_node(bare, 'bare')
  with program.group('user'):
    for _ in range(2):
      program.add_node(lp.PyNode(print, {'deep': [service, inside]}, queue))
  program.add_node(lp.PyNode(print, bare.reverb_address), 'finder')
  return program


def test_each_node_becomes_a_task():
  made = {task.name: task for task in serialization.make_tasks(make_program())}
  assert list(made) == [
    *('service/0', 'queue/0', 'both/0', 'bare/0', 'user/0', 'user/1'),
    'finder/0',
  ]
  counts = {name: len(task.address_keys) for name, task in made.items()}
  assert counts == {
    **{'service/0': 1, 'queue/0': 1, 'both/0': 2, 'bare/0': 1},
    **{'user/0': 0, 'user/1': 0, 'finder/0': 0},
  }
  keys = [key for task in made.values() for key in task.address_keys]
  assert len(set(keys)) == len(keys)
  assert {name for name, task in made.items() if task.is_server} == {
    *('service/0', 'queue/0', 'both/0', 'bare/0')
  }


def test_addresses_come_from_the_environment(tmp_path):
  """In a process that has the payload and nothing else."""
  program = lp.Program('test')
  bare = lp.ReverbNode(launch_nodes.make_tables)
  program.add_node(bare, 'bare')
  program.add_node(
    lp.PyNode(launch_nodes.tell_address, bare.reverb_address, str(tmp_path)),
    'teller',
  )
  server, teller = serialization.make_tasks(program)
  for port in (1, 2):  # A server that moved needs no other payload.
    command = tasks.make_command(
      teller,
      {server.address_keys[0]: f'machine:{port}'},
      tmp_path,
      tmp_path / 'stop',
      {**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}'},
    )
    subprocess.run(command.argv, env=command.env, check=True, timeout=60)
    assert (tmp_path / 'address').read_text() == f'machine:{port}'


def test_a_node_that_cannot_be_pickled_is_named():
  program = lp.Program('test')
  program.add_node(lp.PyNode(print, threading.Lock()), 'locker')
  with pytest.raises(RuntimeError, match='locker/0 must have'):
    serialization.make_tasks(program)
