"""Test scoring: an examiner deals out a checkpoint's levels to evaluators."""

import dataclasses
import json
import pathlib
import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import courier
import launchpad as lp
import numpy as np
from absl import logging

from agents.impala import config as config_lib
from agents.impala import learning, metrics
from programs import checkpoints, evaluation, nodes, results, runs, summaries
from programs.inspection import graph

CHECKPOINTS = ('newest', 'best')

_POLL_SECONDS = 1.0  # How often evaluators and examiner ask for something new.


@dataclasses.dataclass(frozen=True)
class Examination:
  """What is evaluated, and how.

  Raises:
    ValueError: A value breaks its rule.
  """

  level_name: str = config_lib.option(
    '',
    "Levels with the trained one's observations and actions; a suite means its "
    'test levels.',
  )
  test_num_episodes: int = config_lib.option(
    10, 'Episodes of each level, exactly.', 'episodes', config_lib.POSITIVE
  )
  seed: int = config_lib.option(
    1,
    'Of environments and actions; the same one repeats the same episodes.',
    rule=config_lib.NOT_NEGATIVE,
  )
  greedy: bool = config_lib.option(
    False,
    'Take the most likely action; otherwise actions are sampled, as the '
    'reference does.',
  )
  checkpoint: str = config_lib.option(
    'newest',
    'Which one: the newest, or the one that scored best in training.',
    rule=config_lib.one_of(CHECKPOINTS),
  )
  video: int = config_lib.option(
    0,
    'Episodes of each level that are filmed, the first ones, as mp4.',
    'episodes',
    config_lib.NOT_NEGATIVE,
  )
  watch: bool = config_lib.option(
    False,
    'Keep evaluating new checkpoints until the run has reached its last frame.',
  )
  num_evaluators: int = config_lib.option(
    0,
    'Evaluators that levels are dealt out to; 0: one for each core, if there '
    'is enough to do.',
    'processes',
    config_lib.NOT_NEGATIVE,
  )

  def __post_init__(self) -> None:
    config_lib.check(self)

  def checkpoints(self, directory: runs.RunDirectory) -> pathlib.Path:
    """The folder of the checkpoints that are meant."""
    is_best = self.checkpoint == 'best'
    return directory.best_checkpoint if is_best else directory.checkpoints

  @property
  def seeds(self) -> tuple[int, ...]:
    """What episodes are seeded with.

    The best checkpoint is played with others than those that chose it, lest it
    be judged by its luck.
    """
    return (self.seed, CHECKPOINTS.index(self.checkpoint))

  def folder(
    self, configuration: runs.Configuration, frames: int
  ) -> pathlib.Path:
    """Where results of a checkpoint at `frames` go.

    The name says more where the evaluation is not one as of training.
    """
    parts, run = [str(frames)], configuration.run
    if self.level_name != run.level_name:
      levels = self.level_name.replace('/', '_')
      if len(levels) > 100:
        levels = f'{levels[:90]}_{zlib.crc32(levels.encode()):08x}'
      parts.append(levels)
    if self.test_num_episodes != run.test_num_episodes:
      parts.append(f'{self.test_num_episodes}episodes')
    if self.seed != configuration.agent.seed:
      parts.append(f'seed{self.seed}')
    if self.checkpoint == 'best':
      parts.append('best')
    if self.greedy:
      parts.append('greedy')
    return configuration.directory.evaluations / '_'.join(parts)


class Progress(NamedTuple):
  """How far an examination is.

  Attributes:
    frames: Learned by the variables that are evaluated.
    num_played: Episodes played of them.
    num_episodes: Of all levels.
    results: Every `results.json` written so far.
  """

  frames: int
  num_played: int
  num_episodes: int
  results: Sequence[str]


def read_progress(folder: pathlib.Path) -> Progress | None:
  """What the examiner told last; None as long as it did not."""
  try:
    return Progress(*json.loads(_progress_file(folder).read_text()))
  except FileNotFoundError:
    return None


