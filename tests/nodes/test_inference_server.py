"""The inference server over real Courier, and what actors get of it."""

import contextlib
import threading
import time
from concurrent import futures

import courier
import launchpad as lp
import numpy as np
import processes
import pytest
import tree
from launchpad.nodes.courier import courier_utils

import environments
from agents.impala import acting, networks, policies, timing
from programs import program as impala
from programs.nodes import clients, inference, models
from programs.runs import flags

SECONDS = 90  # After which a test that hangs fails.
T = 8


def make_configuration(**given):
  return flags.resolve(
    {
      'level_name': 'memory',
      'logdir': '/nowhere',
      'monitor': False,
      'inference': 'server',
      'unroll_length': T,
      'num_actors': 1,
      'num_envs_per_actor': 3,
      **given,
    }
  )


class Source:
  """Serves variables; `advance` makes others of them, a learner step later."""

  def __init__(self, network):
    self._network = network
    self.history, self.fetched = [], -1
    self.advance()

  def advance(self):
    for variable in self._network.trainable_variables:
      variable.assign(variable * 1.2)
    variables = [variable.numpy() for variable in self._network.variables]
    self.history.append([*variables, np.int64(len(self.history))])

  def get_variables(self, names):
    newest = self.history[-1]
    if 'policy' in names:
      self.fetched = int(newest[-1])
    served = {'policy': newest, 'version': [np.int64(7), newest[-1]]}
    return [served[name] for name in names]


class Rig:
  """A learner's end and the node, each behind a Courier server."""

  def __init__(self, configuration):
    self.configuration = configuration
    self.stop = threading.Event()
    self.network, self.signature = models.make_model(configuration)
    self.source = Source(self.network)
    self.learner = courier.Server()
    self.learner.Bind('get_variables', self.source.get_variables)
    self.learner.Start()
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(lp, 'stop_event', lambda: self.stop)
      self.node = inference.InferenceNode(
        configuration, courier.Client(self.learner.address, call_timeout=2)
      )
    (node,) = impala.make_program(configuration).groups['inference']
    self.server = courier_utils.make_courier_server(
      self.node, **node._courier_kwargs
    )
    self.server.Start()
    self.error = None
    self._thread = threading.Thread(target=self._run)
    self._thread.start()

  def _run(self):
    try:
      self.node.run()
    except Exception as error:
      self.error = error

  def client(self):
    client = courier.Client(self.server.address, call_timeout=SECONDS)
    return clients.NodeClient(client, self.stop)

  def policy(self, actor_timer=None):
    client = self.client()
    return policies.RemotePolicy(
      lambda *leaves: inference.ask(client, *leaves),
      self.network,
      actor_timer or timing.Timer(),
    )

  def inputs(self, num, seed=0):
    """Random inputs of `num` environments."""
    rng = np.random.default_rng(seed)
    spec = environments.spec(self.configuration.run.level_name)
    return networks.NetworkInput(
      rng.random((num, *spec.observations.shape)).astype(
        spec.observations.dtype
      ),
      rng.integers(spec.actions.num_values, size=num, dtype=np.int32),
      rng.random(num).astype(np.float32),
      rng.random(num) < 0.5,
    )

  def expected(self, inputs, core_state, learner_step):
    """The network's own step with the variables of a learner step."""
    self.use(learner_step)
    return self.network.step(inputs, core_state)

  def use(self, learner_step):
    values = self.source.history[learner_step][:-1]
    for variable, value in zip(self.network.variables, values, strict=True):
      variable.assign(value)

  def has_fetched(self, learner_step):
    newest = self.node._newest
    return len(newest) and newest[-1] == learner_step

  def join(self):
    self._thread.join(SECONDS)
    assert not self._thread.is_alive()

  def close(self):
    self.stop.set()
    self.join()
    self.server.Stop()
    self.learner.Stop()


@contextlib.contextmanager
def running(**given):
  rig = Rig(make_configuration(**given))
  try:
    yield rig
  finally:
    rig.close()


def in_threads(*functions):
  """Their results or errors, each called in a thread of its own."""
  pool = futures.ThreadPoolExecutor(len(functions))
  called = [pool.submit(function) for function in functions]
  return [each.exception(SECONDS) or each.result() for each in called]


