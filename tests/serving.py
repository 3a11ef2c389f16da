"""An inference server over real Courier, and its callers."""

import contextlib
import threading
from concurrent import futures

import courier
import launchpad as lp
import numpy as np
import pytest
from launchpad.nodes.courier import courier_utils

import environments
from agents.impala import networks, policies, timing
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
