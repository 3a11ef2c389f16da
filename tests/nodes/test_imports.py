"""What the processes of nodes and commands import, and what they need not."""

import json
import os
import pathlib
import subprocess
import sys

import launchpad as lp
import pytest
from launchpad.launch import serialization

from programs import program as impala
from programs.runs import flags

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_TENSORFLOW = {'tensorflow', 'reverb', 'sonnet', 'keras', 'tensorboard'}
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
  ('modules', 'unneeded'),
  [
    (
      'nodes.entries monitoring.monitor evaluation.entries '
      'commands.train commands.graph',
      _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING,
    ),
    (
      'commands.top commands.dashboard commands.doctor commands.downloads',
      _TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING | _LAUNCHING,
    ),
    ('commands.report', _TENSORFLOW | _LOSSES | _SIMULATORS | _LAUNCHING),
    (
      'nodes.queue nodes.actor nodes.inference',
      _LOSSES | _SIMULATORS | _DRAWING,
    ),
    ('evaluation.evaluator', _LOSSES | _SIMULATORS),
    ('nodes.learner', _SIMULATORS | {'matplotlib', 'pandas'}),
  ],
)
def test_no_process_imports_what_it_does_not_need(modules, unneeded):
  names = ', '.join(f'programs.{name}' for name in modules.split())
  assert not imported(f'import {names}') & unneeded


def test_nodes_bring_no_tensorflow_along(tmp_path):
  """What a process unpickles says by name alone what is to be imported."""
  program = impala.make_program(flags.resolve({'logdir': str(tmp_path)}))
  paths = []
  for node in program.get_all_nodes():
    node._launch_context.initialize(lp.LaunchType.LOCAL_MULTI_PROCESSING, None)
    node.bind_addresses()
  for name, nodes in program.groups.items():
    paths.append(tmp_path / f'{name}.pkl')
    functions = [node.function for node in nodes]
    serialization.serialize_functions(str(paths[-1]), name, functions)
  modules = imported(
    'import cloudpickle, sys\n'
    'for path in sys.argv[1:]: cloudpickle.load(open(path, "rb"))',
    *paths,
  )
  assert len(paths) == 5
  assert not modules & (_TENSORFLOW | _LOSSES | _SIMULATORS | _DRAWING)
