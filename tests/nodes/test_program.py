import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import launch_impala
import launchpad as lp
import numpy as np
import processes
import pytest

import environments
from agents.impala import acting, networks
from programs import program as impala
from programs.nodes import actor
from programs.runs import flags, run_config

ROOT = pathlib.Path(__file__).absolute().parents[2]


def make_configuration(tmp_path, **given):
  return flags.resolve({'logdir': str(tmp_path), **given})


def test_groups_and_their_nodes(tmp_path):
  program = impala.make_program(make_configuration(tmp_path, num_actors=3))
  one_each = dict.fromkeys(('queue', 'monitor', 'learner', 'evaluator'), 1)
  made = {group: len(nodes) for group, nodes in program.groups.items()}
  assert made == {**one_each, 'actor': 3}
  assert list(tmp_path.iterdir()) == []  # A graph alone writes nothing.


def test_the_learner_alone_has_the_gpu(tmp_path):
  configuration = make_configuration(tmp_path, num_actors=3)
  resources = impala.make_resources(configuration)
  assert set(resources) == set(impala.make_program(configuration).groups)
  hidden = {
    group
    for group, made in resources.items()
    if made.env.get('CUDA_VISIBLE_DEVICES') == ''
  }
  assert hidden == set(resources) - {'learner'}


@pytest.mark.parametrize(
  ('given', 'threads'),
  [
    ({'num_actors': 3}, '5'),  # The cores that actors leave.
    ({'num_actors': 100}, '1'),
    ({'num_actors': 100, 'learner_threads': 3}, '3'),
  ],
)
def test_threads_of_the_learner(tmp_path, monkeypatch, given, threads):
  monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))
  resources = impala.make_resources(make_configuration(tmp_path, **given))
  assert resources['learner'].env['TF_NUM_INTRAOP_THREADS'] == threads


def test_actors_share_the_levels_out_among_them(tmp_path, monkeypatch):
  class Asked(Exception):
    pass

  def make_batch(level_name, seeds, first, settings, num_processes):
    raise Asked(level_name, len(seeds), first)

  monkeypatch.setattr(environments, 'make_batch', make_batch)
  monkeypatch.setattr(lp, 'stop_event', threading.Event)
  configuration = make_configuration(tmp_path, num_envs_per_actor=5)
  for index in (0, 3):
    with pytest.raises(Asked) as asked:
      actor.run_actor(configuration, index, learner=None, queue=None)
    assert asked.value.args == ('catch', 5, 5 * index)


def test_actors_act_at_random_in_benchmark_mode(tmp_path, monkeypatch):
  class Made(Exception):
    pass

  def make_actor(policy, *_):
    raise Made(policy._policy)

  monkeypatch.setattr(acting, 'Actor', make_actor)
  monkeypatch.setattr(lp, 'stop_event', threading.Event)
  configuration = make_configuration(tmp_path, benchmark_mode=True)
  inputs = networks.NetworkInput((), (), (), np.zeros(100, bool))
  actions = []
  for index in (0, 1):
    with pytest.raises(Made) as made:
      actor.run_actor(configuration, index, learner=None, queue=None)
    actions.append(made.value.args[0](inputs, ()).action)
  assert (actions[0] != actions[1]).any()


def launch(launch_type, directory, *more):
  """Runs `launch_impala.py` to its end; returns status and output."""
  with subprocess.Popen(
    [sys.executable, launch_impala.__file__, launch_type, directory, *more],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    start_new_session=True,
    env={
      **os.environ,
      'PYTHONPATH': str(ROOT),
      'LAUNCHPAD_LOGGING_DIR': str(directory / 'logs'),
      'TMPDIR': str(directory),  # Launchpad and Reverb leave folders there.
    },
  ) as launcher:
    try:
      output, _ = launcher.communicate(timeout=240)
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGKILL)
  processes.wait_until(lambda: not processes.naming(directory), 5)
  return launcher.returncode, output


def test_stepped_by_hand_under_test_mt(tmp_path):
  status, output = launch('test_mt', tmp_path)
  assert status == 0, output
  facts = json.loads((tmp_path / 'facts.json').read_text())
  agent = launch_impala.make_configuration(tmp_path).agent
  frames = agent.batch_size * agent.unroll_length
  steps = list(range(launch_impala.NUM_STEPS + 1))
  assert facts['frames'] == [step * frames for step in steps]
  assert facts['learner_steps'] == steps
  assert len(facts['is_changed']) == launch_impala.NUM_STEPS
  assert all(all(variables) for variables in facts['is_changed'])
  assert facts['inserted'] >= launch_impala.NUM_STEPS * agent.batch_size
  assert facts['is_clean'], output


def assert_finished(directory):
  """Whether the last frame was learned, saved and evaluated."""
  configuration = launch_impala.make_configuration(directory)
  total = configuration.agent.total_environment_frames
  meta = configuration.directory.read_meta()
  assert meta['finished_frames'] == total
  results = configuration.directory.evaluations / str(total) / 'results.json'
  levels = json.loads(results.read_text())['levels']
  assert levels[0]['episodes'] == configuration.run.test_num_episodes
  assert list(configuration.directory.checkpoints.glob('ckpt-*.index'))


# Threads, and actors that choose their actions themselves, are in other tests.


@pytest.mark.thorough
@pytest.mark.parametrize('inference', run_config.INFERENCE)
def test_threads_under_local_mt(tmp_path, inference):
  status, output = launch('local_mt', tmp_path, inference)
  assert status == 0, output
  assert_finished(tmp_path)


@pytest.mark.parametrize(
  'inference', [pytest.param('local', marks=pytest.mark.thorough), 'server']
)
def test_processes_under_local_mp(tmp_path, inference):
  status, output = launch('local_mp', tmp_path, inference)
  # The launcher that Launchpad has may kill itself at the end.
  assert status in (0, -signal.SIGTERM, -signal.SIGKILL), output
  assert_finished(tmp_path)
