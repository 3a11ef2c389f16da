"""The command `report`: its page, numbers and pictures.

Most run directories are written here, by what writes those of real runs.
"""

import base64
import contextlib
import csv
import html.parser
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest

from agents.impala import metrics
from programs import (
  flags,
  impala,
  metric_files,
  preparation,
  report,
  results,
  runs,
  train,
)
from programs.inspection import evaluations, recording, wiring
from programs.reports import comparisons, curves, histories, rows

ROOT = pathlib.Path(__file__).absolute().parent.parent


class Page(html.parser.HTMLParser):
  """Tables as lists of rows of text; pictures; text; what is referred to."""

  def __init__(self, path):
    super().__init__()
    self.tables, self.images, self.links, self.tags = [], [], [], []
    self._texts = []
    self._cell = None
    self.feed(path.read_text(encoding='utf-8'))
    self.text = ''.join(self._texts)

  def handle_starttag(self, tag, attributes):
    given = dict(attributes)
    self.tags.append(tag)
    self.links += [given[n] for n in ('src', 'href', 'data') if n in given]
    if tag == 'table':
      self.tables.append([])
    elif tag == 'tr':
      self.tables[-1].append([])
    elif tag in ('td', 'th'):
      self._cell = []
    elif tag == 'img':
      self.images.append((given['alt'], given['src']))

  def handle_endtag(self, tag):
    if tag in ('td', 'th'):
      self.tables[-1][-1].append(''.join(self._cell))
      self._cell = None

  def handle_data(self, text):
    self._texts.append(text)
    if self._cell is not None:
      self._cell.append(text)

  def table(self, *headings):
    """The rows of the first table that begins with these headings."""
    found = [t for t in self.tables if t[0][: len(headings)] == [*headings]]
    return found[0][1:]


def make_run(path, games=(), evaluations=(), ended='finished', **given):
  """A run directory.

  Args:
    path: Of it.
    games: (frames, level, return) of rows of `levels.csv`, several in a start.
    evaluations: (frames, level -> returns).
    ended: Its kind; None where the run has not said.
    **given: Flags.
  """
  configuration = flags.resolve({**given, 'logdir': str(path)})
  directory = configuration.directory
  directory.write_config(configuration)
  names = configuration.run.level_name.split(',')
  level_metrics = metric_files.LevelMetrics(
    flags.resolve({**given, 'logdir': str(path), 'log_period_seconds': 1e-9})
  )
  for frames, level, episode_return in games:
    level_metrics.add(
      frames,
      metrics.Games(
        np.array([names.index(level)], np.int32),
        np.array([episode_return], np.float32),
        np.array([9], np.int32),
      ),
    )
  level_metrics.close()
  for frames, returns in evaluations:
    results.write_results(
      directory.evaluations / str(frames),
      [
        results.LevelResult(level, each, [9] * len(each), 9 * len(each))
        for level, each in returns.items()
      ],
      trained_frames=frames if isinstance(frames, int) else int(frames[:3]),
      seed=1,
      greedy=False,
    )
  end = {'kind': ended, 'exit_status': 0, 'description': f'{ended}: so it is'}
  directory.update_meta(
    command_line=['python', '-m', 'programs.train', '--level_name=a b'],
    started='2020-01-01T00:00:00+00:00',
    ended=end if ended else None,
    git_revision='0123abc+',
    host='somewhere',
    versions={'numpy': '1.2.3'},
  )
  return directory


def write_learner(directory, *lines):
  """`learner.csv` of (frames, learner steps, steps a second, loss)."""
  directory.metrics.mkdir(parents=True, exist_ok=True)
  names = 'frames,learner_steps,learner_steps_per_second,loss,policy_lag_mean,'
  text = ''.join(f'{",".join(map(str, line))},1.5,0.5\n' for line in lines)
  (directory.metrics / 'learner.csv').write_text(f'{names}entropy\n{text}')


def run_main(*arguments):
  """`report` in this process; returns its status, output and errors."""
  output, errors = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
    try:
      status = report.main([*map(str, arguments)])
    except SystemExit as end:
      status = end.code
  return status, output.getvalue(), errors.getvalue()


