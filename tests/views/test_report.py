"""The command `report`: its files, its page, and what it refuses."""

import contextlib
import html.parser
import io
import json
import pathlib
import re
import time

import PIL.Image
import pytest
from run_files import (
  LEVEL,
  make_records,
  record,
  write_csv,
  write_results_run,
)

from programs.commands import report, train
from programs.runs import preparation, run_config, run_directory
from programs.views import report as views_report


def run_main(*arguments):
  """Run `report` in this process; returns status, output and errors."""
  output, errors = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
    try:
      status = report.main([*map(str, arguments)])
    except SystemExit as end:
      status = end.code
  return status, output.getvalue(), errors.getvalue()


class Page(html.parser.HTMLParser):
  """The tags, links and scripts of a page."""

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
  """Write a report; returns the data in its page."""
  status, output, errors = run_main(*arguments)
  assert status == 0, errors
  text = pathlib.Path(output.splitlines()[-1]).read_text(encoding='utf-8')
  return json.loads(Page(text).scripts[0], parse_constant=pytest.fail)


RISING = [(frames, 'catch', frames / 100) for frames in range(10, 101, 10)]


def test_the_page_needs_no_other_file(tmp_path):
  for name in ('one', 'two'):
    write_results_run(tmp_path / name, RISING, [('9', 9, {'catch': [1.0]})])
  folder = tmp_path / 'out'
  content = make_report(
    tmp_path / 'one', tmp_path / 'two', f'--output={folder}'
  )
  assert list(content['runs']) == ['one', 'two']
  assert content['runs']['two']['state']['']['run']['level'] == 'catch'
  assert len(content['comparison']['scores']) == 6
  assert len((folder / 'scores.csv').read_text().splitlines()) == 7
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


def test_text_of_a_run_is_escaped(tmp_path):
  name = '</script><script>alert(1)</script>'
  directory = write_results_run(
    tmp_path / name.replace('/', '\N{FRACTION SLASH}')
  )
  directory.update_meta(host=name)
  write_csv(directory.metrics / 'levels.csv', {**LEVEL, 'level_name': name})
  content = make_report(directory.path, f'--output={tmp_path}/out')
  (run,) = content['runs'].values()
  facts = {each['name']: each['value'] for each in run['configuration']['']}
  assert facts['host'] == name
  page = Page((tmp_path / 'out/index.html').read_text())
  assert not any('alert(1)' in script for script in page.scripts[1:])


def test_an_older_run(tmp_path):
  """Report a damaged run without levels, fields, monitor and meta."""
  directory = run_directory.RunDirectory(tmp_path / 'run')
  run_directory.write_json(
    directory.config_file, {'agent': {'seed': 4, 'gone': 1}}
  )
  # Before its first episode ends.
  assert make_report(directory.path)['comparison']['curves'] == {}
  run_directory.write_text(
    directory.metrics / 'learner.csv',
    'episode_return,frames\nnan,1\n0.5,2\nx,y\n1,2,3\n1.0,4\n',
  )
  content = make_report(directory.path)['comparison']
  assert content['runs'][0]['seed'] == 4
  assert '--monitor' in content['runs'][0]['verdict']
  ((curve,),) = content['curves'].values()
  assert curve['lines'] == [{'x': [2, 4], 'y': [0.5, 1.0]}]


def test_the_verdict_and_what_was_recorded(tmp_path):
  directory = write_results_run(tmp_path / 'run', RISING, num_actors=2)
  record(directory.path, make_records(time.time() - 100, num_actors=2))
  run_directory.write_text(
    directory.logs / 'actor_1.log', 'begin\n' + 'x' * 5000 + '\nend'
  )
  # Naming a run twice makes no difference.
  status, output, _ = run_main(directory.path, directory.path)
  verdict, path = output.splitlines()
  assert status == 0
  assert 'waits for data 80%' in verdict
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
    (['run', '--output=run/config.json'], ('output must be',)),
    (['damaged'], ('config.json is damaged',)),
    ([], ('required: RUN',)),
  ],
  ids=str,
)
def test_what_is_refused(tmp_path, monkeypatch, arguments, words):
  write_results_run(tmp_path / 'run')
  write_results_run(tmp_path / 'run2')
  run_directory.write_text(tmp_path / 'damaged/config.json', '{')
  monkeypatch.chdir(tmp_path)
  before = sorted(tmp_path.rglob('*'))
  status, _, errors = run_main(*arguments)
  assert status == 2
  sentence = errors.splitlines()[-1]
  assert all(word in sentence for word in words), sentence
  assert sorted(tmp_path.rglob('*')) == before


def test_a_failure_keeps_the_old_report(tmp_path, monkeypatch):
  write_results_run(tmp_path / 'run', RISING)
  make_report(tmp_path / 'run')
  folder = tmp_path / 'run/report'
  before = {path: path.read_bytes() for path in folder.iterdir()}

  def fail(*arguments):
    raise KeyboardInterrupt

  monkeypatch.setattr(views_report, 'make_page', fail)
  with pytest.raises(KeyboardInterrupt):
    run_main(tmp_path / 'run')
  assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_failure_does_not_change_how_training_ended(
  tmp_path, monkeypatch, capsys
):
  directory = write_results_run(tmp_path / 'run', RISING)
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

    monkeypatch.setattr(views_report, 'write', fail)
    assert train.main([f'--logdir={directory.path}']) == 0
    output = capsys.readouterr().out
    assert type(error).__name__ in output
    assert f'try ./impala report {directory.path}' in output
