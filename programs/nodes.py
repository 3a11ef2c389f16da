"""What runs in each node of the program.

Everything here takes plain arguments and clients of other nodes, so that a
node can be started in a thread, in a process or on another machine.
"""

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import acme
import courier
import launchpad as lp
import numpy as np
import reverb
import tensorflow as tf
from absl import logging

import environments
from agents.impala import (
  acting,
  batches,
  lag,
  learning,
  meter,
  metrics,
  networks,
  policies,
)
from agents.impala import unrolls as unrolls_lib
from programs import checkpoints, metric_files, runs, summaries
from programs.inspection import graph, monitor

# The program's groups.
QUEUE, LEARNER, ACTOR, EVALUATOR = 'queue', 'learner', 'actor', 'evaluator'
MONITOR, EXAMINER = 'monitor', 'examiner'

_TOLD = ('frames', 'policy_lag_min', 'policy_lag_mean', 'policy_lag_max')

_NO_ANSWER = ('DEADLINE_EXCEEDED', 'UNAVAILABLE')  # The learner may come up.


def make_model(
  configuration: runs.Configuration,
) -> tuple[networks.ImpalaNetwork, unrolls_lib.Unroll]:
  """Builds the run's network, and the signature of the unrolls it acts."""
  spec = environments.spec(
    configuration.run.level_name, configuration.environment
  )
  num_actions = spec.actions.num_values
  network = networks.make_network(
    configuration.agent, spec.observations, num_actions
  )
  signature = unrolls_lib.make_signature(
    configuration.agent,
    spec.observations,
    num_actions,
    network.initial_state(1),
  )
  return network, signature


def make_tables(configuration: runs.Configuration) -> list[reverb.Table]:
  """The tables of the queue node."""
  _, signature = make_model(configuration)
  return unrolls_lib.make_tables(configuration.agent, signature)


@graph.uses(queue='sample', monitoring='call')
class LearnerNode:
  """The learner and its checkpoints; ends the program when it is done.

  Public methods are served by Courier.
  """

  def __init__(
    self,
    configuration: runs.Configuration,
    queue: reverb.Client,
    monitoring: courier.Client | None = None,
  ) -> None:
    """Builds the learner and restores the newest checkpoint, if there is one.

    Args:
      configuration: Of the run.
      queue: Where unrolls come from.
      monitoring: The monitor, if there is one.
    """
    config, directory = configuration.agent, configuration.directory
    self._stop = lp.stop_event()
    self._configuration = configuration
    self._queue = queue
    self._monitoring = monitoring
    self._meter = meter.Meter()
    self._final_evaluation = threading.Event()
    tf.random.set_seed(config.seed)
    network, signature = make_model(configuration)
    summaries.write_hyperparameters(configuration)
    self._level_metrics = metric_files.LevelMetrics(configuration)
    self._metrics = metrics.LearnerMetrics(
      metric_files.make_logger(directory, 'learner'),
      configuration.run.log_period_seconds,
      self._queue_size,
      self._level_metrics.add,
      self._meter,
    )
    self._learner = learning.Learner(
      config,
      network,
      batches.UnrollReader(
        batches.make_dataset(queue.server_address, signature, config),
        self._stop,
      ),
      configuration.num_action_repeats,
      self._metrics,
      self._meter,
    )
    self._checkpoints = checkpoints.Checkpoints(
      directory.checkpoints, self._learner.state
    )
    path = self._checkpoints.restore()
    if path:
      self._learner.serve()
      logging.info('Resumed at frame %d from %s', self._learner.frames, path)

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    return self._learner.get_variables(names)

  def evaluated(self, frames: int) -> None:
    """Tells that the variables at `frames` were evaluated."""
    if frames >= self._configuration.agent.total_environment_frames:
      self._final_evaluation.set()

  def step(self) -> None:
    """One learner step; see `learning.Learner.step`."""
    self._learner.step()

  def run(self) -> None:
    """Learns to the last frame, waits for its evaluation, ends the program."""
    with monitor.reporting(self._monitoring, f'{LEARNER}/0', self._report):
      with self._meter.measure('learning'):
        self._learn()
        self._save()
        self._learner.close()
        self._level_metrics.close()
      with self._meter.measure('nothing_to_do'):
        while not self._final_evaluation.wait(0.1):
          if self._stop.is_set():
            return
    self._configuration.directory.update_meta(
      finished_frames=self._learner.frames
    )
    lp.stop()

  def _report(self) -> dict[str, Any]:
    """What it tells the monitor."""
    row = self._metrics.row
    gauges = {name: float(row[name]) for name in _TOLD if name in row}
    return {**self._meter.read(), 'gauges': gauges}

  def _save(self) -> None:
    with self._meter.measure('saving_checkpoint'):
      self._checkpoints.save()

  def _queue_size(self) -> float:
    """Unrolls that wait in the queue; NaN while it stops or does not answer."""
    try:
      tables = self._queue.server_info(timeout=1)
    except (RuntimeError, reverb.errors.ReverbError):
      return math.nan
    return tables[unrolls_lib.QUEUE].current_size

  def _learn(self) -> None:
    """Steps until the budget is used up or the program stops."""
    run, total = (
      self._configuration.run,
      self._configuration.agent.total_environment_frames,
    )
    saved = time.monotonic()
    while self._learner.frames < total:
      try:
        self._learner.step()
      except StopIteration:
        logging.info('Stopped at frame %d', self._learner.frames)
        return
      if time.monotonic() - saved >= run.checkpoint_period_seconds:
        self._save()
        saved = time.monotonic()