def make_report(*arguments):
  status, output, errors = run_main(*arguments)
  assert status == 0, errors
  return Page(pathlib.Path(output.splitlines()[-1]))


RISING = [(frames, 'catch', frames / 100) for frames in range(10, 101, 10)]


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
  """Three seeds of one kind, one of another; the page and where it is."""
  root = tmp_path_factory.mktemp('compared')
  for seed, shift in ((1, 0.0), (2, 1.0), (3, 2.0)):
    make_run(
      root / f'seed{seed}',
      [(f, level, r + shift) for f, level, r in RISING],
      [
        (50, {'catch': [shift, shift + 1]}),
        (100, {'catch': [shift - 1, shift]}),
      ],
      seed=seed,
      watchdog_seconds=seed + 1.0,  # It changes nothing in what is learned.
    )
  make_run(root / 'other', RISING[:5], seed=1, correction='none')
  paths = [root / name for name in ('seed1', 'seed2', 'seed3', 'other')]
  page = make_report(*paths, f'--output={root / "out"}')
  return page, root / 'out', paths


def test_runs_that_differ_in_their_seed_alone_are_one_group(compared):
  page, _, _ = compared
  assert page.table('run', 'group', 'seed') == [
    [f'seed{n}', 'correction=vtrace', str(n), 'finished', '0 of 500,000']
    for n in (1, 2, 3)
  ] + [['other', 'correction=none', '1', 'finished', '0 of 500,000']]
  assert page.table('field', 'seed1', 'seed2', 'seed3', 'other')[:3] == [
    ['watchdog_seconds', '2.0', '3.0', '4.0', '60.0'],
    ['correction', 'vtrace', 'vtrace', 'vtrace', 'none'],
    ['seed', '1', '2', '3', '1'],
  ]


def test_scores_of_runs_and_over_seeds(compared):
  page, folder, _ = compared
  content = json.loads((folder / 'scores.json').read_text())
  # The mean of 100 frames is shift - 0.5: over seeds -0.5, 0.5, 1.5. Student's
  # t of 2 degrees of freedom is 4.3027, the standard error 1 / sqrt(3).
  last, best = content['groups']
  half = 4.302653 / math.sqrt(3)
  assert (last['evaluation'], last['frames'], last['runs']) == ('last', 100, 3)
  assert last['mean_return'] == pytest.approx(0.5)
  assert last['mean_return_low'] == pytest.approx(0.5 - half, rel=1e-6)
  assert last['mean_return_high'] == pytest.approx(0.5 + half, rel=1e-6)
  assert (best['evaluation'], best['frames']) == ('best', 50)
  assert best['mean_return'] == pytest.approx(1.5)
  assert [
    (r['run'], r['evaluation'], r['mean_return']) for r in content['runs']
  ] == [
    (f'seed{n}', name, n - 1 + mean)
    for n in (1, 2, 3)
    for name, mean in (('last', -0.5), ('best', 0.5))
  ]
  cells = ['catch', 'last', '100', '6', '0.50', '-1.98 to 2.98']
  assert page.table('runs', 'level')[0] == [
    'correction=vtrace, 3 runs',
    *cells,
  ]
  assert page.table('run', 'level')[0][:6] == [
    *('seed1', 'catch', 'last', '100', '2', '-0.50'),
  ]
  markdown = (folder / 'scores.md').read_text()
  assert f'| correction=vtrace, 3 runs | {" | ".join(cells)} |' in markdown
  with open(folder / 'scores.csv', encoding='utf-8') as file:
    found = [*csv.DictReader(file)]
  assert len(found) == 8
  assert (found[0]['run'], found[0]['runs']) == ('', '3')
  assert float(found[0]['mean_return_low']) == pytest.approx(0.5 - half)


