"""The command `report`: its page's content, numbers and pictures."""

import contextlib
import csv
import html.parser
import io
import json
import math
import pathlib
import re
import time

import numpy as np
import PIL.Image
import pytest
from run_files import (
  ENDED,
  LEVEL,
  make_records,
  record,
  write_rows,
  write_run,
)

from programs.commands import report, train
from programs.evaluation import results
from programs.runs import preparation, run_config, run_directory
from programs.views import comparison, page_files, reading


def make_run(path, games=(), evaluations=(), ended='finished', **given):
  """A run directory.

  Args:
    path: Of it.
    games: (frames, level, return) of rows of `levels.csv`.
    evaluations: (folder, frames, level -> returns).
    ended: Its kind; None where the run has not said.
    **given: Flags.
  """
  directory = write_run(
    path, ended={**ENDED, 'kind': ended} if ended else None, **given
  )
  for frames, level, episode_return in games:
    write_rows(
      directory.metrics / 'levels.csv',
      {
        'time': 1.0,
        'frames': frames,
        'level_name': level,
        'episode_return': episode_return,
      },
    )
  for folder, frames, returns in evaluations:
    results.write_results(
      directory.evaluations / folder,
      [
        results.LevelResult(level, each, [9] * len(each), 9 * len(each))
        for level, each in returns.items()
      ],
      trained_frames=frames,
      seed=1,
      greedy=False,
    )
  return directory


def run_main(*arguments):
  """`report` in this process; returns its status, output and errors."""
  output, errors = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
    try:
      status = report.main([*map(str, arguments)])
    except SystemExit as end:
      status = end.code
  return status, output.getvalue(), errors.getvalue()


