"""Launching on a Ray cluster of loopback addresses; see `clusters`."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import clusters
import processes
import psutil
import pytest

TESTS = pathlib.Path(__file__).absolute().parents[1]


def recorded(folder):
  return [int(path.read_text()) for path in folder.glob('*.pid')]


@contextlib.contextmanager
def launcher(tmp_path, *arguments, address=''):
  folder = tmp_path / 'folder'
  folder.mkdir()
  with subprocess.Popen(
    [sys.executable, str(TESTS / 'launch_on_ray.py')]
    + [str(tmp_path / 'run'), str(folder), address, *arguments],
    stdout=subprocess.PIPE,
    text=True,
    cwd='/',
    env={**os.environ, 'PYTHONPATH': f'{TESTS.parent}:{TESTS}'},
  ) as process:
    try:
      yield process, folder
    finally:
      process.kill()


def test_a_program_starts_and_ends_its_own_ray(tmp_path):
  with launcher(tmp_path, 'ask') as (process, folder):
    text, _ = process.communicate(timeout=120)
  assert process.returncode == 0, text
  assert 'finished: asker/0 stopped the program' in text
  assert (folder / 'asked').read_text() == 'answer'
  assert (folder / 'listener.ended').exists()  # It was asked, not killed.
  assert not any(map(processes.is_alive, recorded(folder)))
  assert [path.name for path in (tmp_path / 'run').iterdir()] == ['logs']
  log = (tmp_path / 'run/logs/service_0.log').read_text()
  assert log.startswith('=== ')


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGKILL])
def test_no_process_survives_the_launcher(tmp_path, signum):
  with launcher(tmp_path) as (process, folder):
    clusters.wait_until(lambda: len(recorded(folder)) == 2, 120)
    family = [child.pid for child in psutil.Process(process.pid).children(True)]
    assert all(map(processes.is_alive, recorded(folder))) and family
    process.send_signal(signum)
    text, _ = process.communicate(timeout=60)
    clusters.wait_until(
      lambda: not any(map(processes.is_alive, [*recorded(folder), *family])), 30
    )
  if signum == signal.SIGINT:
    assert process.returncode == 130
    assert 'interrupted by SIGINT' in text
    assert (folder / 'listener.ended').exists()


def test_catch_is_learned_although_actors_are_lost(tmp_path):
  """The learner and two actors on a machine each."""
  with clusters.running(m3=1, m4=1, m5=1) as cluster:
    run = clusters.Run(tmp_path)
    process = run.start_learner(
      *('--launch=ray', f'--ray_address={cluster.address}'),
      *('--num_actors=2', '--total_environment_frames=600_000'),
    )
    try:
      run.wait_until(lambda: len(run.records()) > 1, 300)
      places = run.meta('machines')
      assert places['learner/0'] == places['queue/0'] == clusters.HEAD
      used = {places['actor/0'], places['actor/1']}
      assert len(used) == 2 and clusters.HEAD not in used
      # Its process is killed: it restarts on the same machine.
      killed = run.meta('processes')['actor/0']
      os.kill(killed, signal.SIGKILL)
      run.wait_until(lambda: run.meta('processes')['actor/0'] != killed, 60)
      assert run.meta('machines')['actor/0'] == places['actor/0']
      assert 'killed by SIGKILL; restarts in 0 s' in run.log('actor/0')
      # An actor's machine is lost: the actor moves.
      lost = places['actor/1']
      cluster.kill(lost)
      run.wait_until(lambda: run.meta('machines')['actor/1'] not in ('', lost))
      assert f'lost with its executor on {lost}' in run.log('actor/1')
      assert process.wait(300) == 0, run.output('learner')
    finally:
      run.close()
  assert run.mean_return() >= 0.9
