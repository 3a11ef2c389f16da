"""The live status of `train`."""

import contextlib
import io
import math
import time

import pytest
import rich.console
from run_files import (
  LEARNER,
  RESULTS,
  make_records,
  record,
  write_csv,
  write_run,
)

from programs.runs import run_directory
from programs.views import terminal

ROW = {**LEARNER, 'frames': 500_000}
START = {**LEARNER, 'time': 990.0, 'frames': 400_000}


@contextlib.contextmanager
def looking(path, is_terminal, monkeypatch):
  """Yield the status of a live run, and a function for its output."""
  monkeypatch.setattr(terminal, '_REFRESH_SECONDS', 0.0)
  console = rich.console.Console(
    file=io.StringIO(),
    force_terminal=is_terminal,
    width=100 if is_terminal else None,
    color_system=None,
  )
  with (
    write_run(path, 60, total_environment_frames=1_000_000).locked(),
    terminal.Status(path, console, 950.0) as made,
  ):
    yield made, console.file.getvalue


@pytest.fixture(params=[True, False], ids=['terminal', 'lines'])
def show(tmp_path, monkeypatch, request):
  """Return a function that writes metrics and returns the output."""

  def show(rows=(), results=None):
    with looking(tmp_path, request.param, monkeypatch) as (made, text):
      made.update()
      if rows:
        write_csv(tmp_path / 'metrics/learner.csv', *rows)
      if results:
        run_directory.write_json(
          tmp_path / 'evaluations/640/results.json', results
        )
      made.update()
    return text()

  show.is_terminal = request.param
  return show


def test_before_the_first_row(show):
  text = show()
  assert 'starting' in text if show.is_terminal else text == ''


def test_a_run_that_learns(show):
  text = show([START, ROW])
  for part in (
    '500,000 of 1,000,000 (50%)',
    '10,000 (10 s), 10,000 (60 s), 10,000 (300 s)',
    '0:00:50',  # 500,000 frames left at 10,000 a second.
    '0.25 over 100 episodes',
    '1/2.0/7',
    '12 unrolls',
    '75%',
  ):
    assert part in text
  assert text.count('first learner step 50.0 s after the command') == 1
  assert show.is_terminal or '\x1b' not in text


def test_unknown_metrics(show):
  row = {**ROW, 'episode_return': math.nan, 'queue_size': math.nan}
  results = {**RESULTS, 'summary': {'mean_return': 0.5, 'episodes': 1}}
  text = show([row], results)
  assert 'nan' not in text
  for part in ('? over 100', '? unrolls', '? (10 s)', '0.50 +- ? over 1 epis'):
    assert part in text


def test_an_evaluation_and_crashes(show):
  text = show([{**ROW, 'environment_restarts': 1230}], RESULTS)
  assert '0.50 +- 0.12 over 2 episodes at frame 640' in text
  assert '1,230 environments' in text


def test_lines_are_rare(tmp_path, monkeypatch):
  with looking(tmp_path, False, monkeypatch) as (made, text):
    for _ in range(5):
      write_csv(tmp_path / 'metrics/learner.csv', ROW)
      made.update()
  # One at the first record, and one at the end.
  assert text().count('  return ') == 2


@pytest.mark.parametrize('is_terminal', [True, False])
def test_repeated_warnings_are_shown_again(tmp_path, monkeypatch, is_terminal):
  warnings = ['learner/0 has waited [long].']
  records = [*make_records(time.time() - 12, warnings=warnings)]
  with looking(tmp_path, is_terminal, monkeypatch) as (made, text):
    for found in (warnings, [], warnings, warnings):
      record(tmp_path, [{**each, 'warnings': found} for each in records])
      made.update()
  assert warnings[0] in text()
  if is_terminal:
    assert 'waits for data 80% of the time' in text()
  else:
    assert text().count('WARNING learner/0') == 2


def test_an_unreadable_run_does_not_end_training(tmp_path, monkeypatch):
  with looking(tmp_path, False, monkeypatch) as (made, _):
    monkeypatch.setattr(terminal.reading.Run, 'refresh', lambda self: 1 / 0)
    made.update()


def test_an_earlier_start_has_no_line(tmp_path, monkeypatch):
  write_csv(tmp_path / 'metrics/learner.csv', ROW)
  with looking(tmp_path, False, monkeypatch) as (made, text):
    made.update()
    assert text() == ''
    write_csv(tmp_path / 'metrics/learner.csv', ROW)
    made.update()
  assert 'frames 500,000' in text()


def test_the_cursor_is_restored(tmp_path, monkeypatch):
  with (
    pytest.raises(KeyError),
    looking(tmp_path, True, monkeypatch) as (_, text),
  ):
    raise KeyError
  assert text().count('\x1b[?25l') == text().count('\x1b[?25h') == 1