class Page(html.parser.HTMLParser):
  """Its tags, what it refers to, and the content of its scripts."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.links, self.scripts = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    given = dict(attributes)
    self.tags.append(tag)
    self.links += [given[n] for n in ('src', 'href', 'data') if n in given]
    if tag == 'script':
      self.scripts.append('')

  def handle_data(self, data):
    if self.tags[-1:] == ['script']:
      self.scripts[-1] += data


def make_report(*arguments):
  """What the page holds of the runs."""
  status, output, errors = run_main(*arguments)
  assert status == 0, errors
  text = pathlib.Path(output.splitlines()[-1]).read_text(encoding='utf-8')
  return json.loads(Page(text).scripts[0], parse_constant=pytest.fail)


def read(path):
  run = reading.Run(path)
  run.look()
  return run


RISING = [(frames, 'catch', frames / 100) for frames in range(10, 101, 10)]
# Student's t of 2 degrees of freedom is 4.3027; the error is 1 / sqrt(3).
HALF = 4.302653 / math.sqrt(3)


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
  """Three seeds of one kind, one of another: what is said, and where."""
  root = tmp_path_factory.mktemp('compared')
  for seed, shift in ((1, 0.0), (2, 1.0), (3, 2.0)):
    make_run(
      root / f'seed{seed}',
      [(f, level, r + shift) for f, level, r in RISING],
      [
        ('50', 50, {'catch': [shift, shift + 1]}),
        ('100', 100, {'catch': [shift - 1, shift]}),
      ],
      seed=seed,
      watchdog_seconds=seed + 1.0,  # It changes nothing in what is learned.
    )
  make_run(root / 'other', RISING[:5], seed=1, correction='none')
  paths = [root / name for name in ('seed1', 'seed2', 'seed3', 'other')]
  content = make_report(*paths, f'--output={root / "out"}')
  return content, root / 'out'


def test_runs_that_differ_in_their_seed_alone_are_one_group(compared):
  content, _ = compared
  assert [
    (run['name'], run['group'], run['seed'], run['state'])
    for run in content['comparison']['runs']
  ] == [
    *((f'seed{n}', 'correction=vtrace', n, 'finished') for n in (1, 2, 3)),
    ('other', 'correction=none', 1, 'finished'),
  ]
  assert content['comparison']['differing'] == [
    {'name': 'watchdog_seconds', 'values': [2.0, 3.0, 4.0, 60.0]},
    {'name': 'correction', 'values': ['vtrace'] * 3 + ['none']},
    {'name': 'seed', 'values': [1, 2, 3, 1]},
  ]
  assert list(content['runs']) == ['seed1', 'seed2', 'seed3', 'other']
  assert content['runs']['seed2']['state']['']['run']['level'] == 'catch'


def test_scores_of_runs_and_over_seeds(compared):
  content, folder = compared
  found = content['comparison']['scores']
  # The mean of 100 frames is shift - 0.5: over seeds -0.5, 0.5, 1.5.
  last, best, *of_runs = found
  assert (last['evaluation'], last['frames'], last['runs']) == ('last', 100, 3)
  assert last['mean_return'] == pytest.approx(0.5)
  assert last['mean_return_low'] == pytest.approx(0.5 - HALF, rel=1e-6)
  assert last['mean_return_high'] == pytest.approx(0.5 + HALF, rel=1e-6)
  assert (best['evaluation'], best['frames']) == ('best', 50)
  assert best['mean_return'] == pytest.approx(1.5)
  assert [(r['run'], r['evaluation'], r['mean_return']) for r in of_runs] == [
    (f'seed{n}', name, n - 1 + mean)
    for n in (1, 2, 3)
    for name, mean in (('last', -0.5), ('best', 0.5))
  ]
  with open(folder / 'scores.csv', encoding='utf-8') as file:
    rows = [*csv.DictReader(file)]
  assert len(rows) == 8
  assert (rows[0]['run'], rows[0]['runs']) == ('', '3')
  assert float(rows[0]['mean_return_low']) == pytest.approx(0.5 - HALF)


def test_curves_over_seeds(compared):
  content, _ = compared
  several, single = content['comparison']['curves']['catch']
  assert (several['x'][0], several['x'][-1]) == (10, 100)
  # Returns are frames / 100, and one or two more.
  middle = several['x'][100] / 100 + 1
  assert several['y'][100] == pytest.approx(middle)
  assert several['low'][100] == pytest.approx(middle - HALF)
  assert several['high'][100] == pytest.approx(middle + HALF)
  assert len(several['lines']) == 3 and len(several['points']) == 6
  assert 'low' not in single and single['points'] == []


def test_nothing_is_outside_of_the_page(compared):
  _, folder = compared
  assert sorted(path.name for path in folder.iterdir()) == [
    *('curves.png', 'index.html', 'scores.csv')
  ]
  with PIL.Image.open(folder / 'curves.png') as image:
    image.load()
    assert min(image.size) > 300
    assert len(image.convert('RGB').getcolors(1_000_000)) > 20
  text = (folder / 'index.html').read_text()
  page = Page(text)
  assert all(link.startswith(('data:image/', '#')) for link in page.links)
  assert 'link' in page.tags and 'style' in page.tags  # Icon and style.
  assert not re.search(r'url\((?!#)|@import', text)


def test_curves_stop_where_the_shortest_run_stops():
  short = np.array([[10.0, 60.0], [0.0, 1.0]])
  long = np.array([[0.0, 100.0], [0.0, 1.0]])
  curve = comparison._make_curve([short, long])
  assert (curve['x'][0], curve['x'][-1]) == (10, 60)
  assert curve['y'][-1] == pytest.approx((1 + 0.6) / 2)
  assert np.isfinite(curve['low']).all()


def test_levels_of_other_runs_and_human_scores(tmp_path):
  make_run(tmp_path / 'a', RISING, [('100', 100, {'catch': [1.0]})])
  names = 'atari_pong,atari_breakout'
  human = {'atari_pong': [14.6, 14.6], 'atari_breakout': [1.7, 1.7]}
  games = [(f, name, 1.7 + f) for f in (10, 20) for name in human]
  evaluations = [
    ('20', 20, human),
    ('20_4episodes', 20, {'atari_pong': [-20.7]}),
  ]
  make_run(tmp_path / 'b', games, evaluations, level_name=names)
  content = make_report(
    tmp_path / 'a', tmp_path / 'b', f'--output={tmp_path}/c'
  )['comparison']
  assert content['groups'] == ['catch', names]
  assert list(content['curves']) == ['catch', 'atari_pong', 'atari_breakout']
  found = {
    (row['run'], row['level_name'], row['evaluation']): row['human_normalised']
    for row in content['scores']
  }
  assert found['a', 'catch', 'last'] is None
  assert found['b', 'atari_pong', 'last'] == pytest.approx(100)
  assert found['b', 'atari_breakout', 'best'] == pytest.approx(0)
  # The median of 0 and 100.
  assert found['b', 'all 2 levels', 'last'] == pytest.approx(50)
  assert found['b', 'atari_pong', '20_4episodes'] == pytest.approx(0)
  assert len(found) == 9


def test_a_suite_has_its_median_and_its_test_levels(tmp_path):
  level = 'rooms_collect_good_objects_train'
  directory = make_run(
    tmp_path / 'run',
    [(30, level, 4.0)],
    [('30', 30, {'rooms_collect_good_objects_test': [10.0]})],
    level_name='dmlab30',
    num_actors=30,
  )
  (directory.metrics / 'dmlab30.csv').write_text(
    'frames,time,training_median\n10,1,5\n20,2,nan\n30,3,15\n'
  )
  curves = comparison.make_curves({'a': ['x']}, {'x': read(directory.path)})
  assert list(curves) == ['dmlab30, median human %', level]
  (median,), (trained,) = curves.values()
  assert (median['y'][0], median['y'][-1]) == (5, 15)
  assert trained['points'] == [[30, 10.0, None, None]]


def test_text_of_a_run_ends_no_element(tmp_path):
  name = '</script><script>alert(1)</script>'
  directory = make_run(tmp_path / name.replace('/', '\N{FRACTION SLASH}'))
  directory.update_meta(host=name)
  write_rows(directory.metrics / 'levels.csv', {**LEVEL, 'level_name': name})
  content = make_report(directory.path, f'--output={tmp_path}/out')
  (run,) = content['runs'].values()
  facts = {each['name']: each['value'] for each in run['configuration']['']}
  assert facts['host'] == name
  page = Page((tmp_path / 'out/index.html').read_text())
  assert not any('alert(1)' in script for script in page.scripts[1:])


def test_an_older_run(tmp_path):
  """Without levels, fields, monitor, meta; what is there is damaged."""
  directory = run_directory.RunDirectory(tmp_path / 'run')
  run_directory.write_json(
    directory.config_file, {'agent': {'seed': 4, 'gone': 1}}
  )
  run_directory.write_text(
    directory.metrics / 'learner.csv',
    'episode_return,frames\nnan,1\n0.5,2\nx,y\n1,2,3\n1.0,4\n',
  )
  content = make_report(directory.path)['comparison']
  assert content['runs'][0]['seed'] == 4
  assert 'nothing was recorded' in content['runs'][0]['verdict']
  ((curve,),) = content['curves'].values()
  assert curve['lines'] == [{'x': [2, 4], 'y': [0.5, 1.0]}]


def test_the_verdict_and_what_was_recorded(tmp_path):
  directory = make_run(tmp_path / 'run', RISING, num_actors=2)
  record(directory.path, make_records(time.time() - 100, num_actors=2))
  run_directory.write_text(
    directory.logs / 'actor_1.log', 'begin\n' + 'x' * 5000 + '\nend'
  )
  # Named twice, it is one run all the same.
  status, output, _ = run_main(directory.path, directory.path)
  verdict, path = output.splitlines()
  assert status == 0
  assert verdict.startswith('The learner waits for data 80% of the time')
  page = Page(pathlib.Path(path).read_text())
  run = json.loads(page.scripts[0])['runs']['run']
  assert run['state']['']['verdict']['sentence'] == verdict
  assert run['state']['']['edges']['actor insert queue'] == 40
  assert run['log']['actor/1']['text'] == 'end'
  assert '<svg' in run['graph']['']['svg']
  assert run['curves']['catch']['returns']['x'][0] == 10


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
  run_directory.write_text(tmp_path / 'damaged/config.json', '{')
  monkeypatch.chdir(tmp_path)
  before = sorted(tmp_path.rglob('*'))
  status, _, errors = run_main(*arguments)
  assert status == 2
  sentence = errors.splitlines()[-1]
  assert all(word in sentence for word in words), sentence
  assert sorted(tmp_path.rglob('*')) == before


def test_names_tell_runs_apart():
  def names(*paths):
    return comparison.names([pathlib.Path(path) for path in paths])

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

  monkeypatch.setattr(page_files, 'make_one', fail)
  with pytest.raises(KeyboardInterrupt):
    run_main(tmp_path / 'run')
  assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_failure_does_not_change_how_training_ended(
  tmp_path, monkeypatch, capsys
):
  directory = make_run(tmp_path / 'run', RISING)
  configuration = run_config.Configuration.from_dict(directory.read_config())

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

    monkeypatch.setattr('programs.views.report.write', fail)
    assert train.main([f'--logdir={directory.path}']) == 0
    output = capsys.readouterr().out
    assert type(error).__name__ in output
    assert f'try ./impala report {directory.path}' in output
