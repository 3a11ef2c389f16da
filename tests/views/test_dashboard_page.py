"""The dashboard's page in a browser, beside a run that learns.

A start takes ten seconds or more, so the tests share one run, in order: it
learns, is interrupted, resumes and ends, while the page stays open.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import browsing
import processes
import pytest
from playwright import sync_api

from programs.commands import check, report
from programs.runs import run_directory

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).absolute().parents[2]
ENDLESS = 100_000_000
FLAGS = (
  '--num_actors=2',
  '--num_envs_per_actor=4',
  '--log_period_seconds=0.2',
  '--evaluation_period_frames=0',
  '--test_num_episodes=3',
)


@contextlib.contextmanager
def training(directory, frames):
  """Launch a run; interrupts it at the end, and waits."""
  flags = [*FLAGS, f'--logdir={directory}']
  with (
    open(directory.with_name('train.out'), 'ab') as log,
    subprocess.Popen(
      [sys.executable, '-m', 'programs.commands.train', *flags]
      + [f'--total_environment_frames={frames}'],
      stdout=log,
      stderr=subprocess.STDOUT,
      stdin=subprocess.DEVNULL,
      cwd=directory.parent,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
    ) as process,
  ):
    try:
      yield process
    finally:
      if process.poll() is None:
        process.send_signal(signal.SIGINT)
      try:
        process.wait(30)
      finally:
        process.kill()


@pytest.fixture(scope='module')
def browser():
  with sync_api.sync_playwright() as driver:
    try:
      chromium = check.launch_browser(driver)
    except sync_api.Error:
      pytest.skip('there is no Chromium; ./impala check gets one')
    with contextlib.closing(chromium):
      yield chromium


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tmp_path_factory.mktemp('dashboard') / 'run'


@pytest.fixture(scope='module')
def learning(directory):
  """Launch a run; yields a function that interrupts it."""
  with contextlib.ExitStack() as stack:
    stack.enter_context(training(directory, ENDLESS))
    yield stack.close


@pytest.fixture(scope='module')
def page(browser, directory, learning):
  with browsing.served(directory) as port:
    yield browsing.Page(browser, f'http://127.0.0.1:{port}/')


def test_statistics_are_updated(page):
  page.wait('#state', r'^running \d:\d\d:\d\d$')
  page.wait('#level', '^catch$')
  page.wait_for_frames(more_than=page.frames())
  page.wait_for_frames(more_than=page.frames())
  page.wait('#verdict', 'bottleneck')
  actor = '#graph a[data-role=actor]'
  page.wait(f'{actor} text >> nth=0', '^actor x 2$')
  page.wait(f'{actor} text >> nth=1', r'^(busy|waiting|blocked) \d+%')
  page.wait('#graph a[data-role=queue] text >> nth=1', r'^\d+ of 32$')
  for edge in ('actor insert queue', 'queue sample learner'):
    page.wait(f'#graph g[data-edge="{edge}"] text', r' [\d.,]+/s$')
  bars = page.page.locator(f'{actor} .segment')
  # In one call: the page is redrawn every second.
  total = sum(
    bars.evaluate_all("all => all.map((one) => +one.getAttribute('width'))")
  )
  assert total == pytest.approx(140, abs=0.5)
  page.check()


def test_the_curve_is_drawn(page):
  line = page.page.locator('#returns path.line')
  processes.wait_until(
    lambda: line.count() and line.get_attribute('d').count('L') > 3,
    browsing.WAIT_SECONDS,
  )
  picture = page.page.locator('#returns svg').bounding_box()
  page.page.mouse.move(picture['x'] + 300, picture['y'] + 100)
  page.wait('#returns .readout', r'^-?[\d.]+ at frame [\d,]+$')
  for name in ('frames_per_second', 'policy_lag_mean', 'entropy', 'loss'):
    assert page.page.locator(f'#small-{name} path.line').count() == 1
  page.check()


def test_a_box_opens_and_a_node_shows_its_log(page, directory):
  page.page.locator('#graph a[data-role=actor]').press('Enter')
  page.wait('#details-title', '^actor x 2$')
  page.wait('#nodes', r'environment\d+%, [\d.]+ ms')
  assert page.page.locator('#nodes tbody tr').count() == 2
  pids = run_directory.RunDirectory(directory).read_meta()['processes']
  page.wait('#nodes tbody tr:nth-child(2)', rf' {pids["actor/1"]}$')
  page.page.get_by_role('link', name='actor/1').click()
  page.wait('#log-title', '^Log of actor/1$')
  page.wait('#log-text', r'^=== .* actor/1: ')
  # It follows the file, and shows markup as text.
  log = directory / 'logs/actor_1.log'
  with open(log, 'a', encoding='utf-8') as file:
    file.write('<b id="injected">bold</b>\n')
  page.wait('#log-text', '<b id="injected">bold</b>')
  assert page.page.locator('#injected').count() == 0
  page.page.get_by_text('Close').click()
  sync_api.expect(page.page.locator('#details')).to_be_hidden()
  page.check()


def test_a_run_is_interrupted_and_resumed(page, directory, learning):
  learning()
  page.wait('#state', '^interrupted ')
  frames = page.frames()
  with training(directory, frames + 10_000) as process:
    page.wait_for_frames(more_than=frames)
    page.wait('#state', '^finished ')
    assert process.wait(browsing.WAIT_SECONDS) == 0
  assert page.frames() >= frames + 10_000
  page.wait('#evaluation-note', r'^after [\d,]+ frames')
  page.wait('#evaluated tbody tr', r'^\s*catch')
  page.wait('#window', 'over the whole run')
  assert page.page.locator('#returns .evaluation').count() == 1
  page.check()


def test_a_finished_run(browser, page):
  fresh = browsing.Page(browser, page.address)
  fresh.wait('#state', '^finished ')
  fresh.wait('#verdict', 'bottleneck')
  fresh.page.get_by_text('Configuration').click()
  fresh.wait('#configuration dd.flag >> nth=0', '.')
  fresh.page.set_viewport_size({'width': 800, 'height': 900})

  def fits():  # It may be drawn anew after this.
    fresh.page.wait_for_timeout(50)
    return fresh.page.evaluate(
      'document.documentElement.scrollWidth <= innerWidth'
    )

  processes.wait_until(fits, 10)
  fresh.check()
  fresh.page.close()


def test_another_run_in_its_place(page, directory):
  """Follow another run that takes the directory of the first."""
  aside = directory.with_name('aside')
  directory.rename(aside)
  page.wait('#state', '^starting$')
  page.wait('#returns', '^no data yet$')
  sync_api.expect(page.page.locator('#graph svg')).to_have_count(0)
  shutil.copytree(aside, directory)
  page.wait('#state', '^finished ')
  line = page.page.locator('#returns path.line')
  sync_api.expect(line).to_have_count(1, timeout=10_000)
  sync_api.expect(page.page.locator('#graph svg')).to_have_count(1)
  page.check()


def test_the_server_stops_and_returns(browser, directory):
  with browsing.served(directory) as port:
    page = browsing.Page(browser, f'http://127.0.0.1:{port}/')
    page.wait('#state', '^finished ')
    gone = page.page.locator('#unreachable')
    sync_api.expect(gone).to_be_hidden()
    page.check()
  sync_api.expect(gone).to_be_visible(timeout=10_000)
  with browsing.served(directory, port):
    sync_api.expect(gone).to_be_hidden(timeout=10_000)
    page.wait('#state', '^finished ')
  page.page.close()


def test_a_report_without_a_server(browser, directory, tmp_path):
  other = tmp_path / 'other'
  shutil.copytree(directory, other)
  config = run_directory.RunDirectory(other).read_config()
  config['agent']['seed'] = 2
  run_directory.write_json(other / 'config.json', config)
  assert report.main([f'{directory}', f'{other}', f'--output={tmp_path}']) == 0
  page = browsing.Page(browser, (tmp_path / 'index.html').as_uri())
  page.wait('#directory', f'^{directory}$')
  page.wait('#state', '^finished ')
  page.wait('#verdict', 'bottleneck')
  page.wait('#scores tbody tr >> nth=0', '2 runs')
  assert page.page.locator('#intervals path.area').count() == 1
  page.page.get_by_role('link', name='other').click()
  page.wait('#directory', f'^{other}$')
  page.page.locator('#graph a[data-role=actor]').press('Enter')
  page.page.get_by_role('link', name='actor/1').click()
  page.wait('#log-text', '<b id="injected">bold</b>')
  assert page.page.locator('#injected').count() == 0
  page.check()
  page.page.close()