class Stopped(Exception):
  """The program stops."""


class NodeClient(acme.VariableSource):
  """Calls a node that serves variables; waits for it, but not after a stop."""

  def __init__(self, client: courier.Client, stop: threading.Event) -> None:
    """Wraps a client whose calls time out.

    Args:
      client: Of the node.
      stop: Ends the waiting.
    """
    self._client = client
    self._stop = stop

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`.

    Raises:
      Stopped: The program stops.
    """
    return self.call('get_variables', names)

  def call(self, method: str, *arguments: Any) -> Any:
    """Calls until there is an answer: a call may arrive more than once.

    Raises:
      Stopped: The program stops.
    """
    while not self._stop.is_set():
      try:
        return getattr(self._client, method)(*arguments)
      except Exception as error:  # Courier's own type, which nothing exports.
        code = getattr(error, 'code', None)
        if getattr(code, 'name', '') not in _NO_ANSWER:
          raise
    raise Stopped


@graph.uses(learner='variables', queue='insert', monitoring='call')
def run_actor(
  configuration: runs.Configuration,
  index: int,
  learner: courier.Client,
  queue: reverb.Client,
  monitoring: courier.Client | None = None,
) -> None:
  """Acts until the program stops.

  Args:
    configuration: Of the run.
    index: Of this actor, from 0.
    learner: Serves variables.
    queue: Takes unrolls.
    monitoring: The monitor, if there is one.
  """
  stop = lp.stop_event()
  actor_meter = meter.Meter()
  name = f'{ACTOR}/{index}'
  with monitor.reporting(monitoring, name, actor_meter.read):
    _act(configuration, index, NodeClient(learner, stop), queue, actor_meter)


def _act(
  configuration: runs.Configuration,
  index: int,
  learner: NodeClient,
  queue: reverb.Client,
  actor_meter: meter.Meter,
) -> None:
  """Makes an actor and its environments; acts until the program stops."""
  stop = lp.stop_event()
  seeds = np.random.SeedSequence((configuration.agent.seed, index))
  sampling, *each = seeds.generate_state(
    1 + configuration.run.num_envs_per_actor
  )
  tf.random.set_seed(int(sampling))
  network, signature = make_model(configuration)
  policy = (
    policies.UniformPolicy(
      signature.behaviour_logits.shape[-1], seed=int(sampling)
    )
    if configuration.run.benchmark_mode
    else policies.Policy(network)
  )
  batch = environments.make_batch(
    configuration.run.level_name,
    [int(seed) for seed in each],
    index * configuration.run.num_envs_per_actor,
    configuration.environment,
    configuration.run.env_processes,
  )
  variable_source: acme.VariableSource = learner
  if configuration.agent.extra_policy_lag:
    variable_source = lag.LaggedVariables(
      variable_source, configuration.agent.extra_policy_lag
    )
  try:
    actor = acting.Actor(
      network,
      policy,
      signature,
      batch.levels,
      variable_source,
      unrolls_lib.UnrollWriter(
        queue, stop, actor_meter, configuration.agent.num_replayed > 0
      ),
      actor_meter,
    )
    acting.run_environments(actor, batch, stop, actor_meter)
  except Stopped:
    logging.info('Stopped')
  finally:
    batch.close()