def test_more_callers_than_courier_has_threads_by_default():
  """All of them are in one batch, which never fills unless all are served."""
  num = 20
  with running(
    num_actors=num,
    num_envs_per_actor=1,
    inference_min_batch=num,
    inference_timeout_ms=4000.0 * SECONDS,
  ) as rig:
    start = time.monotonic()
    asked = [rig.inputs(1, seed) for seed in range(num)]
    state = tree.map_structure(np.asarray, rig.network.initial_state(1))
    answers = in_threads(
      *(lambda i=i: rig.policy()(i, state) for i in asked),
    )
    assert time.monotonic() - start < SECONDS
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


class Writer:
  """Keeps what an actor sends."""

  def __init__(self):
    self.unrolls = []

  def write(self, unrolls):
    self.unrolls += [tree.map_structure(np.copy, each) for each in unrolls]


class Play:
  """An actor that asks the server."""

  def __init__(self, rig, num=3, first_seed=0):
    self.timer, self.writer = timing.Timer(), Writer()
    self._environments = environments.make_batch(
      rig.configuration.run.level_name, range(first_seed, first_seed + num)
    )
    self._actor = acting.Actor(
      rig.policy(self.timer),
      rig.signature,
      self._environments.levels,
      self.writer,
      self.timer,
    )
    self._timestep = self._environments.reset()
    self._actor.observe_first(self._timestep)

  def steps(self, num):
    for _ in range(num):
      action = self._actor.select_action(self._timestep.observation)
      self._timestep = self._environments.step(action)
      self._actor.observe(action, self._timestep)
    return self.writer.unrolls


def unrolled(rig, unroll):
  """The network's logits of an unroll's rows, `[T, A]`."""
  batch = tree.map_structure(lambda rows: rows[:, np.newaxis], unroll.inputs)
  state = tree.map_structure(lambda part: part[np.newaxis], unroll.core_state)
  output, _ = rig.network.unroll(batch, state)
  return output.logits.numpy()[:-1, 0]


def test_a_step_is_the_network_s_own_across_resets():
  """Two actors share batches; each one's LSTM goes on where it stopped."""
  with running(
    num_actors=2, inference_min_batch=6, inference_timeout_ms=1000.0 * SECONDS
  ) as rig:
    plays = [Play(rig), Play(rig, first_seed=3)]
    one, other = in_threads(
      *(lambda play=play: play.steps(3 * T) for play in plays)
    )
    rig.use(0)
    assert len(one) == len(other) == 9
    for unroll in (*one, *other):
      assert unroll.learner_step == 0
      np.testing.assert_allclose(
        unrolled(rig, unroll), unroll.behaviour_logits, atol=1e-5
      )
    starts = np.stack([u.inputs.start_of_episode[1:] for u in one])
    assert starts[:, :-1].any() and not starts.all()
    assert np.abs(one[-1].core_state.hidden).max() > 1e-3
    # They wait, and have neither forward pass nor variables of their own.
    seconds = plays[0].timer.read()['seconds']
    assert set(seconds) == {'starting', 'waiting_for_inference'}
    told = rig.node._timer.read()
    assert told['counts'] == {
      'batches': 3 * T,
      'requests': 2 * 3 * T,
      'rows': 6 * 3 * T,
    }
    assert told['calls']['forward_pass'] == 3 * T
    assert told['calls']['fetching_variables'] == 1  # No others came.


def test_an_unroll_bears_the_learner_step_of_its_oldest_row():
  with running() as rig:
    play = Play(rig)
    play.steps(T + 2)
    rig.source.advance()
    processes.wait_until(lambda: rig.has_fetched(1), SECONDS)
    unrolls = play.steps(2 * T - 2)
    steps = [int(unroll.learner_step) for unroll in unrolls]
    assert steps == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    mixed = unrolls[3]
    is_of = {}
    for learner_step in (0, 1):
      rig.use(learner_step)
      is_of[learner_step] = np.isclose(
        unrolled(rig, mixed), mixed.behaviour_logits, atol=1e-5
      ).all(-1)
    # Each row's logits are of what it was acted with; between the change and
    # the next episode, the LSTM's state came of both.
    (later,) = np.flatnonzero(mixed.inputs.start_of_episode[2:T])[:1] + 2
    assert is_of[0].tolist() == [True] * 2 + [False] * (T - 2)
    assert not is_of[1][:2].any() and is_of[1][later:].all()
    np.testing.assert_allclose(
      unrolled(rig, unrolls[6]), unrolls[6].behaviour_logits, atol=1e-5
    )


