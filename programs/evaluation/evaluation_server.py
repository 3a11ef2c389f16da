"""The nodes of an evaluation: who deals out its turns, and who plays them."""

import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import courier
import launchpad as lp
import numpy as np
from absl import logging

from agents.impala import learning, metrics
from programs.evaluation import playing, schedule
from programs.nodes import clients, models
from programs.runs import checkpoints, run_config

_POLL_SECONDS = 1.0  # How often they ask for something new.


class EvaluationServer:
  """Serves a checkpoint's variables, deals out turns, writes results.

  Public methods are served by Courier; to call one twice does no harm.
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
    self._dealt: dict[int, schedule.WorkUnit] = {}
    self._played: dict[schedule.WorkUnit, dict[int, schedule.Episode]] = {}

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    return [self._served[name] for name in names]

  def next_unit(self, evaluator: int) -> tuple[int, schedule.WorkUnit] | None:
    """The turn that an evaluator is to play, and the frames of its variables.

    None while there is nothing to play.
    """
    with self._changed:
      if evaluator not in self._dealt:
        if not self._waiting:
          return None
        self._dealt[evaluator] = self._waiting.pop(0)
      return int(self._counts.frames.numpy()), self._dealt[evaluator]

  def played(
    self,
    evaluator: int,
    frames: int,
    unit: schedule.WorkUnit,
    number: int,
    episode: schedule.Episode,
  ) -> None:
    """Takes the `number`th episode of a turn."""
    unit, episode = schedule.WorkUnit(*unit), schedule.Episode(*episode)
    with self._changed:
      if frames != self._counts.frames.numpy():
        return  # Told again, of a checkpoint that is done with.
      episodes = self._played[unit]
      episodes[number] = episode
      is_over = len(episodes) == unit.num_episodes
      if is_over and self._dealt.get(evaluator) == unit:
        del self._dealt[evaluator]
      self._tell()
      self._changed.notify_all()

  def run(self) -> None:
    """Evaluates one checkpoint, or with `watch` each new one; ends the program.

    Raises:
      ValueError: A checkpoint is of another network, or all are damaged.
    """
    evaluated_paths: set[str | None] = set()
    directory = self._configuration.directory
    while not self._stop.is_set():
      # Asked before it looks for checkpoints, so as not to miss the last.
      is_last = not self._evaluation.watch or directory.is_finished()
      paths = checkpoints.newest_first(self._evaluation.checkpoints(directory))
      if paths and paths[0] not in evaluated_paths:
        # Another one than was listed, if that is damaged or a newer one came.
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
      self._played = {unit: {} for unit in work_units}
      self._waiting = list(work_units)
      self._tell()
      while not all(
        len(self._played[unit]) == unit.num_episodes for unit in work_units
      ):
        if self._stop.is_set():
          return path
        self._changed.wait(_POLL_SECONDS)
      played = {
        unit: [episode for _, episode in sorted(episodes.items())]
        for unit, episodes in self._played.items()
      }
    frames = int(self._counts.frames.numpy())
    playing.write_results(self._configuration, evaluation, frames, played)
    folder = evaluation.folder(self._configuration, frames)
    with self._changed:
      self._results.append(str(folder / 'results.json'))
      self._tell()
    return path

  def _tell(self) -> None:
    progress = schedule.Progress(
      int(self._counts.frames.numpy()),
      sum(map(len, self._played.values())),
      sum(unit.num_episodes for unit in self._played),
      self._results,
    )
    schedule.write_progress(self._folder, progress)


def run_evaluator(
  configuration: run_config.Configuration,
  evaluation: schedule.EvaluationConfig,
  index: int,
  server: courier.Client,
) -> None:
  """Plays turns until the program stops."""
  stop = lp.stop_event()
  client = clients.NodeClient(server, stop)
  player = playing.Player(configuration, client, stop)
  frames = None
  try:
    while True:
      answer: Any = client.call('next_unit', index)
      if answer is None:
        stop.wait(_POLL_SECONDS)
        continue
      wanted, unit = answer[0], schedule.WorkUnit(*answer[1])
      if wanted != frames:
        frames = player.update()
      folder = evaluation.folder(configuration, wanted)
      episodes = player.play(unit, evaluation, folder / 'videos')
      for number, episode in enumerate(episodes):
        client.call('played', index, wanted, unit, number, episode)
  except clients.Stopped:
    logging.info('Stopped')
