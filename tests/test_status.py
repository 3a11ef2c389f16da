"""The live status of `train`, of rows that come while it is there."""

import io
import math
import time

import pytest
import rich.console
from records import make_node, make_record, make_table
from run_files import LEARNER, RESULTS, make_records, record, write_rows
from run_files import write_run as write_run_files

from programs import runs
from programs.inspection import status

ROW = {**LEARNER, 'frames': 500_000}
START = {**LEARNER, 'time': 990.0, 'frames': 400_000}


@pytest.fixture(autouse=True)
def _always(monkeypatch):
  monkeypatch.setattr(status, '_LOOK_SECONDS', 0.0)


def make_status(tmp_path, console):
  return status.Status('impala catch', tmp_path, 1_000_000, 32, console, 950.0)


def make_console(is_terminal):
  return rich.console.Console(
    file=io.StringIO(),
    force_terminal=is_terminal,
    width=100 if is_terminal else None,
    color_system=None,
  )


def shown(path, is_terminal, rows=(), results=None):
  """What a status shows of what comes while it is there."""
  console = make_console(is_terminal)
  with make_status(path, console) as made:
    made.update()
    if rows:
      write_rows(path / 'metrics/learner.csv', *rows)
    if results:
      runs.write_json(path / 'evaluations/250000/results.json', results)
    made.update()
  return console.file.getvalue()


def test_before_the_first_row(tmp_path):
  assert 'starting' in shown(tmp_path, True)
  assert shown(tmp_path, False) == ''


@pytest.mark.parametrize('is_terminal', [True, False])
def test_what_is_told_of_a_run_that_learns(tmp_path, is_terminal):
  text = shown(tmp_path, is_terminal, [START, ROW])
  for part in (
    '500,000 of 1,000,000 (50%)',
    '10,000 (10 s), 10,000 (60 s), 10,000 (300 s)',
    '0:00:50',  # 500,000 frames left at 10,000 a second.
    '0.25 over 100 episodes',
    '1/2.0/7',
    '12 of 32 unrolls',
    'busy 75%',
    'none yet',
  ):
    assert part in text
  assert is_terminal or '\x1b' not in text


def test_lines_come_seldom(tmp_path):
  console = make_console(False)
  with make_status(tmp_path, console) as made:
    for _ in range(5):
      write_rows(tmp_path / 'metrics/learner.csv', ROW)
      made.update()
  text = console.file.getvalue()
  # One at the first row, and one at the end.
  assert text.count('  return ') == 2
  assert text.count('first learner step 50.0 s after the command') == 1


@pytest.mark.parametrize('is_terminal', [True, False])
def test_what_is_not_known_yet(tmp_path, is_terminal):
  row = {**ROW, 'episode_return': math.nan, 'queue_size': math.nan}
  results = {**RESULTS, 'summary': {'mean_return': 0.5, 'episodes': 1}}
  text = shown(tmp_path, is_terminal, [row], results)
  assert 'nan' not in text
  for part in (
    '? over 100',
    '? of 32',
    '? (10 s)',
    '0.50 +- ? over 1 episodes',
  ):
    assert part in text


@pytest.mark.parametrize('is_terminal', [True, False])
def test_an_evaluation_and_crashes(tmp_path, is_terminal):
  text = shown(
    tmp_path, is_terminal, [{**ROW, 'environment_restarts': 1234}], RESULTS
  )
  assert '0.50 +- 0.12 over 2 episodes at frame 640' in text
  assert '1,234 environments started again' in text


def test_learning_is_over(tmp_path):
  text = shown(tmp_path, True, [START, {**ROW, 'frames': 1_000_640}])
  assert '1,000,640 of 1,000,000 (100%)' in text
  assert 'the last evaluation runs' in text


def stuck_records(now):
  """A learner that waits, as the watchdog says too."""
  for age, seconds in ((2, 8.0), (1, 9.0)):
    yield make_record(
      now - age,
      {
        'learner/0': make_node(
          'waiting_for_data', lasting=seconds, calls={'waiting_for_data': 9}
        ),
        'actor/0': make_node('environment', lasting=seconds),
      },
      {'queue': make_table()},
      start=now - 60,
      warnings=['learner/0 has waited [long].'],
    )


@pytest.mark.parametrize('is_terminal', [True, False])
def test_warnings_are_told_again_when_they_come_again(tmp_path, is_terminal):
  now, console = time.time(), make_console(is_terminal)
  write_run_files(tmp_path)
  record(tmp_path, stuck_records(now))
  *_, last = stuck_records(now)
  with make_status(tmp_path, console) as made:
    write_rows(tmp_path / 'metrics/learner.csv', ROW)
    made.update()
    for warnings in ([], last['warnings'], last['warnings']):
      record(tmp_path, [{**last, 'warnings': warnings}])
      made.update()
  text = console.file.getvalue()
  assert 'learner/0 has waited [long].' in text
  if is_terminal:
    assert 'The learner waits for data 100% of the time: the actors' in text
  else:
    assert text.count('WARNING learner/0') == 2


def test_what_cannot_be_shown_does_not_end_the_run(tmp_path, monkeypatch):
  made = make_status(tmp_path, make_console(False))
  record(tmp_path, make_records(time.time()))
  monkeypatch.setattr(status.reading.Run, 'look', lambda self: 1 / 0)
  made.update()


def test_an_earlier_start_is_not_shown(tmp_path):
  write_rows(tmp_path / 'metrics/learner.csv', ROW)
  runs.write_json(tmp_path / 'evaluations/640/results.json', RESULTS)
  assert shown(tmp_path, False) == ''
  assert 'starting' in shown(tmp_path, True)
  assert 'none yet' in shown(tmp_path, False, [ROW])


def test_a_terminal_gets_its_cursor_back(tmp_path):
  console = make_console(True)
  with pytest.raises(KeyError), make_status(tmp_path, console):
    raise KeyError
  text = console.file.getvalue()
  assert text.count('\x1b[?25l') == text.count('\x1b[?25h') == 1
