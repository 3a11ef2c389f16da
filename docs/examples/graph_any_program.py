"""A program that is not IMPALA, drawn and watched: docs/graph_any_program.md.

Workers compute gradients for a linear model; a trainer applies them.
"""

import pathlib
import sys

import programs  # noqa: F401, first: prepares for Launchpad and Reverb.

# isort: split
import launchpad as lp
import numpy as np
import reverb
from absl import flags

from agents.impala import timing
from programs.launching import local
from programs.monitoring import graph, monitor, wiring
from programs.runs import run_directory
from programs.views import markup

TARGET = np.linspace(-1.0, 1.0, 100)


class ParameterServer:
  """Serves the newest weights."""

  def __init__(self):
    self._weights = np.zeros_like(TARGET)

  def get(self):
    return self._weights

  def put(self, weights):
    self._weights = weights


def make_tables():
  """Make the queue of gradients."""
  return [reverb.Table.queue('gradients', 20)]


@graph.uses(parameters='variables', queue='insert')
def work(name, parameters, queue, watcher):
  """Compute gradients on random points until the program stops."""
  timer, random = timing.Timer(), np.random.default_rng()
  with monitor.reporting(watcher, name, timer.read):
    while not lp.stop_event().is_set():
      with timer.measure('fetching_variables'):
        weights = parameters.get()
      with timer.measure('computing'):
        points = random.normal(size=(1000, len(weights)))
        gradient = points.T @ (points @ (weights - TARGET)) / len(points)
      with timer.measure('waiting_for_queue'):
        queue.insert(gradient, {'gradients': 1.0})


@graph.uses(queue='sample')
def train(steps, parameters, queue, watcher):
  """Apply gradients, publish the weights, and end the program."""
  timer, weights = timing.Timer(), np.zeros_like(TARGET)
  with monitor.reporting(
    watcher, 'trainer/0', lambda: timer.read() | monitor.read_tables(queue)
  ):
    gradients = queue.sample('gradients', steps)
    for _ in range(steps):
      with timer.measure('waiting_for_data'):
        [sample] = next(gradients)
      with timer.measure('publishing'):
        weights = weights - 0.01 * sample.data[0]
        parameters.put(weights)
      timer.count(steps=1)
  lp.stop()


def make_program(directory, num_workers, steps):
  """Wire the nodes; those of a group are drawn as one box."""
  program = lp.Program('linear_model')
  watching = lp.CourierNode(monitor.MonitorNode, directory, 'warn', 60.0)
  watcher = program.add_node(watching, 'monitor')
  parameters = program.add_node(lp.CourierNode(ParameterServer), 'parameters')
  parameters.set_client_kwargs(call_timeout=5)  # Of calls after its end.
  queue = program.add_node(lp.ReverbNode(make_tables), 'queue')
  with program.group('worker'):
    for index in range(num_workers):
      name = f'worker/{index}'
      program.add_node(lp.PyNode(work, name, parameters, queue, watcher))
  trainer = lp.PyNode(train, steps, parameters, queue, watcher)
  program.add_node(trainer, 'trainer')
  return program


if __name__ == '__main__':
  flags.FLAGS(sys.argv[:1])  # Launchpad reads its defaults there.
  run = run_directory.RunDirectory(pathlib.Path(sys.argv[1]).absolute())
  linear_model = make_program(str(run.path), 2, steps=int(sys.argv[2]))
  markup.write_files(wiring.make_graph(linear_model), run)
  run.update_meta(started=run_directory.now(), ended=None)
  outcome = local.launch(linear_model, None, run.path)
  run.update_meta(ended={'kind': outcome.kind})
  print(outcome.describe())
  sys.exit(outcome.exit_status)
