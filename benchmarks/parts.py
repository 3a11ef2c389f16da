"""One part of the program alone in a process of its own; see `stations`.

Says in a line of JSON what it is when it is ready. Then, for each line it is
given, works as long as that says and answers in a line what it took.
"""

import dataclasses
import itertools
import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import psutil
import reverb
import tree
from acme.utils import loggers

import environments
from agents.impala import batches, learning, meter, metrics, policies
from agents.impala import unrolls as unrolls_lib
from benchmarks import couplings, play
from programs import runs

_NOTICE_SECONDS = 3.0


class Part(Protocol):
  """What works, a unit at a time; these here and in `couplings`."""

  def facts(self) -> Mapping[str, Any]:
    """What whoever measures has to know; 'agent_steps' of a unit or more."""

  def work(self, variant: str) -> None:
    """One unit of a variant, where there are variants."""


class Environment:
  """The environments of an actor, with random actions."""

  def __init__(self, configuration: runs.Configuration) -> None:
    run = configuration.run
    self._batch = environments.make_batch(
      run.level_name,
      range(run.num_envs_per_actor),
      settings=configuration.environment,
      num_processes=run.env_processes,
    )
    self._batch.reset()
    self._num = run.num_envs_per_actor
    num_actions = self._batch.action_spec.num_values
    rng = np.random.default_rng(1)
    self._actions = itertools.cycle(
      rng.integers(num_actions, size=(1000, self._num), dtype=np.int32)
    )

  def facts(self) -> Mapping[str, Any]:
    """See `Part`."""
    return {'agent_steps': self._num}

  def work(self, variant: str) -> None:
    """Steps each once."""
    self._batch.step(next(self._actions))

  def close(self) -> None:
    """Ends the simulators."""
    self._batch.close()


class ForwardPass:
  """The policy of an actor; a variant for each number of environments."""

  def __init__(
    self, configuration: runs.Configuration, sizes: Sequence[int]
  ) -> None:
    network, signature = play.make_model(configuration)
    given = play.first_inputs(configuration, network, signature, max(sizes))
    self._given = {
      str(size): tree.map_structure(lambda part, n=size: part[:n], given)
      for size in sizes
    }
    self._policies = {name: policies.Policy(network) for name in self._given}

  def facts(self) -> Mapping[str, Any]:
    """See `Part`."""
    return {'agent_steps': {name: int(name) for name in self._given}}

  def work(self, variant: str) -> None:
    """Chooses an action for each."""
    np.asarray(self._policies[variant](*self._given[variant]).action)


class Learner:
  """The learner, fed from memory."""

  def __init__(self, configuration: runs.Configuration) -> None:
    config = configuration.agent
    network, signature = play.make_model(configuration)
    a_meter = meter.Meter()
    learner_metrics = metrics.LearnerMetrics(
      loggers.NoOpLogger(), math.inf, lambda: 0.0, lambda *_: None, a_meter
    )
    self._memory = _Memory(configuration, network, signature)
    self._learner = learning.Learner(
      config,
      network,
      itertools.cycle(self._memory.batches),
      configuration.num_action_repeats,
      learner_metrics,
      a_meter,
    )
    fresh = config.batch_size - config.num_replayed
    self._agent_steps = fresh * config.unroll_length

  def facts(self) -> Mapping[str, Any]:
    """See `Part`."""
    return {'agent_steps': self._agent_steps}

  def work(self, variant: str) -> None:
    """One learner step."""
    self._learner.step()


class _Memory:
  """Two batches that went through a real queue."""

  def __init__(
    self, configuration: runs.Configuration, network: Any, signature: Any
  ) -> None:
    config = configuration.agent
    unrolls = play.act(configuration, network, signature, 2 * config.batch_size)
    # Larger than the run's own, for all to fit.
    roomy = dataclasses.replace(config, queue_capacity=len(unrolls))
    self._server = reverb.Server(
      unrolls_lib.make_tables(roomy, signature), None
    )
    address = f'localhost:{self._server.port}'
    # Kept: what it has not yet sent would be lost with it.
    self._writer = play.make_writer(configuration, reverb.Client(address))
    self._writer.write(unrolls)
    self._reader = batches.UnrollReader(
      batches.make_dataset(address, signature, config), threading.Event()
    )
    self.batches = [next(self._reader), next(self._reader)]


KINDS: Mapping[str, Callable[..., Part]] = {
  'environment': Environment,
  'forward_pass': ForwardPass,
  'learner': Learner,
  'queue': couplings.Queue,
  'writer': couplings.Writer,
  'reader': couplings.Reader,
  'variable_server': couplings.VariableServer,
  'variable_client': couplings.VariableClient,
}


def _cpu_seconds() -> float:
  """Of this process, since its start, and of its children."""
  children = psutil.Process().children(recursive=True)
  times = [child.cpu_times() for child in children]
  return time.process_time() + sum(each.user + each.system for each in times)


def _answer(part: Part, request: Mapping[str, Any]) -> Mapping[str, Any]:
  """Works for a number of units; or for seconds, and for one unit at least."""
  variant, count = request['variant'], request.get('count')
  done, began, cpu = 0, time.monotonic(), _cpu_seconds()
  until = began + request.get('seconds', 0.0)
  while (
    done < count if count is not None else not done or time.monotonic() < until
  ):
    part.work(variant)
    done += 1
  cpu_total = _cpu_seconds()
  return {
    'count': done,
    'wall_seconds': time.monotonic() - began,
    'cpu_seconds': cpu_total - cpu,
    'cpu_total': cpu_total,
  }


def _requests() -> Iterator[Mapping[str, Any]]:
  """What the standard input asks for; the process ends soon after it.

  Read in a thread: who asks may be gone while this one waits in native code.
  """
  lines: queue.Queue[str | None] = queue.Queue()

  def read() -> None:
    for line in sys.stdin:
      lines.put(line)
    lines.put(None)
    time.sleep(_NOTICE_SECONDS)
    os._exit(1)

  threading.Thread(target=read, daemon=True).start()
  while (line := lines.get()) is not None:
    yield json.loads(line)


def main() -> None:
  """Serves until the standard input ends."""
  told = json.loads(sys.argv[1])
  requests = _requests()
  # Libraries that print do not do so between the answers.
  with os.fdopen(os.dup(1), 'w') as answers:
    os.dup2(2, 1)
    configuration = runs.Configuration.from_dict(told['configuration'])
    part = KINDS[told['kind']](configuration, **told['arguments'])
    print(json.dumps(part.facts()), file=answers, flush=True)
    for request in requests:
      print(json.dumps(_answer(part, request)), file=answers, flush=True)
    if close := getattr(part, 'close', None):  # What would outlive it.
      close()
    # Threads of Reverb's and TensorFlow's may still wait for something.
    os._exit(0)


if __name__ == '__main__':
  main()
