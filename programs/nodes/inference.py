"""The inference server: one forward pass for the requests of many actors."""

import contextlib
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import acme
import courier
import launchpad as lp
import numpy as np
import tree
from absl import logging

from agents.impala import batching, policies, timing
from programs import nodes
from programs.monitoring import monitor
from programs.nodes import clients, models, profiling
from programs.runs import run_config

# Between two fetches of variables there is at least this, and so many times
# what the last one took of a core: a fiftieth of one is spent on it at most,
# and about as much in gRPC and at the learner.
_PAUSE_SECONDS, _PAUSE_FACTOR = 0.02, 49


class InferenceNode:
  """Chooses actions for the actors, with the newest variables there are.

  Public methods are served by Courier, with as many threads as there are
  actors: each waits in `step` for a batch.
  """

  def __init__(
    self,
    configuration: run_config.Configuration,
    learner: courier.Client,
    monitoring: courier.Client | None = None,
  ) -> None:
    """Build the network; answer requests once `run` does."""
    self._stop = lp.stop_event()
    self._configuration = configuration
    self._learner = clients.NodeClient(learner, self._stop)
    self._monitoring = monitoring
    self._timer = timing.Timer()
    run, agent = configuration.run, configuration.agent
    # Another stream than any actor's, which are seeded by their index.
    seeds = np.random.SeedSequence((agent.seed, run.num_actors))
    self._network, self._signature = models.make_model(configuration)
    self._policy = policies.Policy(
      self._network, int(seeds.generate_state(1)[0])
    )
    # Variables: one thread fetches, replacing them as a whole, another assigns.
    self._newest: Sequence[np.ndarray] = ()
    self._assigned: Sequence[np.ndarray] = ()
    self._batcher = batching.Batcher(
      run.inference_min_batch,
      run.inference_max_batch,
      run.inference_timeout_ms,
    )

  def step(self, request: bytes) -> bytes | None:
    """Choose actions; wait for a batch.

    Args:
      request: `pack`ed leaves of `networks.NetworkInput` and core state, `[N,
        ...]`; the same call may arrive again.

    Returns:
      `pack`ed leaves of a `policies.PolicyStep` and the learner step of the
      variables, `[N, ...]`; None when the server ends.

    Raises:
      ValueError: The arrays are not like those of other requests.
    """
    try:
      return pack(self._batcher.compute(unpack(request)))
    except batching.Closed as closed:
      # Who caused it fails by itself, and the program with it.
      logging.info('No answer: %s', closed)
      return None

  def run(self) -> None:
    """Answer until the program stops."""
    reporting = monitor.reporting(
      self._monitoring, f'{nodes.INFERENCE}/0', self._timer.read
    )
    lag = self._configuration.agent.extra_policy_lag
    source = clients.ActingVariables(self._learner, lag)
    # Courier waits for who waits for a batch, so that these must be released.
    with contextlib.closing(self._batcher), reporting:
      try:
        self._fetch(source)
      except clients.Stopped:
        return
      self._start_thread(self._keep_fetching, source)
      self._start_thread(self._close_at_stop)
      with (
        self._timer.measure('batching'),
        profiling.profiling(self._configuration, nodes.INFERENCE),
      ):
        self._batcher.serve(self._choose, self._timer)

  def _start_thread(self, target: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()

  def _choose(self, leaves: Sequence[np.ndarray]) -> Sequence[Any]:
    newest = self._newest
    if newest is not self._assigned:
      with self._timer.measure('fetching_variables'):
        pairs = zip(self._network.variables, newest[:-1], strict=True)
        for variable, value in pairs:
          variable.assign(value)
        self._assigned = newest
    with self._timer.measure('forward_pass'):
      step = self._policy(
        *tree.unflatten_as(
          (self._signature.inputs, self._signature.core_state), leaves
        )
      )
      learner_step = int(newest[-1])
      return [*tree.flatten(step), np.full(len(leaves[0]), learner_step)]

  def _close_at_stop(self) -> None:
    self._stop.wait()
    self._batcher.close()

  def _fetch(self, source: acme.VariableSource) -> None:
    (self._newest,) = source.get_variables(['policy'])

  def _keep_fetching(self, source: acme.VariableSource) -> None:
    pause = 0.0
    try:
      while not self._stop.wait(pause):
        start = time.thread_time()
        self._fetch(source)
        took = time.thread_time() - start
        pause = max(_PAUSE_SECONDS, _PAUSE_FACTOR * took)
    except clients.Stopped:
      logging.info('Stopped')
    except Exception as error:  # Which is to end the node.
      self._batcher.close(error)


def ask(
  client: clients.NodeClient, *leaves: np.ndarray
) -> Sequence[np.ndarray]:
  """Call `InferenceNode.step` with the leaves until it answers.

  Raises:
    clients.Stopped: The program stops.
  """
  request = pack(leaves)
  while (answer := client.call('step', request)) is None:
    client.pause()  # The server has ended, and so will the program.
  return unpack(answer)


def pack(leaves: Sequence[np.ndarray]) -> bytes:
  """Pickle arrays to one string: Courier takes 50 us for each array.

  Courier unpickles its arguments anyway, so that this trusts nobody more.
  """
  return pickle.dumps(leaves, pickle.HIGHEST_PROTOCOL)


def unpack(packed: bytes) -> Sequence[np.ndarray]:
  """The inverse of `pack`."""
  return pickle.loads(packed)
