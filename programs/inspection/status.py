"""The live status of a run in the terminal."""

import datetime
import math
import pathlib
import time
from collections.abc import Iterator, Sequence

import rich.console
import rich.live
import rich.table
import rich.text
from absl import logging

from programs.inspection import curves, reading, terminal

_WINDOWS_SECONDS = (10, 60, 300)  # Over which speeds are means.
_LINE_SECONDS = 10.0  # Between lines where there is no terminal.
_LOOK_SECONDS = 0.5  # Between looks at the run.


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
      directory: Of the run.
      total_frames: Where learning ends.
      queue_capacity: Unrolls that fit the queue.
      console: Where to show it.
      started: When the command was called, in seconds since 1970.
    """
    self._title, self._console = title, console
    self._total, self._queue_capacity = total_frames, queue_capacity
    self._run = reading.Run(directory)
    self._run.look()
    # Of an earlier start.
    self._old = self._run.learner.last, next(iter(self._evaluations()), None)
    self._started = started
    self._start_is_told = False
    self._next_look = self._next_line = 0.0
    self._warned: Sequence[str] = ()
    self._live = rich.live.Live(
      console=console, refresh_per_second=4, transient=False
    )

  def __enter__(self) -> 'Status':
    if self._console.is_terminal:
      self._live.start()
    return self

  def __exit__(self, *exception: object) -> None:
    self._look()
    if self._console.is_terminal:
      self._live.update(self._table(), refresh=True)
      self._live.stop()
    elif self._has_begun:
      self._print(self._line())

  def update(self) -> None:
    """Reads what is new and shows it."""
    now = time.monotonic()
    if now < self._next_look:
      return
    self._next_look = now + _LOOK_SECONDS
    self._look()
    if self._has_begun and not self._start_is_told:
      # At the latest `log_period_seconds` after the step.
      seconds = self._number('time') - self._started
      self._print(f'first learner step {seconds:.1f} s after the command')
      self._start_is_told = True
    if self._console.is_terminal:
      self._live.update(self._table())
      return
    warnings = self._warnings()
    for warning in warnings:
      if warning not in self._warned:
        self._print(f'WARNING {warning}')
    self._warned = warnings
    if self._has_begun and now >= self._next_line:
      self._next_line = now + _LINE_SECONDS
      self._print(self._line())

  def _look(self) -> None:
    try:
      self._run.look()
    except Exception:  # What shows a run must not end it.
      logging.exception('The run cannot be shown')

  def _print(self, text: str) -> None:
    self._console.print(text, markup=False, soft_wrap=True)

  def _evaluations(self) -> list[str]:
    return list(self._run.evaluations.found)

  @property
  def _has_begun(self) -> bool:
    """Whether this start has learned."""
    return bool(self._run.learner.last) and (
      self._run.learner.last is not self._old[0]
    )

  def _warnings(self) -> Sequence[str]:
    """What the watchdog says."""
    return self._run.figures.warnings if self._run.figures else ()

  def _facts(self) -> Iterator[tuple[str, str]]:
    """What there is to tell of a run that learns."""
    frames, waiting = self._number('frames'), self._number('learner_wait_share')
    speeds = [self._run.frames_per_second(w) for w in _WINDOWS_SECONDS]
    left = max(self._total - frames, 0) / (speeds[-1] or math.nan)
    share = min(frames / self._total, 1.0)
    yield 'frames', f'{frames:,.0f} of {self._total:,} ({share:.0%})'
    yield (
      'frames/s',
      ', '.join(
        f'{_figure(speed or math.nan)} ({window} s)'
        for speed, window in zip(speeds, _WINDOWS_SECONDS, strict=True)
      ),
    )
    if frames >= self._total:
      yield 'time left', '0:00:00, the last evaluation runs'
    elif math.isfinite(left):
      yield 'time left', str(datetime.timedelta(seconds=round(left)))
    yield (
      'return',
      f'{_figure(self._number("episode_return"), 2)} over 100 episodes',
    )
    least, mean, most = (
      _figure(self._number(f'policy_lag_{name}'), digits)
      for name, digits in (('min', 0), ('mean', 1), ('max', 0))
    )
    yield 'policy lag', f'{least}/{mean}/{most} learner steps'
    queue = _figure(self._number('queue_size'))
    yield 'queue', f'{queue} of {self._queue_capacity} unrolls'
    yield 'learner', f'busy {1 - waiting:.0%}'
    if restarts := self._number('environment_restarts'):
      yield 'crashes', f'{restarts:,.0f} environments started again'
    yield 'evaluation', self._evaluation()

  def _number(self, name: str) -> float:
    return curves.number(self._run.learner.last, name)

  def _evaluation(self) -> str:
    name = next(iter(self._evaluations()), None)
    if name is None or name == self._old[1]:
      return 'none yet'
    found = self._run.evaluations.found[name]
    summary = found['summary']
    error = summary.get('standard_error')
    return (
      f'{summary["mean_return"]:.2f} +- '
      f'{_figure(math.nan if error is None else error, 2)} over '
      f'{summary["episodes"]} episodes at frame {found["trained_frames"]:,}'
    )

  def _line(self) -> str:
    facts = '  '.join(f'{name} {text}' for name, text in self._facts())
    return f'{datetime.datetime.now():%H:%M:%S} {facts}'

  def _table(self) -> rich.table.Table:
    elapsed = datetime.timedelta(seconds=round(time.time() - self._started))
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
    if not self._has_begun:
      table.add_row('starting', 'nodes import TensorFlow, make environments')
      return table
    share = min(self._number('frames') / self._total, 1.0)
    table.add_row('', terminal.bar([(share, '█', 'blue')]))
    for name, text in self._facts():
      table.add_row(name, rich.text.Text(text))
    if self._run.verdict:
      table.add_row('verdict', rich.text.Text(self._run.verdict.sentence))
    return table


def _figure(value: float, digits: int = 0) -> str:
  """With thousands separated; '?' where it is not known."""
  return f'{value:,.{digits}f}' if math.isfinite(value) else '?'
