"""What the processes of nodes and commands import, and what they need not."""

import json
import os
import pathlib
import subprocess
import sys

import launchpad as lp
import pytest
from launchpad.launch import serialization

from programs import flags, impala

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_TENSORFLOW = {'tensorflow', 'reverb', 'sonnet', 'keras', 'tensorboard'}
_JAX = {'jax', 'jaxlib'}
_LOSSES = {'trfl', 'tensorflow_probability'}
_SIMULATORS = {'ale_py', 'gym', 'cv2', 'vizdoom', 'deepmind_lab'}
_DRAWING = {'matplotlib', 'pandas', 'imageio_ffmpeg', 'pyinstrument'}
_LAUNCHING = {'launchpad', 'courier', 'acme'}


def imported(code, *arguments):
  """The modules that a fresh process has after some code."""
  code += '\nimport json, sys; print(json.dumps(sorted(sys.modules)))'
  done = subprocess.run(
    [sys.executable, '-c', code, *map(str, arguments)],
    cwd=_ROOT,
    env={**os.environ, 'PYTHONPATH': str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
  ('module', 'unneeded'),
  [
    # Nodes.
    ('programs.entries', _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING),
    (
      'programs.inspection.monitor',
      _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING | {'rich', 'acme'},
    ),
    (
      'programs.evaluator',
      _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING | {'rich'},
    ),
    ('programs.queue_server', _JAX | _LOSSES | _SIMULATORS | _DRAWING),
    ('programs.actor', _JAX | _LOSSES | _SIMULATORS | _DRAWING),
    ('programs.inference', _JAX | _LOSSES | _SIMULATORS | _DRAWING),
    (
      'programs.scoring',
      _JAX | _LOSSES | _SIMULATORS | {'matplotlib', 'pandas'},
    ),
    ('programs.learner', _JAX | _SIMULATORS | {'matplotlib', 'pandas'}),
    # Commands.
    ('programs.train', _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING),
    ('programs.graph', _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING),
    *(
      (
        f'programs.{command}',
        _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING | _LAUNCHING,
      )
      for command in ('top', 'dashboard', 'doctor', 'downloads')
    ),
    ('programs.report', _TENSORFLOW | _LOSSES | _SIMULATORS | _LAUNCHING),
  ],
)
def test_no_process_imports_what_it_does_not_need(module, unneeded):
  assert not imported(f'import {module}') & unneeded


@pytest.mark.parametrize(
  'name', ['queue', 'monitor', 'learner', 'actor', 'evaluator']
)
def test_a_node_brings_no_tensorflow_along(tmp_path, name):
  """What a process unpickles says by name alone what is to be imported."""
  program = impala.make_program(flags.resolve({'logdir': str(tmp_path)}))
  for node in program.get_all_nodes():
    node._launch_context.initialize(lp.LaunchType.LOCAL_MULTI_PROCESSING, None)
    node.bind_addresses()
  path = tmp_path / 'job.pkl'
  functions = [node.function for node in program.groups[name]]
  serialization.serialize_functions(str(path), name, functions)
  modules = imported(
    'import cloudpickle, sys; cloudpickle.load(open(sys.argv[1], "rb"))', path
  )
  assert not modules & (_TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING)


def test_drawing_the_program_takes_no_tensorflow():
  code = 'from programs import graph; assert graph.main([]) == 0'
  assert not imported(code) & (_TENSORFLOW | _LOSSES | _SIMULATORS)
