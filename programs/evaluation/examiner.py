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
from programs.evaluation import evaluation, examinations
from programs.nodes import client as nodes
from programs.nodes import model as models
from programs.runs import checkpoints, runs

_POLL_SECONDS = 1.0  # How often they ask for something new.


class ExaminerNode:
  """Serves a checkpoint's variables, deals out turns, writes results.

  Public methods are served by Courier; to call one twice does no harm.
  """

  def __init__(
    self,
    configuration: runs.Configuration,
    examination: examinations.Examination,
    folder: str,
  ) -> None:
    self._configuration = configuration
    self._examination = examination
    self._folder = pathlib.Path(folder)
    self._stop = lp.stop_event()
    self._network, _ = models.make_model(configuration)
    self._counts = metrics.Counts()
    self._served: Mapping[str, Sequence[np.ndarray]] = {}
    self._results: list[str] = []
    self._changed = threading.Condition()
    self._waiting: list[examinations.Turn] = []
    self._dealt: dict[int, examinations.Turn] = {}
    self._played: dict[examinations.Turn, dict[int, examinations.Episode]] = {}

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    return [self._served[name] for name in names]

  def next_turn(self, evaluator: int) -> tuple[int, examinations.Turn] | None:
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
    turn: examinations.Turn,
    number: int,
    episode: examinations.Episode,
  ) -> None:
    """Takes the `number`th episode of a turn."""
    turn, episode = examinations.Turn(*turn), examinations.Episode(*episode)
    with self._changed:
      if frames != self._counts.frames.numpy():
        return  # Told again, of a checkpoint that is done with.
      episodes = self._played[turn]
      episodes[number] = episode
      is_over = len(episodes) == turn.num_episodes
      if is_over and self._dealt.get(evaluator) == turn:
        del self._dealt[evaluator]
      self._tell()
      self._changed.notify_all()

  def run(self) -> None:
    """Examines one checkpoint, or with `watch` each new one; ends the program.

    Raises:
      ValueError: A checkpoint is of another network, or all are damaged.
    """
    examined: set[str | None] = set()
    directory = self._configuration.directory
    while not self._stop.is_set():
      # Asked before it looks for checkpoints, so as not to miss the last.
      is_last = not self._examination.watch or directory.is_finished()
      paths = checkpoints.newest_first(self._examination.checkpoints(directory))
      if paths and paths[0] not in examined:
        # Another one than was listed, if that is damaged or a newer one came.
        examined |= {paths[0], self._examine()}
      elif is_last:
        break
      else:
        self._stop.wait(_POLL_SECONDS)
    if not self._stop.is_set():
      lp.stop()

  def _examine(self) -> str | None:
    examination = self._examination
    path = checkpoints.Checkpoints(
      examination.checkpoints(self._configuration.directory),
      {'network': self._network, 'counts': self._counts},
    ).restore()
    logging.info('Evaluating %s', path)
    turns = examination.turns()
    self._served = learning.served_variables(self._network, self._counts)
    with self._changed:
      self._played = {turn: {} for turn in turns}
      self._waiting = list(turns)
      self._tell()
      while not all(
        len(self._played[turn]) == turn.num_episodes for turn in turns
      ):
        if self._stop.is_set():
          return path
        self._changed.wait(_POLL_SECONDS)
      played = {
        turn: [episode for _, episode in sorted(episodes.items())]
        for turn, episodes in self._played.items()
      }
    frames = int(self._counts.frames.numpy())
    evaluation.write_results(self._configuration, examination, frames, played)
    folder = examination.folder(self._configuration, frames)
    with self._changed:
      self._results.append(str(folder / 'results.json'))
      self._tell()
    return path

  def _tell(self) -> None:
    progress = examinations.Progress(
      int(self._counts.frames.numpy()),
      sum(map(len, self._played.values())),
      sum(turn.num_episodes for turn in self._played),
      self._results,
    )
    examinations.write_progress(self._folder, progress)


def run_evaluator(
  configuration: runs.Configuration,
  examination: examinations.Examination,
  index: int,
  examiner: courier.Client,
) -> None:
  """Plays turns until the program stops."""
  stop = lp.stop_event()
  client = nodes.NodeClient(examiner, stop)
  player = evaluation.Player(configuration, client, stop)
  frames = None
  try:
    while True:
      answer: Any = client.call('next_turn', index)
      if answer is None:
        stop.wait(_POLL_SECONDS)
        continue
      wanted, turn = answer[0], examinations.Turn(*answer[1])
      if wanted != frames:
        frames = player.update()
      folder = examination.folder(configuration, wanted)
      episodes = player.play(turn, examination, folder / 'videos')
      for number, episode in enumerate(episodes):
        client.call('played', index, wanted, turn, number, episode)
  except nodes.Stopped:
    logging.info('Stopped')
