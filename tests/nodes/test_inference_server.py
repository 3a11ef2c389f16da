"""The inference server over real Courier, and what actors get of it."""

import threading
import time

import numpy as np
import processes
import pytest
import serving
import tree

from programs import program as impala
from programs.nodes import clients


def test_more_callers_than_courier_has_threads_by_default():
  """All of them are in one batch, which never fills unless all are served."""
  num = 20
  with serving.running(
    num_actors=num,
    num_envs_per_actor=1,
    inference_min_batch=num,
    inference_timeout_ms=4000.0 * serving.SECONDS,
  ) as rig:
    start = time.monotonic()
    asked = [rig.inputs(1, seed) for seed in range(num)]
    state = tree.map_structure(np.asarray, rig.network.initial_state(1))
    answers = serving.in_threads(
      *(lambda i=i: rig.policy()(i, state) for i in asked),
    )
    assert time.monotonic() - start < serving.SECONDS
    assert rig.node._timer.read()['counts'] == {
      'batches': 1,
      'requests': num,
      'rows': num,
    }
    for inputs, answer in zip(asked, answers, strict=True):
      output, after = rig.expected(inputs, state, 0)
      np.testing.assert_allclose(answer.logits, output.logits, atol=1e-5)
      np.testing.assert_allclose(answer.core_state.cell, after.cell, atol=1e-5)
      assert answer.action.shape == (1,) and answer.action.dtype == np.int32


def test_variables_are_held_back_for_a_policy_lag():
  with serving.running(extra_policy_lag=2) as rig:
    policy = rig.policy()
    for newest, held_back in enumerate((0, 0, 0, 1, 2)):
      processes.wait_until(
        lambda n=newest: rig.source.fetched == n, serving.SECONDS
      )
      processes.wait_until(
        lambda n=held_back: rig.has_fetched(n), serving.SECONDS
      )
      if newest < 4:
        rig.source.advance()
    policy(rig.inputs(3), policy.initial_state(3))
    assert policy.learner_step == 2


def test_who_waits_for_a_batch_is_released_at_the_stop():
  with serving.running(
    num_actors=2, inference_min_batch=6, inference_timeout_ms=60_000
  ) as rig:
    policy = rig.policy()
    state = policy.initial_state(3)
    threading.Timer(0.5, rig.stop.set).start()
    start = time.monotonic()
    (error,) = serving.in_threads(lambda: policy(rig.inputs(3), state))
    assert isinstance(error, clients.Stopped)
    rig.join()
    assert rig.error is None
    assert time.monotonic() - start < 5


def test_a_wrong_request_is_refused_where_it_comes_from():
  with serving.running() as rig:
    policy = rig.policy()
    state = policy.initial_state(3)
    policy(rig.inputs(3), state)
    wrong = rig.inputs(3)._replace(last_reward=np.zeros(3))
    with pytest.raises(Exception, match=r'float32 \(\), got float64 \(\)'):
      policy(wrong, state)
    assert policy(rig.inputs(3), state).action.shape == (3,)
    assert rig.error is None


def test_an_error_of_the_forward_pass_ends_the_node():
  with serving.running() as rig:
    policy = rig.policy()
    state = policy.initial_state(2)
    wrong = rig.inputs(2)._replace(observation=np.zeros((2, 99), np.float32))
    threading.Timer(1.0, rig.stop.set).start()
    (error,) = serving.in_threads(lambda: policy(wrong, state))
    # The caller waits for the program's end, so that the node is to blame.
    assert isinstance(error, clients.Stopped)
    rig.join()
    assert rig.error is not None and not isinstance(rig.error, clients.Stopped)


def test_an_error_of_the_learner_ends_the_node():
  with serving.running() as rig:
    processes.wait_until(lambda: rig.has_fetched(0), serving.SECONDS)
    rig.source.history = []
    rig.join()
    assert 'IndexError' in str(rig.error)


@pytest.mark.parametrize(
  ('given', 'rule'),
  [
    (
      {'inference_min_batch': 13, 'num_actors': 4},
      'inference_min_batch must be at most 12, .* got 13',
    ),
    (
      {'inference_min_batch': 5, 'inference_max_batch': 4, 'num_actors': 4},
      'inference_min_batch must be at most 4, .* got 5',
    ),
    (
      {'inference_max_batch': 2},
      'inference_max_batch must be at least num_envs_per_actor .* got 2',
    ),
    ({'benchmark_mode': True}, 'benchmark_mode must be false with inference'),
  ],
)
def test_settings_that_make_no_sense(given, rule):
  with pytest.raises(ValueError, match=rule):
    serving.make_configuration(**given)


def test_the_server_s_process_computes_as_the_learner_s():
  configuration = serving.make_configuration()
  resources = impala.make_resources(configuration)
  assert set(resources) == set(impala.make_program(configuration).groups)
  learner, server = (resources[name].env for name in ('learner', 'inference'))
  assert 'CUDA_VISIBLE_DEVICES' not in server
  assert server == learner  # Which leave each other room on a GPU.
  assert learner['TF_FORCE_GPU_ALLOW_GROWTH'] == 'true'
