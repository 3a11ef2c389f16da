import csv
import io
import math
import time

import pytest
import rich.console
from records import make_node, make_record, make_table

from programs import flags, impala
from programs.inspection import recording, status, wiring

ROW = {
  'time': 1000.0,
  'frames': 500_000,
  'executed_frames': 450_000,
  'learner_steps': 781,
  'episodes': 50_000,
  'episode_return': 0.25,
  'episode_steps': 9.0,
  'learner_wait_share': 0.25,
  'queue_size': 12,
  'policy_lag_min': 1,
  'policy_lag_mean': 2.25,
  'policy_lag_max': 7,
  'environment_restarts': 0,
}
EVALUATION = {
  'time': 1001.0,
  'frames': 250_000,
  'episodes': 10,
  'mean_return': 0.5,
  'standard_error': 0.125,
}
STARTED = 950.0
START = {'time': 990.0, 'frames': 400_000}


def append(path, *rows):
  """Appends rows as the loggers do, the header first."""
  path.parent.mkdir(exist_ok=True, parents=True)
  with open(path, 'a', encoding='utf-8') as file:
    writer = csv.DictWriter(file, sorted(rows[0]))
    if not file.tell():
      writer.writeheader()
    writer.writerows(rows)


def make_status(tmp_path, console, total_frames=1_000_000):
  return status.Status(
    'impala catch', tmp_path, total_frames, 32, console, STARTED
  )


def make_console(is_terminal):
  return rich.console.Console(
    file=io.StringIO(),
    force_terminal=is_terminal,
    width=100 if is_terminal else None,
    color_system=None,
  )


def shown(tmp_path, is_terminal, learner=(), evaluator=()):
  """What a status shows of rows that come while it is there."""
  console = make_console(is_terminal)
  with make_status(tmp_path, console) as made:
    made.update()
    for name, rows in (('learner', learner), ('evaluator', evaluator)):
      if rows:
        append(tmp_path / 'metrics' / f'{name}.csv', *rows)
    made.update()
  return console.file.getvalue()


@pytest.fixture
def rated(tmp_path):
  """A status of one row a second: 100 frames/s, the last 20 s 1,000."""
  made = make_status(tmp_path, make_console(False))
  frames = 0
  for second in range(101):
    append(
      tmp_path / 'metrics/learner.csv',
      {**ROW, 'time': 1000.0 + second, 'frames': frames},
    )
    frames += 1000 if second >= 80 else 100
  made.update()
  return made


def test_frames_per_second_over_windows(rated):
  assert rated.frames_per_second(10) == pytest.approx(1000)
  assert rated.frames_per_second(60) == pytest.approx(
    (20 * 1000 + 40 * 100) / 60
  )
  # No more than there is.
  assert rated.frames_per_second(300) == pytest.approx(
    (20 * 1000 + 80 * 100) / 100
  )
  # Rows farther apart than the window.
  assert rated.frames_per_second(0.5) == pytest.approx(1000)


def test_frames_per_second_forgets_what_is_long_ago(tmp_path):
  made = make_status(tmp_path, make_console(False))
  for at, frames in ((0.0, 0), (5000.0, 10), (5010.0, 20)):
    append(
      tmp_path / 'metrics/learner.csv', {**ROW, 'time': at, 'frames': frames}
    )
  made.update()
  assert made.frames_per_second(300) == pytest.approx(1)


@pytest.mark.parametrize('times', [(), (1.0,), (1.0, 1.0)])
def test_frames_per_second_is_not_known_of_one_time(tmp_path, times):
  made = make_status(tmp_path, make_console(False))
  for at in times:
    append(tmp_path / 'metrics/learner.csv', {**ROW, 'time': at})
  made.update()
  assert math.isnan(made.frames_per_second(10))


def test_table_before_the_first_row(tmp_path):
  text = shown(tmp_path, True)
  assert 'impala catch' in text
  assert 'starting' in text


def test_no_line_before_the_first_row(tmp_path):
  assert shown(tmp_path, False) == ''


def test_table(tmp_path):
  text = shown(tmp_path, True, [{**ROW, **START}, ROW])
  assert '500,000 of 1,000,000 (50%)' in text
  assert '10,000 (10 s)   10,000 (60 s)   10,000 (300 s)' in text
  assert '0:00:50' in text  # 500,000 frames left at 10,000 a second.
  assert '0.25 mean of the last 100 episodes, 9 steps each' in text
  assert '1/2.2/7 learner steps (min/avg/max)' in text
  assert '12 of 32 unrolls' in text
  assert 'busy 75%, waiting for unrolls 25%' in text
  assert 'none yet' in text


def test_line(tmp_path):
  text = shown(tmp_path, False, [{**ROW, **START}, ROW])
  line = text.splitlines()[-1]
  for part in (
    'frames 500,000 (50%) 10,000/s',
    'return 0.25',
    'lag 1/2.2/7',
    'queue 12/32',
    'learner busy 75%',
    'left 0:00:50',
    'evaluation none yet',
  ):
    assert part in line
  assert '\x1b' not in text