def test_curves_over_seeds(compared):
  _, _, paths = compared
  found = [histories.read(runs.RunDirectory(path), path.name) for path in paths]
  (each,) = curves.make_curves(comparisons.groups(found)).values()
  several, single = each
  assert (several.grid[0], several.grid[-1]) == (10, 100)
  # Returns are frames / 100, and one or two more.
  middle = several.grid[100]
  assert several.mean[100] == pytest.approx(middle / 100 + 1)
  half = 4.302653 / math.sqrt(3)
  assert several.low[100] == pytest.approx(middle / 100 + 1 - half)
  assert several.high[100] == pytest.approx(middle / 100 + 1 + half)
  assert single.low is None
  assert [p.mean_return for p in several.lines[0].evaluations] == [0.5, -0.5]
  assert single.lines[0].evaluations == []


def test_pictures_are_images_and_nothing_is_outside_of_the_page(compared):
  page, folder, _ = compared
  assert sorted(path.name for path in folder.iterdir()) == [
    'report.html',
    'returns.png',
    'scores.csv',
    'scores.json',
    'scores.md',
    'training.png',
  ]
  for name in ('returns.png', 'training.png'):
    with PIL.Image.open(folder / name) as image:
      image.load()
      assert min(image.size) > 300
      assert len(image.convert('RGB').getcolors(1_000_000)) > 20
  assert [alt for alt, _ in page.images] == ['Returns', 'Learning']
  assert page.links
  assert all(link.startswith('data:image/') for link in page.links)
  text = (folder / 'report.html').read_text()
  assert 'url(' not in text and '@import' not in text
  assert not {'script', 'link', 'iframe', 'object'} & set(page.tags)


def test_curves_stop_where_the_shortest_run_stops():
  short = np.array([[10.0, 60.0], [0.0, 1.0], [1.0, 1.0]])
  long = np.array([[0.0, 100.0], [0.0, 1.0], [1.0, 1.0]])
  nothing = np.zeros((3, 0))
  curve = curves._make_curve('a', [short, long, nothing])
  assert (curve.grid[0], curve.grid[-1]) == (10, 60)
  assert curve.mean[-1] == pytest.approx((1 + 0.6) / 2)
  assert np.isfinite(curve.low).all()
  empty = curves._make_curve('a', [nothing])
  assert empty.grid.size == empty.mean.size == 0


def test_smoothing_weighs_games():
  columns = np.array([[1, 2, 3, 90.0], [0, 0, 4, 8.0], [1, 1, 2, 1.0]])
  smoothed = curves.smooth(columns, np.array([2.0, 3.0, 46.5]), 2.0)
  # Three rows lie around 2: (0 + 0 + 2 x 4) / 4; elsewhere it interpolates.
  assert smoothed.tolist() == [2.0, 4.0, 6.0]


def test_speed_is_of_learning_and_not_of_the_time_between_starts():
  def row(frames, steps, rate, time_):
    return {
      'frames': float(frames),
      'learner_steps': float(steps),
      'learner_steps_per_second': float(rate),
      'time': float(time_),
    }

  minutes, speeds = curves.speeds(
    [
      row(600, 60, 1, 0),
      row(1200, 120, 2, 30),
      row(900, 90, 1, 90_000),  # A day later, at an earlier checkpoint.
      row(1500, 150, 1, 90_060),
      row(1500, 150, 3, 180_000),  # As many steps again.
      {**row(1, 1, 1, 1), 'learner_steps_per_second': math.nan},
    ]
  )
  assert speeds.tolist() == [10, 20, 10, 10, 30]
  assert minutes.tolist() == [1, 1.5, 1.5, 2.5, 2.5]


