"""Metric files: CSV and TensorBoard, of the run and of each level."""

import collections
import csv
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
from acme.utils import loggers
from acme.utils.loggers import tf_summary
from tensorboard.plugins.hparams import api as hparams_api

from agents.impala import metrics
from environments import suites
from programs.runs import run_config, run_directory


def make_logger(
  directory: run_directory.RunDirectory, name: str
) -> loggers.Logger:
  """Make a logger to `metrics/<name>.csv` and TensorBoard, by frames."""
  return loggers.Dispatcher(
    [
      _CsvLogger(directory.metrics / f'{name}.csv'),
      tf_summary.TFSummaryLogger(
        str(directory.tensorboard / name), label=name, steps_key='frames'
      ),
    ]
  )


class _CsvLogger(loggers.CSVLogger):
  """Logger that appends to its file, and renames one of other columns."""

  _file: TextIO

  def __init__(self, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    self._path = path
    super().__init__(_open(path), flush_every=1)

  def write(self, data: loggers.LoggingData) -> None:
    if not self._writes and self._file.tell():
      with open(self._path, newline='', encoding='utf-8') as file:
        columns = next(csv.reader(file))
      if columns != sorted(data):
        self._file.close()
        aside = f'{self._path.stem}.before-{time.time_ns()}.csv'
        self._path.rename(self._path.with_name(aside))
        self._file = _open(self._path)
    super().write(data)

  def close(self) -> None:
    super().close()
    self._file.close()


def _open(path: pathlib.Path) -> TextIO:
  return open(path, 'a', encoding='utf-8')


class LevelMetrics:
  """Returns by level: `metrics/levels.csv`, and a suite's training score.

  A record for each level in which episodes ended, every few seconds. A suite's
  score is written whenever each of its levels has a new episode, as the
  reference does: `metrics/<suite>.csv`, and for TensorBoard
  `<suite>/training_no_cap` and `<suite>/training_cap_100`.
  """

  def __init__(self, configuration: run_config.Configuration) -> None:
    directory = configuration.directory
    level_name = configuration.run.level_name
    self._names = suites.split(level_name)
    self._repeats = configuration.num_action_repeats
    self._period = configuration.run.log_period_seconds
    self._levels = _CsvLogger(directory.metrics / 'levels.csv')
    self._summaries = tf.summary.create_file_writer(
      str(directory.tensorboard / 'levels')
    )
    self._suite = suites.suites().get(level_name)
    self._scores: _CsvLogger | None = None
    if self._suite:
      self._scores = _CsvLogger(directory.metrics / f'{level_name}.csv')
    self._frames = 0
    self._record_started = time.monotonic()
    self._recent: dict[int, list[Any]] = collections.defaultdict(list)
    self._unscored: dict[str, list[float]] = collections.defaultdict(list)

  def add(self, frames: int, episodes: metrics.Episodes) -> None:
    """Add the episodes of a learner step; write records that are due."""
    for level, episode_return, steps in zip(*episodes, strict=True):
      self._recent[int(level)].append((float(episode_return), int(steps)))
      if self._suite:
        self._unscored[self._names[level]].append(float(episode_return))
    self._frames = frames
    if time.monotonic() - self._record_started >= self._period:
      self._write_levels()
    if self._suite and len(self._unscored) == len(self._names):
      self._write_score(self._suite)

  def close(self) -> None:
    """Write the rest and close the files."""
    self._write_levels()
    self._levels.close()
    if self._scores:
      self._scores.close()
    self._summaries.close()

  def _write_levels(self) -> None:
    for level, episodes in sorted(self._recent.items()):
      name = self._names[level]
      mean_return, mean_steps = np.mean(episodes, axis=0).tolist()
      scalars = {
        'episode_return': mean_return,
        'episode_frames': mean_steps * self._repeats,
      }
      facts = {'time': time.time(), 'frames': self._frames, 'level_name': name}
      self._levels.write({**facts, 'episodes': len(episodes), **scalars})
      _write_scalars(self._summaries, self._frames, name, scalars)
    self._recent.clear()
    self._record_started = time.monotonic()

  def _write_score(self, suite: suites.Suite) -> None:
    assert self._scores
    scores = suite.normalised_scores(self._unscored)
    scalars = {
      'training_no_cap': suites.capped_mean(scores, np.inf),
      'training_cap_100': suites.capped_mean(scores, 100.0),
      'training_median': float(np.median(list(scores.values()))),
    }
    self._scores.write({'time': time.time(), 'frames': self._frames, **scalars})
    _write_scalars(self._summaries, self._frames, suite.name, scalars)
    self._unscored.clear()


class EvaluationMetrics:
  """Evaluations by frames: `metrics/evaluator.csv`, and TensorBoard.

  For TensorBoard each level has `<level>/evaluation_return` and, where it has
  human scores, `<level>/evaluation_human_normalised`.
  """

  def __init__(self, directory: run_directory.RunDirectory) -> None:
    self._logger = make_logger(directory, 'evaluator')
    self._summaries = tf.summary.create_file_writer(
      str(directory.tensorboard / 'evaluations')
    )

  def add(
    self,
    frames: int,
    levels: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
  ) -> None:
    """Write `summary()` of each level, and `results.summarise` of all."""
    known = {k: math.nan if v is None else v for k, v in summary.items()}
    self._logger.write({'time': time.time(), 'frames': frames, **known})
    for level in levels:
      scalars = {'evaluation_return': level['mean_return']}
      if level['human_normalised'] is not None:
        scalars['evaluation_human_normalised'] = level['human_normalised']
      _write_scalars(self._summaries, frames, level['level_name'], scalars)
    self._summaries.flush()

  def close(self) -> None:
    """Close the files."""
    self._logger.close()
    self._summaries.close()


def _write_scalars(
  writer: tf.summary.SummaryWriter,
  frames: int,
  label: str,
  scalars: Mapping[str, float],
) -> None:
  with writer.as_default():
    for name, value in scalars.items():
      tf.summary.scalar(f'{label}/{name}', value, step=frames)


def write_hyperparameters(configuration: run_config.Configuration) -> None:
  """Write the configuration for TensorBoard's HPARAMS tab.

  Those of an earlier start are removed: TensorBoard shows the first it finds.
  """
  folder = configuration.directory.tensorboard
  for earlier in folder.glob('events.out.tfevents.*'):
    earlier.unlink()
  fields = {
    name: value
    for group in configuration.to_dict().values()
    for name, value in group.items()
  }
  del fields['logdir']
  writer = tf.summary.create_file_writer(str(folder))
  with writer.as_default():
    hparams_api.hparams(fields)
  writer.close()
