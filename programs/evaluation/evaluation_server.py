"""Evaluation server: schedules the episodes of checkpoints."""

import pathlib
import threading
from collections.abc import Mapping, Sequence

import launchpad as lp
import numpy as np
from absl import logging

from agents.impala import learning, metrics
from programs.evaluation import results, schedule
from programs.nodes import models
from programs.runs import checkpoints, run_config

_POLL_SECONDS = 1.0


class EvaluationServer:
  """Server of variables and work units, which writes the results.

  Public methods are served by Courier; repeated calls have no effect.
  """

  def __init__(
    self,
    configuration: run_config.Configuration,
    evaluation: schedule.EvaluationConfig,
    folder: str,
  ) -> None:
    self._configuration = configuration
    self._evaluation = evaluation
    self._folder = pathlib.Path(folder)
    self._stop = lp.stop_event()
    self._network, _ = models.make_model(configuration)
    self._counts = metrics.Counts()
    self._served: Mapping[str, Sequence[np.ndarray]] = {}
    self._results: list[str] = []
    self._changed = threading.Condition()
    self._waiting: list[schedule.WorkUnit] = []
    self._assigned: dict[int, schedule.WorkUnit] = {}
    self._episodes: dict[schedule.WorkUnit, dict[int, schedule.Episode]] = {}

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """Return variables; see `learning.Learner.get_variables`."""
    return [self._served[name] for name in names]

  def next_unit(self, evaluator: int) -> tuple[int, schedule.WorkUnit] | None:
    """Assign a work unit: return the frames of its checkpoint, and the unit.

    Return None while there is none.
    """
    with self._changed:
      if evaluator not in self._assigned:
        if not self._waiting:
          return None
        self._assigned[evaluator] = self._waiting.pop(0)
      return int(self._counts.frames.numpy()), self._assigned[evaluator]

  def add_episode(
    self,
    evaluator: int,
    frames: int,
    unit: schedule.WorkUnit,
    number: int,
    episode: schedule.Episode,
  ) -> None:
    """Add the `number`th episode of a work unit."""
    unit, episode = schedule.WorkUnit(*unit), schedule.Episode(*episode)
    with self._changed:
      if frames != self._counts.frames.numpy():
        return  # A repeated call, of an earlier checkpoint.
      episodes = self._episodes[unit]
      episodes[number] = episode
      is_complete = len(episodes) == unit.num_episodes
      if is_complete and self._assigned.get(evaluator) == unit:
        del self._assigned[evaluator]
      self._write_progress()
      self._changed.notify_all()

  def run(self) -> None:
    """Evaluate one checkpoint, or with `watch` each new one; stop the program.

    Raises:
      ValueError: A checkpoint is of another network, or all are damaged.
    """
    evaluated_paths: set[str | None] = set()
    directory = self._configuration.directory
    while not self._stop.is_set():
      # Read before looking for checkpoints, so as not to miss the last.
      is_last = not self._evaluation.watch or directory.is_finished()
      paths = checkpoints.newest_first(self._evaluation.checkpoints(directory))
      if paths and paths[0] not in evaluated_paths:
        # `_evaluate` takes another one if this is damaged or a newer one came.
        evaluated_paths |= {paths[0], self._evaluate()}
      elif is_last:
        break
      else:
        self._stop.wait(_POLL_SECONDS)
    if not self._stop.is_set():
      lp.stop()

  def _evaluate(self) -> str | None:
    evaluation = self._evaluation
    path = checkpoints.Checkpoints(
      evaluation.checkpoints(self._configuration.directory),
      {'network': self._network, 'counts': self._counts},
    ).restore()
    logging.info('Evaluating %s', path)
    work_units = evaluation.work_units()
    self._served = learning.served_variables(self._network, self._counts)
    with self._changed:
      self._episodes = {unit: {} for unit in work_units}
      self._waiting = list(work_units)
      self._write_progress()
      while not all(
        len(self._episodes[unit]) == unit.num_episodes for unit in work_units
      ):
        if self._stop.is_set():
          return path
        self._changed.wait(_POLL_SECONDS)
      played = {
        unit: [episode for _, episode in sorted(episodes.items())]
        for unit, episodes in self._episodes.items()
      }
    frames = int(self._counts.frames.numpy())
    results.write_episodes(self._configuration, evaluation, frames, played)
    folder = evaluation.folder(self._configuration, frames)
    with self._changed:
      self._results.append(str(folder / 'results.json'))
      self._write_progress()
    return path

  def _write_progress(self) -> None:
    progress = schedule.Progress(
      int(self._counts.frames.numpy()),
      sum(map(len, self._episodes.values())),
      sum(unit.num_episodes for unit in self._episodes),
      self._results,
    )
    schedule.write_progress(self._folder, progress)
