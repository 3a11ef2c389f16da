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
from launchpad.launch import serialization
from launchpad.nodes.courier import node as courier_node

import environments
from agents.impala import acting, networks, policies
from programs import (
  actor,
  examinations,
  flags,
  impala,
  queue_node,
  run_config,
)

ROOT = pathlib.Path(__file__).absolute().parent.parent


def make_configuration(tmp_path, **given):
  return flags.resolve({'logdir': str(tmp_path), **given})


def test_groups_and_their_nodes(tmp_path):
  program = impala.make_program(make_configuration(tmp_path, num_actors=3))
  assert {group: len(made) for group, made in program.groups.items()} == {
    'queue': 1,
    'monitor': 1,
    'learner': 1,
    'actor': 3,
    'evaluator': 1,
  }
  assert list(tmp_path.iterdir()) == []  # A graph alone writes nothing.


def test_every_handle_is_a_direct_argument(tmp_path):
  """Where Launchpad finds them: it shows and replaces no others."""
  program = impala.make_program(make_configuration(tmp_path, num_actors=2))
  courier, queue = courier_node.CourierHandle, queue_node.QueueHandle
  expected = {
    'monitor': [],
    'queue': [courier],
    'learner': [queue, courier],
    'actor': [courier, queue, courier],
    'evaluator': [courier, courier],
  }
  for group, made in program.groups.items():
    for node in made:
      assert [type(h) for h in node.input_handles] == expected[group], group


def test_the_program_of_an_evaluation(tmp_path):
  configuration = make_configuration(tmp_path)
  program = impala.make_evaluation_program(
    configuration,
    examinations.Examination(level_name='catch', num_evaluators=3),
    str(tmp_path),
  )
  (examiner,) = program.groups['examiner']
  assert len(program.groups['evaluator']) == 3
  for node in program.groups['evaluator']:
    (handle,) = node.input_handles
    assert handle._address is examiner.courier_address
    assert handle._kwargs['call_timeout'] > 0
  for group, made in program.groups.items():
    serialization.check_nodes_are_serializable(group, made)
  resources = impala.make_evaluation_resources()
  assert set(resources) == set(program.groups)
  for made in resources.values():
    assert made.env['CUDA_VISIBLE_DEVICES'] == ''
  assert list(tmp_path.iterdir()) == []


def test_handles_lead_to_the_learner_and_the_queue(tmp_path):
  program = impala.make_program(make_configuration(tmp_path, num_actors=2))
  (queue,), (learner,), (monitor,) = (
    program.groups[name] for name in ('queue', 'learner', 'monitor')
  )
  for node in program.groups['actor']:
    to_learner, to_queue, to_monitor = node.input_handles
    assert to_monitor._address is monitor.courier_address
    assert to_learner._address is learner.courier_address
    assert to_queue._address is queue.reverb_address
  # A caller must notice a stop although nobody answers.
  assert to_learner._kwargs['call_timeout'] > 0
  assert to_monitor._kwargs['call_timeout'] > 0


def test_a_program_without_a_monitor(tmp_path):
  configuration = make_configuration(tmp_path, monitor=False)
  program = impala.make_program(configuration)
  assert list(program.groups) == ['queue', 'learner', 'actor', 'evaluator']
  assert set(impala.make_resources(configuration)) == set(program.groups)


def test_nobody_holds_a_handle_to_an_actor(tmp_path):
  program = impala.make_program(make_configuration(tmp_path))
  for node in program.groups['actor']:
    assert type(node) is lp.PyNode  # Which serves nothing.
    assert not node.addresses


def test_each_node_can_go_to_another_process(tmp_path):
  program = impala.make_program(make_configuration(tmp_path))
  for group, made in program.groups.items():
    serialization.check_nodes_are_serializable(group, made)


def test_resources_by_group(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))
  configuration = make_configuration(tmp_path, num_actors=3)
  resources = impala.make_resources(configuration)
  assert set(resources) == set(impala.make_program(configuration).groups)
  hidden = {
    group
    for group, made in resources.items()
    if made.env.get('CUDA_VISIBLE_DEVICES') == ''
  }
  assert hidden == set(resources) - {'learner'}
  threads = {
    group: made.env['TF_NUM_INTRAOP_THREADS']
    for group, made in resources.items()
  }
  assert threads == dict.fromkeys(threads, '1') | {
    'learner': '5'  # The cores that actors leave.
  }


@pytest.mark.parametrize(
  ('given', 'threads'),
  [
    ({'num_actors': 100}, '1'),
    ({'num_actors': 100, 'learner_threads': 3}, '3'),
  ],
)
def test_threads_of_the_learner(tmp_path, given, threads):
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


@pytest.mark.parametrize(
  ('benchmark_mode', 'expected'),
  [(False, policies.Policy), (True, policies.UniformPolicy)],
)
def test_actors_act_at_random_in_benchmark_mode_alone(
  tmp_path, monkeypatch, benchmark_mode, expected
):
  class Made(Exception):
    pass

  def make_actor(policy, *_):
    raise Made(policy._policy)

  monkeypatch.setattr(acting, 'Actor', make_actor)
  monkeypatch.setattr(lp, 'stop_event', threading.Event)
  configuration = make_configuration(tmp_path, benchmark_mode=benchmark_mode)
  chosen = []
  for index in (0, 1):
    with pytest.raises(Made) as made:
      actor.run_actor(configuration, index, learner=None, queue=None)
    chosen += made.value.args
  assert [type(policy) for policy in chosen] == [expected, expected]
  if benchmark_mode:  # Each actor has its own actions, of catch's three.
    inputs = networks.NetworkInput((), (), (), np.zeros(100, bool))
    one, other = (policy(inputs, ()) for policy in chosen)
    assert one.logits.shape == (100, 3)
    assert (one.action != other.action).any()


def launch(launch_type, directory, *more):
  """Runs `launch_impala.py` to its end; returns status and output."""
  with subprocess.Popen(
    [
      sys.executable,
      launch_impala.__file__,
      launch_type,
      str(directory),
      *more,
    ],
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