def test_lines_come_seldom(tmp_path):
  console = make_console(False)
  with make_status(tmp_path, console) as made:
    for _ in range(5):
      append(tmp_path / 'metrics/learner.csv', ROW)
      made.update()
  # One at the first row, and one at the end.
  assert console.file.getvalue().count(' return ') == 2


@pytest.mark.parametrize('is_terminal', [True, False])
def test_what_is_not_known_yet(tmp_path, is_terminal):
  unknown = {'episode_return': math.nan, 'episode_steps': math.nan}
  text = shown(
    tmp_path, is_terminal, [{**ROW, **unknown, 'queue_size': math.nan}]
  )
  assert 'nan' not in text
  for part in (
    ('? mean of the last 100 episodes, ? steps', '? of 32', '? (10 s)')
    if is_terminal
    else ('return ? lag', 'queue ?/32', '?/s', 'left ?')
  ):
    assert part in text


@pytest.mark.parametrize('is_terminal', [True, False])
def test_an_evaluation(tmp_path, is_terminal):
  text = shown(tmp_path, is_terminal, [ROW], [EVALUATION])
  assert '0.50 +- 0.12 over 10 episodes at frame 250,000' in text


@pytest.mark.parametrize('is_terminal', [True, False])
def test_an_evaluation_of_one_episode(tmp_path, is_terminal):
  single = {**EVALUATION, 'episodes': 1, 'standard_error': math.nan}
  text = shown(tmp_path, is_terminal, [ROW], [single])
  assert '0.50 +- ? over 1 episodes' in text


@pytest.mark.parametrize('is_terminal', [True, False])
def test_crashes_are_told_where_there_are_any(tmp_path, is_terminal):
  assert 'started again' not in shown(tmp_path / 'none', is_terminal, [ROW])
  crashed = {**ROW, 'environment_restarts': 1234}
  text = shown(tmp_path / 'some', is_terminal, [crashed])
  if is_terminal:
    assert '1,234 environments started again' in text
  else:
    assert 'environments started again 1,234 evaluation' in text


@pytest.mark.parametrize('is_terminal', [True, False])
def test_learning_is_over(tmp_path, is_terminal):
  over = {**ROW, 'frames': 1_000_640}
  text = shown(tmp_path, is_terminal, [{**ROW, **START}, over])
  if is_terminal:
    assert '1,000,640 of 1,000,000 (100%)' in text
    assert 'learning is over, the last evaluation runs' in text
  else:
    assert 'left 0:00:00' in text


def write_records(directory, *records):
  """What a monitor would have recorded of a run of our program."""
  program = impala.make_program(flags.resolve({'logdir': str(directory)}))
  text = wiring.make_graph(program).to_json()
  (directory / 'graph.json').write_text(text)
  recorder = recording.Recorder(directory / 'metrics/graph.jsonl')
  for record in records:
    recorder.write(record)


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
def test_warnings_are_shown(tmp_path, is_terminal):
  now = time.time()
  write_records(tmp_path, *stuck_records(now))
  text = shown(tmp_path, is_terminal, [ROW])
  assert text.count('learner/0 has waited [long].') == (2 if is_terminal else 1)
  if is_terminal:
    assert 'The learner waits for data 100% of the time: the actors' in text


def test_what_cannot_be_shown_does_not_end_the_run(tmp_path, monkeypatch):
  made = make_status(tmp_path, make_console(False))
  monkeypatch.setattr(made._run, 'look', lambda: 1 / 0)
  append(tmp_path / 'metrics/learner.csv', ROW)
  made.update()
  assert made.frames_per_second(10) is not None


def test_warnings_are_told_again_when_they_come_again(tmp_path, monkeypatch):
  monkeypatch.setattr(status, '_LOOK_SECONDS', 0.0)
  now, console = time.time(), make_console(False)
  write_records(tmp_path, *stuck_records(now))
  *_, last = stuck_records(now)
  with make_status(tmp_path, console) as made:
    made.update()
    for warnings in ([], last['warnings'], last['warnings']):
      write_records(tmp_path, {**last, 'warnings': warnings})
      made.update()
  assert console.file.getvalue().count('WARNING learner/0') == 2


def test_an_earlier_start_is_not_shown(tmp_path):
  append(tmp_path / 'metrics/learner.csv', ROW)
  append(tmp_path / 'metrics/evaluator.csv', EVALUATION)
  assert shown(tmp_path, False) == ''
  assert 'starting' in shown(tmp_path, True)


def test_a_terminal_gets_its_cursor_back(tmp_path):
  console = make_console(True)
  with pytest.raises(KeyError), make_status(tmp_path, console):
    raise KeyError
  text = console.file.getvalue()
  assert text.count('\x1b[?25l') == text.count('\x1b[?25h') == 1


@pytest.mark.parametrize('is_terminal', [True, False])
def test_the_first_learner_step_is_told_once(tmp_path, is_terminal):
  console = make_console(is_terminal)
  with make_status(tmp_path, console) as made:
    for _ in range(2):
      append(tmp_path / 'metrics/learner.csv', ROW)
      made.update()
  text = console.file.getvalue()
  assert text.count('first learner step 50.0 s after the command') == 1