def test_frames_that_go_back_are_drawn_once(tmp_path):
  """A crash at 50 goes on at 20; its last row is half, as is the newest."""
  directory = make_run(tmp_path / 'run', RISING[:5])
  again = [(frames, 'catch', 7.0) for frames in (30, 40, 60)]
  path = directory.metrics / 'levels.csv'
  path.write_text(path.read_text() + '9.0,0.')  # It died while it wrote.
  make_run(tmp_path / 'again', again)
  lines = (tmp_path / 'again/metrics/levels.csv').read_text().splitlines()
  with open(path, 'a') as file:
    # The first one is behind what the crash left.
    file.write('\n'.join(['', *lines[1:], '9.0,99.0,1,60,catch,1']))
  found = histories.read(directory, 'run')
  (level,) = found.levels.values()
  assert [(row['frames'], row['episode_return']) for row in level] == [
    (10, pytest.approx(0.1)),
    (20, pytest.approx(0.2)),
    (30, 7),
    (40, 7),
    (60, 7),
  ]
  write_learner(
    directory, (10, 1, 1, 1), (50, 5, 1, 'nan'), (30, 3, 1, 2), (60, 6, 1, 2)
  )
  page = make_report(directory.path)
  assert page.table('run', 'group')[0][-1] == '60 of 500,000'


def test_the_same_frames_again_replace_the_row():
  found = rows.ascending(
    [
      {'frames': 1.0, 'level_name': 'a', 'x': 1},
      {'frames': 1.0, 'level_name': 'b', 'x': 2},
      {'frames': 1.0, 'level_name': 'a', 'x': 3},
    ]
  )
  assert [(row['level_name'], row['x']) for row in found] == [
    ('a', 3),
    ('b', 2),
  ]


def test_levels_of_other_runs_and_human_scores(tmp_path):
  make_run(tmp_path / 'a', RISING, [(100, {'catch': [1.0]})])
  games = [
    (frames, name, 1.7 + frames)
    for frames in (10, 20)
    for name in ('atari_breakout', 'atari_pong')
  ]
  names = 'atari_pong,atari_breakout'
  human = {'atari_pong': [14.6, 14.6], 'atari_breakout': [1.7, 1.7]}
  make_run(
    tmp_path / 'b',
    games,
    [(20, human), ('020_4episodes', {'atari_pong': [-20.7]})],
    level_name=names,
  )
  page = make_report(tmp_path / 'a', tmp_path / 'b', f'--output={tmp_path}/c')
  groups = [row[1] for row in page.table('run', 'group')]
  assert groups == ['catch', names]
  scores = {tuple(row[:3]): row[3:] for row in page.table('run', 'level')}
  assert scores['a', 'catch', 'last'] == ['100', '1', '1.00', '', '']
  wide = '14.60 to 14.60'
  assert scores['b', 'atari_pong', 'last'][2:] == ['14.60', wide, '100.0']
  assert scores['b', 'atari_breakout', 'best'][-1] == '0.0'
  # The median of 0 and 100.
  assert scores['b', 'all 2 levels', 'last'][-1] == '50.0'
  assert scores['b', 'atari_pong', '020_4episodes'][-1] == '0.0'
  assert len(scores) == 9


def test_a_suite_has_its_median_and_its_test_levels(tmp_path):
  directory = make_run(
    tmp_path / 'run',
    evaluations=[(30, {'rooms_collect_good_objects_test': [10.0]})],
    level_name='dmlab30',
    num_actors=30,
  )
  (directory.metrics / 'dmlab30.csv').write_text(
    'frames,time,training_median\n10,1,5\n20,2,nan\n30,3,15\n'
  )
  found = histories.read(directory, 'run')
  drawn = curves.make_curves(comparisons.groups([found]))
  assert len(drawn) == 31
  (median,) = drawn['dmlab30, median human %']
  assert (median.mean[0], median.mean[-1]) == (5, 15)
  (trained,) = drawn['rooms_collect_good_objects_train']
  (point,) = trained.lines[0].evaluations
  assert (point.frames, point.mean_return, point.low) == (30, 10.0, None)


def test_text_is_escaped(tmp_path):
  name = '<b>&"x"'
  directory = make_run(tmp_path / name, RISING, [(100, {'catch': [1.0]})])
  directory.update_meta(host='<script>alert(1)</script>')
  page = make_report(directory.path)
  assert page.table('run', 'group')[0][0] == name
  assert not {'b', 'script'} & set(page.tags)
  facts = dict(page.table('', name))
  assert facts['host'] == '<script>alert(1)</script>'
  assert facts['command line'] == "python -m programs.train '--level_name=a b'"
  assert facts['commit'] == '0123abc+'
  assert facts['numpy'] == '1.2.3'


