"""How fast are the IMPALA parts that Acme publishes, in a program like ours?"""

import argparse
import contextlib
import dataclasses
import io
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import rich.table
from absl import flags as absl_flags

from benchmarks import commands, roles, trial
from programs import runs
from programs.launching import local, supervisor

NAME = 'acme'

_DESCRIPTION = """\
Runs a Launchpad program of dm-acme 0.4.0's own classes as they are published:
its Atari wrapper, environment loop, SequenceAdder, IMPALAActor, dataset and
IMPALALearner. Network, unroll length, batch size, queue, oneDNN and threads are
those that our program has with the same flags. Acme's actor plays one
environment; --num_actors says how many there are. Measures a steady window of
learning and stops. Prints tables and, as the last line, one JSON object.

  ./impala benchmark acme
  ./impala benchmark acme --num_actors=4 --window_seconds=30

Agent steps are those the learner took from the queue, its padding included."""

_START_SECONDS = 300
_NOTICE_SECONDS = 3.0  # Its learner does not look up while the queue is empty.


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  with commands.failing(NAME):
    result = run(train_flags, given.warmup_seconds, given.window_seconds)
  commands.finish(result, tables(result), given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  commands.add_times(parser, warmup_seconds=20.0, window_seconds=60.0)
  return parser


def run(
  train_flags: Sequence[str], warmup_seconds: float, window_seconds: float
) -> dict[str, Any]:
  """Starts the program, measures it and ends it.

  Args:
    train_flags: Of our run of the same shape.
    warmup_seconds: Of learning, not measured.
    window_seconds: Of learning, measured.

  Returns:
    The figures, as they stand in the JSON object.

  Raises:
    trial.TrialError: The network has a core, or the program ended by itself.
    KeyboardInterrupt: Ctrl-C.
  """
  configuration = trial.resolve(train_flags)
  if configuration.agent.lstm:
    raise trial.TrialError('lstm must be false, got True')
  # Imported here: TensorFlow takes seconds, and gym prints a notice.
  with contextlib.redirect_stderr(io.StringIO()):
    from benchmarks import acme_nodes
  if not absl_flags.FLAGS.is_parsed():
    absl_flags.FLAGS([sys.argv[0]])  # Launchpad reads its defaults there.
  with tempfile.TemporaryDirectory(prefix='impala_benchmark_') as folder:
    here = dataclasses.replace(
      configuration,
      run=dataclasses.replace(configuration.run, logdir=folder),
    )
    trial.tell('starting the program of Acme')
    path = here.directory.path / acme_nodes.LEARNER_FILE
    watch = _Watch(here, path, warmup_seconds, window_seconds)
    with contextlib.suppress(_Measured):
      outcome = local.launch(
        acme_nodes.make_program(here),
        acme_nodes.make_resources(here),
        pathlib.Path(folder),
        watch.look,
        notice_seconds=_NOTICE_SECONDS,
      )
      if outcome.kind == 'interrupted':
        raise KeyboardInterrupt
      raise trial.TrialError(outcome.describe())
    return {
      'benchmark': NAME,
      **commands.facts(configuration),
      'num_envs_per_actor': 1,
      **watch.result(),
    }


def rates(result: Mapping[str, Any]) -> dict[str, float]:
  """What is compared: name -> agent steps/s."""
  return {NAME: result['agent_steps_per_second']}


class _Measured(Exception):
  """All is known; raised to stop the program."""


class _Watch:
  """Looks at the program as it runs."""

  def __init__(
    self,
    configuration: runs.Configuration,
    path: pathlib.Path,
    warmup_seconds: float,
    window_seconds: float,
  ) -> None:
    config = configuration.agent
    self._agent_steps = config.batch_size * config.unroll_length
    self._repeats = configuration.num_action_repeats
    self._path = path
    self._warmup, self._window = warmup_seconds, window_seconds
    self._started = time.monotonic()
    self._warm = float('inf')
    self._rows: list[Mapping[str, float]] = []
    self._cpu: list[Mapping[str, float]] = []
    self._rss: Mapping[str, float] = {}

  def look(self, running: supervisor.Supervisor) -> None:
    """Called about four times a second.

    Raises:
      _Measured: The window is over.
      trial.TrialError: It does not learn.
    """
    try:
      row = json.loads(self._path.read_text(encoding='utf-8'))
    except FileNotFoundError:
      if time.monotonic() - self._started > _START_SECONDS:
        raise trial.TrialError(
          f'no learner step of Acme within {_START_SECONDS} s'
        ) from None
      return
    if self._warm == float('inf'):
      trial.tell(f'warming up for {self._warmup:g} s')
      self._warm = time.monotonic() + self._warmup
    last = self._rows[-1] if self._rows else {'time': 0.0}
    if time.monotonic() < self._warm or row['time'] == last['time']:
      return
    if not self._rows:
      trial.tell(f'measuring for {self._window:g} s')
    processes = {
      name: psutil.Process(pid) for name, pid in running.processes().items()
    }
    self._rows.append(row)
    self._cpu.append(roles.cpu_seconds(processes))
    self._rss = roles.rss_mb(processes)
    if row['time'] - self._rows[0]['time'] >= self._window:
      trial.tell('stopping the program')
      raise _Measured

  def result(self) -> dict[str, Any]:
    """The figures of the window."""
    first, last = self._rows[0], self._rows[-1]
    seconds = last['time'] - first['time']
    learner_steps = last['learner_steps'] - first['learner_steps']
    agent_steps = learner_steps * self._agent_steps
    return {
      'window_seconds': seconds,
      'agent_steps_per_second': agent_steps / seconds,
      'frames_per_second': agent_steps * self._repeats / seconds,
      'learner_steps_per_second': learner_steps / seconds,
      'roles': roles.summarise(
        self._cpu[0], self._cpu[-1], self._rss, seconds, agent_steps
      ),
    }


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  title = (
    f'Acme, {result["level_name"]}, {result["num_actors"]} actors x 1 '
    f'environment, {result["cores"]} cores, {result["window_seconds"]:.0f} s'
  )
  figures = (
    f'{result["agent_steps_per_second"]:,.0f} agent steps/s, '
    f'{result["frames_per_second"]:,.0f} frames/s, '
    f'{result["learner_steps_per_second"]:.2f} learner steps/s'
  )
  return [f'{title}\n{figures}', roles.table(result['roles'])]
