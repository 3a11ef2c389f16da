"""The live status of a run in the terminal."""

import datetime
import pathlib
import time
from collections.abc import Sequence

import rich.console
import rich.live
from absl import logging

from programs.views import curves, reading, terminal

_LINE_SECONDS = 10.0  # Between lines where there is no terminal.
_LOOK_SECONDS = 0.5  # Between looks at the run.


class Status:
  """Shows how far learning is: live in a terminal, else a line now and then.

  A context manager; call `update` a few times a second meanwhile.
  """

  def __init__(
    self, directory: pathlib.Path, console: rich.console.Console, started: float
  ) -> None:
    """`started` is when the command was called, in seconds since 1970."""
    self._console, self._started = console, started
    self._run = reading.Run(directory)
    self._look()
    self._before = self._run.learner.last  # Of an earlier start.
    self._has_begun = False
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
      self._live.update(terminal.progress(self._run), refresh=True)
      self._live.stop()
    elif self._has_begun:
      self._print_line()

  def update(self) -> None:
    """Reads what is new and shows it."""
    now = time.monotonic()
    if now < self._next_look:
      return
    self._next_look = now + _LOOK_SECONDS
    self._look()
    row = self._run.learner.last
    if row and not self._has_begun and row is not self._before:
      self._has_begun = True
      # At the latest `log_period_seconds` after the step.
      seconds = curves.number(row, 'time') - self._started
      self._print(f'first learner step {seconds:.1f} s after the command')
    if self._console.is_terminal:
      self._live.update(terminal.progress(self._run))
      return
    warnings = self._run.figures.warnings if self._run.figures else ()
    for warning in warnings:
      if warning not in self._warned:
        self._print(f'WARNING {warning}')
    self._warned = warnings
    if self._has_begun and now >= self._next_line:
      self._next_line = now + _LINE_SECONDS
      self._print_line()

  def _look(self) -> None:
    try:
      self._run.look()
    except Exception:  # What shows a run must not end it.
      logging.exception('The run cannot be shown')

  def _print_line(self) -> None:
    facts = '  '.join(
      f'{name} {text}' for name, text in terminal.facts(self._run)
    )
    self._print(f'{datetime.datetime.now():%H:%M:%S} {facts}')

  def _print(self, text: str) -> None:
    self._console.print(text, markup=False, soft_wrap=True)