@pytest.mark.parametrize(
  ('ended', 'is_locked', 'state', 'told'),
  [
    ('interrupted', False, 'interrupted', 'interrupted: so it is'),
    (None, True, 'running', 'still running'),
    (None, False, 'lost', 'without a word'),
  ],
)
def test_runs_that_did_not_finish(tmp_path, ended, is_locked, state, told):
  """Nothing was written yet but the configuration."""
  directory = make_run(tmp_path / 'run', ended=ended)
  with contextlib.ExitStack() as stack:
    if is_locked:
      stack.enter_context(directory.locked())
    page = make_report(directory.path)
  assert page.table('run', 'group') == [
    ['run', 'catch', '1', state, '0 of 500,000']
  ]
  assert told in dict(page.table('', 'run'))['how it ended']
  assert 'Nothing was evaluated yet.' in page.text
  assert 'nothing was recorded' in page.text


def test_an_older_run(tmp_path):
  """Without rows by level, fields, monitor, meta; what is there is damaged."""
  directory = runs.RunDirectory(tmp_path / 'run')
  runs.write_json(directory.config_file, {'agent': {'seed': 4, 'gone': 1}})
  runs.write_text(
    directory.metrics / 'learner.csv',
    'episode_return,frames\nnan,1\n0.5,2\nx,y\n1,2,3\n1.0,4\n',
  )
  runs.write_text(directory.path / 'graph.json', '{"name": 1')
  runs.write_text(directory.evaluations / '4/results.json', '{"levels": [')
  page = make_report(directory.path)
  assert dict(page.table('field', 'run'))['gone'] == '1'
  assert dict(page.table('field', 'run'))['seed'] == '4'
  (level,) = histories.read(directory, 'run').levels.values()
  columns = curves._columns(level, 'episode_return')
  assert columns.tolist() == [[2, 4], [0.5, 1.0], [1, 1]]


def record(time_):
  """A record of the monitor, of two actors that differ and a learner."""
  node = {
    'activity': 'environment',
    'activity_seconds': 0.1,
    'calls': {'environment': 10 * time_, 'fetching_variables': 2 * time_},
    'kinds': {'environment': 'busy', 'waiting_for_data': 'waiting'},
    'counts': {'unrolls': 5 * time_},
    'host': 'somewhere',
    'age_seconds': 0.1,
  }
  waits = {'waiting_for_data': 0.75 * time_, 'learner_step': 0.25 * time_}
  return {
    'time': time_,
    'start': 0.0,
    'nodes': {
      'actor/0': {**node, 'seconds': {'environment': time_}},
      'actor/1': {
        **node,
        'seconds': {'environment': 0.5 * time_, 'forward_pass': 0.5 * time_},
      },
      'learner/0': {
        **node,
        'calls': {'waiting_for_data': 9},
        'counts': {},
        'seconds': waits,
      },
    },
    'tables': {
      'queue': {
        'size': 1,
        'capacity': 2,
        'insert_headroom': 1.0,
        'inserts': 30 * time_,
        'samples': 20 * time_,
        'waiting_for_samples_seconds': 0.0,
        'waiting_for_inserts_seconds': 0.0,
      }
    },
    'processes': {
      f'actor/{n}': {'cpu_seconds': (n + 1) * 0.25 * time_, 'rss_bytes': 10**8}
      for n in (0, 1)
    },
    'machine': {'cores': 4, 'busy_seconds': time_, 'total_seconds': 4 * time_},
    'warnings': [],
  }


