"""The live status of a run in the terminal, read from its metrics."""

import collections
import datetime
import math
import pathlib
import time
from collections.abc import Mapping, Sequence

import rich.console
import rich.live
import rich.progress_bar
import rich.table
import rich.text
from absl import logging

from programs.inspection import live, rows

WINDOWS_SECONDS = (10, 60, 300)
_LINE_SECONDS = 10.0  # Between lines where there is no terminal.
_LOOK_SECONDS = 1.0  # Between looks at what the monitor records.


class Status:
  """Shows how far learning is: a live table, or lines without a terminal.

  A context manager; call `update` a few times a second meanwhile.
  """

  def __init__(
    self,
    title: str,
    directory: pathlib.Path,
    total_frames: int,
    queue_capacity: int,
    console: rich.console.Console,
    started: float,
  ) -> None:
    """Looks at what is measured from now on.

    Args:
      title: What is run.
      directory: Of the run, whose metrics are read.
      total_frames: Where learning ends.
      queue_capacity: Unrolls that fit the queue.
      console: Where to show it.
      started: When the command was called, in seconds since 1970.
    """
    self._title = title
    self._learner = rows.Rows(
      directory / 'metrics' / 'learner.csv', from_start=False
    )
    self._evaluator = rows.Rows(
      directory / 'metrics' / 'evaluator.csv', from_start=False
    )
    self._run = live.Run(directory)
    self._snapshot: live.Snapshot | None = None
    self._next_look = 0.0
    self._warned: Sequence[str] = ()
    self._total = total_frames
    self._queue_capacity = queue_capacity
    self._console = console
    self._started = started
    self._history: collections.deque[tuple[float, float]] = collections.deque()
    self._row: Mapping[str, float] = {}
    self._evaluation: Mapping[str, float] = {}
    self._next_line = 0.0
    self._live = rich.live.Live(
      console=console, refresh_per_second=4, transient=False
    )

  def __enter__(self) -> 'Status':
    if self._console.is_terminal:
      self._live.start()
    return self

  def __exit__(self, *exception: object) -> None:
    if self._console.is_terminal:
      self._live.update(self._table(), refresh=True)
      self._live.stop()
    elif self._row:
      self._console.print(self._line(), soft_wrap=True)

  def update(self) -> None:
    """Reads what is new and shows it."""
    for row in self._learner.read():
      if not self._row:
        # At the latest `log_period_seconds` after the step.
        self._console.print(
          f'first learner step {row["time"] - self._started:.1f} s after the '
          'command'
        )
      self._row = row
      self._history.append((row['time'], row['frames']))
    while self._history and self._history[-1][0] - self._history[0][
      0
    ] > 2 * max(WINDOWS_SECONDS):
      self._history.popleft()
    for row in self._evaluator.read():
      self._evaluation = row
    if time.monotonic() >= self._next_look:
      self._next_look = time.monotonic() + _LOOK_SECONDS
      try:
        self._snapshot = self._run.look()
      except Exception:  # What shows a run must not end it.
        logging.exception('The monitor cannot be shown')
    if self._console.is_terminal:
      self._live.update(self._table())
      return
    warnings = self._warnings()
    for warning in warnings:
      if warning not in self._warned:
        self._console.print(f'WARNING {warning}', markup=False, soft_wrap=True)
    self._warned = warnings
    if self._row and time.monotonic() >= self._next_line:
      self._next_line = time.monotonic() + _LINE_SECONDS
      self._console.print(self._line(), soft_wrap=True)

  def _warnings(self) -> Sequence[str]:
    """What the watchdog says."""
    if self._snapshot is None or self._snapshot.figures is None:
      return ()
    return self._snapshot.figures.warnings

  def frames_per_second(self, window_seconds: float) -> float:
    """Mean over the last `window_seconds`, or as much as there is; or NaN."""
    if len(self._history) < 2:
      return math.nan
    now, frames = self._history[-1]
    then, before = next(
      (time_, frames_)
      for time_, frames_ in self._history
      if now - time_ <= window_seconds or len(self._history) == 2
    )
    if then == now:
      then, before = self._history[-2]
    return (frames - before) / (now - then) if now > then else math.nan

  def _seconds_left(self) -> float:
    """At the speed of the longest window; NaN before it is known."""
    rate = self.frames_per_second(max(WINDOWS_SECONDS))
    left = self._total - self._row.get('frames', 0)
    return max(left, 0) / rate if rate > 0 else math.nan

  def _table(self) -> rich.table.Table:
    elapsed = _duration(time.time() - self._started)
    table = rich.table.Table(
      title=f'{self._title}  {elapsed}',
      title_justify='left',
      show_header=False,
      box=None,
      padding=(0, 2, 0, 0),
    )
    table.add_column(style='bold', no_wrap=True)
    table.add_column()
    for warning in self._warnings():
      table.add_row('warning', rich.text.Text(warning, style='bold red'))
    row = self._row
    if not row:
      table.add_row('starting', 'nodes import TensorFlow and make environments')
      return table
    share = min(row['frames'] / self._total, 1.0)
    bar = rich.progress_bar.ProgressBar(total=1.0, completed=share, width=30)
    progress = rich.table.Table.grid(padding=(0, 2, 0, 0))
    progress.add_row(
      f'{row["frames"]:,.0f} of {self._total:,} ({share:.0%})', bar
    )
    table.add_row('frames', progress)
    table.add_row('frames/s', self._rates())
    table.add_row('time left', self._left())
    table.add_row(
      'return',
      f'{_figure(row["episode_return"], 2)} mean of the last 100 episodes, '
      f'{_figure(row["episode_steps"])} steps each',
    )
    table.add_row('policy lag', f'{_lag(row)} learner steps (min/avg/max)')
    table.add_row(
      'queue', f'{_figure(row["queue_size"])} of {self._queue_capacity} unrolls'
    )
    waiting = row['learner_wait_share']
    table.add_row(
      'learner', f'busy {1 - waiting:.0%}, waiting for unrolls {waiting:.0%}'
    )
    if restarts := row['environment_restarts']:
      table.add_row('crashes', f'{restarts:,.0f} environments started again')
    table.add_row('evaluation', self._evaluation_text())
    if self._snapshot and self._snapshot.verdict:
      table.add_row('verdict', self._snapshot.verdict.sentence)
    return table

  def _rates(self) -> str:
    return '   '.join(
      f'{_figure(self.frames_per_second(window))} ({window} s)'
      for window in WINDOWS_SECONDS
    )

  def _left(self) -> str:
    if self._row['frames'] >= self._total:
      return 'learning is over, the last evaluation runs'
    return _duration(self._seconds_left())

  def _evaluation_text(self) -> str:
    row = self._evaluation
    if not row:
      return 'none yet'
    return (
      f'{row["mean_return"]:.2f} +- {_figure(row["standard_error"], 2)} over '
      f'{row["episodes"]:.0f} episodes at frame {row["frames"]:,.0f}'
    )

  def _line(self) -> str:
    row = self._row
    restarts = row['environment_restarts']
    crashes = f'environments started again {restarts:,.0f} ' if restarts else ''
    return (
      f'{datetime.datetime.now():%H:%M:%S} '
      f'frames {row["frames"]:,.0f} ({row["frames"] / self._total:.0%}) '
      f'{_figure(self.frames_per_second(WINDOWS_SECONDS[0]))}/s '
      f'return {_figure(row["episode_return"], 2)} lag {_lag(row)} '
      f'queue {_figure(row["queue_size"])}/{self._queue_capacity} '
      f'learner busy {1 - row["learner_wait_share"]:.0%} '
      f'left {_duration(self._seconds_left())} {crashes}'
      f'evaluation {self._evaluation_text()}'
    )


def _lag(row: Mapping[str, float]) -> str:
  return (
    f'{row["policy_lag_min"]:.0f}/{row["policy_lag_mean"]:.1f}/'
    f'{row["policy_lag_max"]:.0f}'
  )


def _figure(value: float, digits: int = 0) -> str:
  """With thousands separated; '?' where it is not known."""
  return f'{value:,.{digits}f}' if math.isfinite(value) else '?'


def _duration(seconds: float) -> str:
  """'0:01:40'; '?' where it is not known."""
  if not math.isfinite(seconds):
    return '?'
  return str(datetime.timedelta(seconds=round(seconds)))