def test_variables_are_held_back_for_a_policy_lag():
  with running(extra_policy_lag=2) as rig:
    policy = rig.policy()
    for newest, held_back in enumerate((0, 0, 0, 1, 2)):
      processes.wait_until(lambda: rig.source.fetched == newest, SECONDS)  # noqa: B023
      processes.wait_until(lambda: rig.has_fetched(held_back), SECONDS)  # noqa: B023
      if newest < 4:
        rig.source.advance()
    policy(rig.inputs(3), policy.initial_state(3))
    assert policy.learner_step == 2


def test_who_waits_for_a_batch_is_released_at_the_stop():
  with running(
    num_actors=2, inference_min_batch=6, inference_timeout_ms=60_000
  ) as rig:
    policy = rig.policy()
    state = policy.initial_state(3)
    threading.Timer(0.5, rig.stop.set).start()
    start = time.monotonic()
    (error,) = in_threads(lambda: policy(rig.inputs(3), state))
    assert isinstance(error, clients.Stopped)
    rig.join()
    assert rig.error is None
    assert time.monotonic() - start < 5


def test_a_wrong_request_is_refused_where_it_comes_from():
  with running() as rig:
    policy = rig.policy()
    state = policy.initial_state(3)
    policy(rig.inputs(3), state)
    wrong = rig.inputs(3)._replace(last_reward=np.zeros(3))
    with pytest.raises(Exception, match=r'float32 \(\), got float64 \(\)'):
      policy(wrong, state)
    assert policy(rig.inputs(3), state).action.shape == (3,)
    assert rig.error is None


def test_an_error_of_the_forward_pass_ends_the_node():
  with running() as rig:
    policy = rig.policy()
    state = policy.initial_state(2)
    wrong = rig.inputs(2)._replace(observation=np.zeros((2, 99), np.float32))
    threading.Timer(1.0, rig.stop.set).start()
    (error,) = in_threads(lambda: policy(wrong, state))
    # The caller waits for the program's end, so that the node is to blame.
    assert isinstance(error, clients.Stopped)
    rig.join()
    assert rig.error is not None and not isinstance(rig.error, clients.Stopped)


def test_an_error_of_the_learner_ends_the_node():
  with running() as rig:
    processes.wait_until(lambda: rig.has_fetched(0), SECONDS)
    rig.source.history = []
    rig.join()
    assert 'IndexError' in str(rig.error)


@pytest.mark.parametrize(
  ('given', 'rule'),
  [
    (
      {'inference_min_batch': 13, 'num_actors': 4},
      'inference_min_batch must be at most 12, .* 12, .* 1024 .* got 13',
    ),
    (
      {'inference_min_batch': 5, 'inference_max_batch': 4, 'num_actors': 4},
      'inference_min_batch must be at most 4, .* 12, .* 4 .* got 5',
    ),
    (
      {'inference_max_batch': 2},
      'inference_max_batch must be at least num_envs_per_actor, 3, .* got 2',
    ),
    ({'benchmark_mode': True}, 'benchmark_mode must be false with inference'),
  ],
)
def test_settings_that_make_no_sense(given, rule):
  with pytest.raises(ValueError, match=rule):
    make_configuration(**given)


def test_the_server_s_process_computes_as_the_learner_s():
  configuration = make_configuration()
  resources = impala.make_resources(configuration)
  assert set(resources) == set(impala.make_program(configuration).groups)
  learner, server = (resources[name].env for name in ('learner', 'inference'))
  assert 'CUDA_VISIBLE_DEVICES' not in server
  assert server == learner  # Which leave each other room on a GPU.
  assert learner['TF_FORCE_GPU_ALLOW_GROWTH'] == 'true'