def test_the_graph_and_the_figures_of_what_was_recorded(tmp_path):
  directory = make_run(tmp_path / 'run', RISING, num_actors=2)
  configuration = flags.resolve(
    {'logdir': str(directory.path), 'num_actors': 2}
  )
  graph = wiring.make_graph(impala.make_program(configuration))
  runs.write_text(directory.path / 'graph.json', graph.to_json())
  recorder = recording.Recorder(directory.metrics / 'graph.jsonl')
  for time_ in (0.0, 4.0, 10.0):
    recorder.write(record(time_))
  with open(directory.metrics / 'graph.jsonl', 'a') as file:
    file.write('{"time": 11.0, "sta')
  status, output, _ = run_main(directory.path)
  verdict, path = output.splitlines()
  assert status == 0
  assert verdict.startswith(
    'The learner waits for data 75% of the time: the actors are the bottleneck'
  )
  page = Page(pathlib.Path(path))
  assert verdict in page.text
  assert '<details open>' in pathlib.Path(path).read_text()
  activities = {tuple(r[:2]): r[2:] for r in page.table('role', 'activity')}
  assert activities['actor', 'environment'] == [
    '50.0 / 75.0 / 100 %',
    '50.0 / 75.0 / 100',  # 10 calls in each second.
    '10.0',
  ]
  assert activities['learner', 'waiting for data'] == ['75.0 %', '', '']
  processes = {row[0]: row[1:] for row in page.table('role', 'nodes')}
  assert processes['actor'][:3] == ['2', '0.25 / 0.38 / 0.50', '100']
  assert 'unrolls 5.00' in processes['actor'][3]
  ((_, source),) = [image for image in page.images if 'nodes' in image[0]]
  svg = base64.b64decode(source.partition(',')[2]).decode()
  assert svg.startswith('<svg')
  assert 'insert 30.0/s' in svg and 'sample 20.0/s' in svg
  assert 'variables 4.00/s' in svg  # Two actors, twice a second each.
  assert 'waiting 75%' in svg


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['nowhere'], ('nowhere is no run directory', 'config.json')),
    (['run', 'nowhere', '--output=out'], ('nowhere is no run directory',)),
    (['run', 'run2'], ('output must be given', '2 runs')),
    (['run', '--output=run/config.json'], ('output must be a directory',)),
    (['damaged'], ('config.json is damaged',)),
    ([], ('required: RUN',)),
  ],
  ids=str,
)
def test_what_is_refused(tmp_path, monkeypatch, arguments, words):
  make_run(tmp_path / 'run')
  make_run(tmp_path / 'run2')
  runs.write_text(tmp_path / 'damaged/config.json', '{')
  monkeypatch.chdir(tmp_path)
  before = sorted(tmp_path.rglob('*'))
  status, _, errors = run_main(*arguments)
  assert status == 2
  sentence = errors.splitlines()[-1]
  assert all(word in sentence for word in words), sentence
  assert sorted(tmp_path.rglob('*')) == before


def test_one_run_named_twice_is_one_run(tmp_path, monkeypatch):
  make_run(tmp_path / 'run', RISING)
  monkeypatch.chdir(tmp_path)
  page = make_report('run', tmp_path / 'run')
  assert len(page.table('run', 'group')) == 1
  assert (tmp_path / 'run/report/report.html').exists()


def test_two_seeds_are_enough_for_an_interval(tmp_path):
  for seed in (1, 2):
    evaluations = [(100, {'catch': [seed * 1.0]})]
    make_run(tmp_path / f'seed{seed}', RISING, evaluations, seed=seed)
  page = make_report(
    tmp_path / 'seed1', tmp_path / 'seed2', f'--output={tmp_path}/out'
  )
  # Student's t of one degree of freedom is 12.706; the error is a half.
  assert page.table('runs', 'level')[0] == [
    'catch, 2 runs',
    *('catch', 'last', '100', '2', '1.50', '-4.85 to 7.85'),
  ]
  assert '<details open>' not in (tmp_path / 'out/report.html').read_text()


def test_names_tell_runs_apart():
  def names(*paths):
    return comparisons.names([pathlib.Path(path) for path in paths])

  assert names('/a/x', '/b/y') == ['x', 'y']
  assert names('/r/a/run', '/r/b/run') == ['a/run', 'b/run']
  assert names('/r/run', '/r/b/run') == ['run', 'b/run']


