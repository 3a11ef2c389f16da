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

  def __init__(self) -> None:
    self._weights = np.zeros_like(TARGET)

  def get(self) -> np.ndarray:
    """Returns the weights."""
    return self._weights

  def put(self, weights: np.ndarray) -> None:
    """Replaces the weights."""
    self._weights = weights


def make_tables() -> list[reverb.Table]:
  """Returns the queue of gradients."""
  return [reverb.Table.queue('gradients', 20)]


@graph.uses(parameters='variables', queue='insert')
def work(
  name: str, parameters: ParameterServer, queue: reverb.Client, watcher: object
) -> None:
  """Computes gradients on random points until the program stops."""
  timer, random = timing.Timer(), np.random.default_rng()
  with monitor.reporting(watcher, name, timer.read):
    while not lp.stop_event().is_set():
      with timer.measure('fetching_variables'):
        weights = parameters.get()
      with timer.measure('computing'):
        points = random.normal(size=(1000, len(weights)))
        errors = points @ (weights - TARGET)
        gradient = points.T @ errors / len(points)
      with timer.measure('waiting_for_queue'):
        queue.insert(gradient, {'gradients': 1.0})


@graph.uses(queue='sample')
def train(
  steps: int, parameters: ParameterServer, queue: reverb.Client, watcher: object
) -> None:
  """Applies gradients, publishes the weights, and ends the program."""
  timer, weights = timing.Timer(), np.zeros_like(TARGET)
  gradients = queue.sample('gradients', steps)
  with monitor.reporting(
    watcher, 'trainer/0', lambda: timer.read() | monitor.read_tables(queue)
  ):
    for _ in range(steps):
      with timer.measure('waiting_for_data'):
        [sample] = next(gradients)
      with timer.measure('publishing'):
        weights = weights - 0.01 * sample.data[0]
        parameters.put(weights)
      timer.count(steps=1)
  print(f'distance from the target: {np.abs(weights - TARGET).max():.3f}')
  lp.stop()


def make_program(directory: str, num_workers: int, steps: int) -> lp.Program:
  """Wires the nodes; those of a group are drawn as one box."""
  program = lp.Program('linear_model')
  watcher = program.add_node(
    lp.CourierNode(monitor.MonitorNode, directory, 'warn', 60.0), 'monitor'
  )
  parameters = program.add_node(lp.CourierNode(ParameterServer), 'parameters')
  parameters.set_client_kwargs(call_timeout=5)  # Of calls after its end.
  queue = program.add_node(lp.ReverbNode(make_tables), 'queue')
  with program.group('worker'):
    for index in range(num_workers):
      program.add_node(
        lp.PyNode(work, f'worker/{index}', parameters, queue, watcher)
      )
  program.add_node(
    lp.PyNode(train, steps, parameters, queue, watcher), 'trainer'
  )
  return program


def main() -> int:
  """Draws the program, launches it here, and returns the exit status."""
  path, steps = pathlib.Path(sys.argv[1]).absolute(), int(sys.argv[2])
  directory = run_directory.RunDirectory(path)
  program = make_program(str(path), num_workers=2, steps=steps)
  markup.write_files(wiring.make_graph(program), directory)
  directory.update_meta(started=run_directory.now(), ended=None)
  flags.FLAGS(sys.argv[:1])  # Launchpad reads its defaults there.
  outcome = local.launch(program, None, path)
  directory.update_meta(ended={'kind': outcome.kind})
  print(outcome.describe())
  return outcome.exit_status


if __name__ == '__main__':
  sys.exit(main())