def _progress_file(folder: pathlib.Path) -> pathlib.Path:
  return folder / 'progress.json'


class ExaminerNode:
  """Serves a checkpoint's variables, deals out turns, writes results.

  Public methods are served by Courier; to call one twice does no harm.
  """

  def __init__(
    self,
    configuration: runs.Configuration,
    examination: Examination,
    folder: str,
  ) -> None:
    """Reads no checkpoint yet.

    Args:
      configuration: Of the run.
      examination: What is evaluated.
      folder: Takes the progress.
    """
    self._configuration = configuration
    self._examination = examination
    self._folder = pathlib.Path(folder)
    self._stop = lp.stop_event()
    self._network, _ = nodes.make_model(configuration)
    self._counts = metrics.Counts()
    self._served: Mapping[str, Sequence[np.ndarray]] = {}
    self._results: list[str] = []
    self._changed = threading.Condition()
    self._waiting: list[evaluation.Turn] = []
    self._dealt: dict[int, evaluation.Turn] = {}
    self._played: dict[evaluation.Turn, dict[int, evaluation.Episode]] = {}

  def get_variables(self, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """See `learning.Learner.get_variables`."""
    return [self._served[name] for name in names]

  def next_turn(self, evaluator: int) -> tuple[int, evaluation.Turn] | None:
    """The turn that an evaluator is to play now.

    Args:
      evaluator: Its index.

    Returns:
      The frames of the variables to play with, and the turn; None while there
      is nothing to play.
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
    turn: evaluation.Turn,
    number: int,
    episode: evaluation.Episode,
  ) -> None:
    """Takes an episode.

    Args:
      evaluator: Index of who played it.
      frames: Of the variables that it was played with.
      turn: That it is part of.
      number: Its index in the turn.
      episode: What it came to.
    """
    turn, episode = evaluation.Turn(*turn), evaluation.Episode(*episode)
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
    """Has all levels played with the newest variables; writes the results.

    Returns:
      The checkpoint that these variables are of.
    """
    examination = self._examination
    path = checkpoints.Checkpoints(
      examination.checkpoints(self._configuration.directory),
      {'network': self._network, 'counts': self._counts},
    ).restore()
    logging.info('Evaluating %s', path)
    turns = evaluation.deal(
      examination.level_name, examination.test_num_episodes
    )
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
    folder = examination.folder(self._configuration, frames)
    levels = evaluation.collect(self._configuration, played)
    written = results.write_results(
      folder,
      levels,
      trained_frames=frames,
      seed=examination.seed,
      greedy=examination.greedy,
    )
    with self._changed:
      self._results.append(str(written))
      self._tell()
    if examination.video:
      summaries.write_films(
        self._configuration.directory,
        frames,
        folder / 'videos',
        [level.level_name for level in levels],
        min(examination.video, examination.test_num_episodes),
      )
    return path

  def _tell(self) -> None:
    progress = Progress(
      int(self._counts.frames.numpy()),
      sum(map(len, self._played.values())),
      sum(turn.num_episodes for turn in self._played),
      self._results,
    )
    runs.write_json(_progress_file(self._folder), progress)


@graph.uses(examiner='variables')
def run_evaluator(
  configuration: runs.Configuration,
  examination: Examination,
  index: int,
  examiner: courier.Client,
) -> None:
  """Plays turns until the program stops.

  Args:
    configuration: Of the run.
    examination: What is evaluated.
    index: Of this evaluator, from 0.
    examiner: Serves variables and turns.
  """
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
      wanted, turn = answer[0], evaluation.Turn(*answer[1])
      if wanted != frames:
        frames = player.update()
      folder = examination.folder(configuration, wanted)
      episodes = player.play(
        turn,
        examination.seeds,
        examination.greedy,
        folder / 'videos',
        examination.video,
      )
      for number, episode in enumerate(episodes):
        client.call('played', index, wanted, turn, number, episode)
  except nodes.Stopped:
    logging.info('Stopped')