def test_what_fails_leaves_the_old_report(tmp_path, monkeypatch):
  make_run(tmp_path / 'run', RISING)
  make_report(tmp_path / 'run')
  folder = tmp_path / 'run/report'
  before = {path: path.read_bytes() for path in folder.iterdir()}

  def fail(*arguments):
    raise KeyboardInterrupt

  monkeypatch.setattr(report.pages, 'make_page', fail)
  with pytest.raises(KeyboardInterrupt):
    run_main(tmp_path / 'run')
  assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_it_tells_what_takes_long(tmp_path, monkeypatch):
  make_run(tmp_path / 'run', RISING)
  monkeypatch.setattr(report, '_PATIENCE_SECONDS', 0.0)
  _, _, errors = run_main(tmp_path / 'run')
  assert f'reading {tmp_path / "run"}' in errors
  assert 'drawing the curves of 1 levels' in errors
  monkeypatch.setattr(report, '_PATIENCE_SECONDS', 60.0)
  assert run_main(tmp_path / 'run')[2] == ''


def test_a_failure_does_not_change_how_training_ended(
  tmp_path, monkeypatch, capsys
):
  directory = make_run(tmp_path / 'run', RISING)
  configuration = flags.resolve({'logdir': str(directory.path)})

  @contextlib.contextmanager
  def prepared(*arguments):
    yield configuration

  monkeypatch.setattr(preparation, 'prepared', prepared)
  monkeypatch.setattr(preparation, 'is_finished', lambda _: False)
  end = {'kind': 'finished', 'exit_status': 0}
  monkeypatch.setattr(train, '_train', lambda *arguments: end)
  for error in (MemoryError('none left'), KeyboardInterrupt()):

    def fail(*arguments, error=error):
      raise error

    monkeypatch.setattr(report, 'write', fail)
    assert train.main([f'--logdir={directory.path}']) == 0
    output = capsys.readouterr().out
    assert type(error).__name__ in output
    assert f'try ./impala report {directory.path}' in output
    assert 'report.html' not in output


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A real run, and what it said."""
  directory = tmp_path_factory.mktemp('trained') / 'run'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'programs.train', f'--logdir={directory}'),
      '--lp_launch_type=local_mt',
      '--total_environment_frames=20_000',
      '--num_actors=1',
      '--log_period_seconds=0.2',
      '--evaluation_period_frames=10_000',
      '--test_num_episodes=3',
    ],
    capture_output=True,
    text=True,
    timeout=200,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return runs.RunDirectory(directory), done.stdout


def test_training_ends_with_its_report(trained):
  directory, output = trained
  path = directory.path / 'report/report.html'
  assert f'report       {path.parent}' in output.splitlines()
  page = Page(path)
  ((name, level, seed, state, frames),) = page.table('run', 'group')
  assert (name, level, seed, state) == ('run', 'catch', '1', 'finished')
  assert frames.endswith(' of 20,000')
  last = page.table('run', 'level')[0]
  assert last[1:3] == ['catch', 'last']
  assert last[3] == f'{directory.finished_frames:,}'
  history = histories.read(directory, 'run')
  assert history.figures is not None
  if history.verdict:
    assert history.verdict.sentence in output
    assert history.verdict.sentence in page.text
  assert {row[0] for row in page.table('role', 'nodes')} == {
    *('queue', 'monitor', 'learner', 'actor', 'evaluator')
  }
  facts = dict(page.table('', 'run'))
  assert facts['exit status'] == '0'
  assert 'programs.train' in facts['command line']


def test_a_report_takes_a_moment(trained):
  directory, _ = trained
  begin = time.monotonic()
  assert run_main(directory.path)[0] == 0
  assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
  'text',
  [
    '[]',
    '{"trained_frames": 1, "levels": 1, "summary": {}}',
    '{"trained_frames": 1, "summary": {"mean_return": 1, "episodes": 1}, '
    '"levels": [{"episodes": 1, "mean_return": null}]}',
    '{"trained_frames": 1, "summary": {}, "levels": []}',
    '{',
  ],
)
def test_results_of_somebody_else_are_passed_over(tmp_path, text):
  path = tmp_path / 'results.json'
  path.write_text(text)
  assert evaluations.read_results(path) is None
  assert evaluations.read_results(tmp_path) is None
