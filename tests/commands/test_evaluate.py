"""The command `evaluate`.

The run directories are made here: a network that has learned nothing, saved.
"""

import json
import signal
import threading

import command_lines
import imageio_ffmpeg
import launchpad as lp
import processes
import pytest

from agents.impala import metrics
from programs.commands import evaluate
from programs.evaluation import evaluation_server, schedule
from programs.nodes import models
from programs.runs import checkpoints, flags

START_SECONDS = 150  # Quiet machines need 10.
GAMES = ('atari_pong', 'atari_video_pinball')


def make_run(directory, **given):
  """Return a run directory without a checkpoint, and a function to save one."""
  configuration = flags.resolve({**given, 'logdir': str(directory)})
  configuration.directory.write_config(configuration.to_dict())
  network, _ = models.make_model(configuration)
  counts = metrics.Counts()
  state = {'network': network, 'counts': counts}

  def save(frames, folder=configuration.directory.checkpoints):
    counts.frames.assign(frames)
    checkpoints.Checkpoints(folder, state).save(frames)

  return configuration, save


def read_returns(directory, name):
  path = directory / 'evaluations' / name / 'results.json'
  return json.loads(path.read_text())['levels'][0]['returns']


def test_two_games_from_a_run_directory(tmp_path):
  directory = tmp_path / 'run'
  _, save = make_run(
    directory,
    level_name='atari_pong',
    full_action_set=True,
    max_episode_frames=200,
  )
  save(1234)
  with command_lines.started(
    evaluate,
    directory,
    f'--level_name={",".join(GAMES)}',
    '--test_num_episodes=7',
    '--num_evaluators=2',
    '--video=1',
  ) as (process, log):
    status = process.wait(START_SECONDS)
  output = log.read_text()
  assert status == 0, output
  (folder,) = (directory / 'evaluations').iterdir()  # No temporary one.
  assert folder.name == f'1234_{",".join(GAMES)}_7episodes'
  assert str(folder / 'results.json') in output
  content = json.loads((folder / 'results.json').read_text())
  facts = ('trained_frames', 'seed', 'greedy')
  assert [content[name] for name in facts] == [1234, 1, False]
  assert [level['level_name'] for level in content['levels']] == [*GAMES]
  for level in content['levels']:
    assert level['episodes'] == len(level['returns']) == 7
    assert max(level['steps']) <= 50
    assert level['frames'] == 4 * sum(level['steps'])
  videos = sorted((folder / 'videos').iterdir())
  assert [v.name for v in videos] == sorted(f'{game}_1.mp4' for game in GAMES)
  for video, game in zip(videos, sorted(GAMES), strict=True):
    level = content['levels'][GAMES.index(game)]
    count, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert count == level['steps'][0] + 1
  assert not processes.naming(directory)


def test_watch_evaluates_what_comes_until_the_run_is_over(tmp_path):
  directory = tmp_path / 'run'
  configuration, save = make_run(
    directory, level_name='catch', total_environment_frames=900
  )

  best = configuration.directory.best_checkpoint

  def wait_for(frames):
    name = f'{frames}_3episodes_seed5_best_greedy'
    path = directory / 'evaluations' / name / 'results.json'
    processes.wait_until(path.exists, START_SECONDS)
    return path

  with command_lines.started(
    evaluate,
    directory,
    '--watch',
    '--checkpoint=best',
    '--greedy',
    '--seed=5',
    '--test_num_episodes=3',
  ) as (process, log):
    save(300, best)
    content = json.loads(wait_for(300).read_text())
    assert (content['seed'], content['greedy']) == (5, True)
    save(900, best)
    wait_for(900)
    assert process.poll() is None, log.read_text()
    configuration.directory.update_meta(finished_frames=900)
    assert process.wait(30) == 0
  assert not processes.naming(directory)


def test_interrupted_it_leaves_nothing(tmp_path):
  directory = tmp_path / 'run'
  make_run(directory, level_name='catch')
  logs = 'evaluations/.running-*/logs/evaluator_*.log'
  with command_lines.started(
    evaluate, directory, '--watch', '--num_evaluators=1'
  ) as (process, log):
    processes.wait_until(lambda: [*directory.glob(logs)], START_SECONDS)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130, log.read_text()
  assert not list((directory / 'evaluations').iterdir())
  assert not processes.naming(directory)


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['--test_num_episodes=0'], ('test_num_episodes', 'greater than 0', '0')),
    (['--seed=-1'], ('seed', 'at least 0', '-1')),
    (['--video=-1'], ('video', 'at least 0', '-1')),
    (['--checkpoint=last'], ('checkpoint', 'newest, best', "'last'")),
    (['--checkpoint=best'], ('checkpoints/best holds no checkpoint yet',)),
    (['--level_name=foo'], ('level_name', "'foo'")),
    (['--level_name=memory'], ('level_name', 'actions of catch', "'memory'")),
    (['--logdir=nowhere'], ('nowhere is no run directory', 'config.json')),
    (['--test_num_episodes=x'], ('test_num_episodes', 'int', "'x'")),
  ],
  ids=str,
)
def test_wrong_flags_are_refused(tmp_path, monkeypatch, arguments, words):
  directory = tmp_path / 'run'
  _, save = make_run(directory, level_name='catch')
  save(500)
  before = sorted(tmp_path.rglob('*'))
  monkeypatch.chdir(tmp_path)
  status, output = command_lines.run_main(
    evaluate, f'--logdir={directory}', *arguments
  )
  assert status == 2
  sentence = output.splitlines()[-1]
  assert all(word in sentence for word in words), sentence
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('flags_', [(), ('--watch',)])
def test_a_finished_run_without_a_checkpoint_is_refused(tmp_path, flags_):
  configuration, _ = make_run(tmp_path, level_name='catch')
  total = configuration.agent.total_environment_frames
  configuration.directory.update_meta(finished_frames=total)
  status, output = command_lines.run_main(
    evaluate, f'--logdir={tmp_path}', *flags_
  )
  assert status == 2
  assert f'{tmp_path}/checkpoints holds no checkpoint yet' in output


def make_evaluation_server(tmp_path, monkeypatch, num_episodes, *frames):
  """Return an evaluation server in this process."""
  configuration, save = make_run(tmp_path, level_name='catch')
  for each in frames:
    save(each)
  monkeypatch.setattr(lp, 'stop_event', threading.Event)
  monkeypatch.setattr(lp, 'stop', lambda: None)
  evaluation = schedule.EvaluationConfig('catch', num_episodes)
  return evaluation_server.EvaluationServer(
    configuration, evaluation, str(tmp_path)
  )


def test_an_episode_that_is_reported_twice_counts_once(tmp_path, monkeypatch):
  server = make_evaluation_server(tmp_path, monkeypatch, 7, 500)
  thread = threading.Thread(target=server.run)
  thread.start()
  processes.wait_until(lambda: server.next_unit(0), 60)
  frames, first = server.next_unit(0)
  assert server.next_unit(0) == (frames, first)  # Asked again.
  _, second = server.next_unit(1)
  assert (frames, first.num_episodes, second.num_episodes) == (500, 5, 2)
  lost, won = schedule.Episode(-1.0, 9), schedule.Episode(1.0, 9)
  server.add_episode(1, 499, second, 0, lost)  # Of other variables.
  for number in (0, 0, 1):
    server.add_episode(1, frames, second, number, won)
  assert server.next_unit(1) is None
  for number in range(5):
    server.add_episode(0, frames, first, number, lost)
  thread.join(60)
  assert not thread.is_alive()
  wanted = [-1.0] * 5 + [1.0] * 2
  assert read_returns(tmp_path, '500_7episodes') == wanted
  progress = schedule.read_progress(tmp_path)
  assert (progress.num_played, progress.num_episodes) == (7, 7)
  # A late report is of no unit of another evaluator.
  server.add_episode(1, frames, second, 1, won)


def test_a_damaged_checkpoint_is_passed_over_once(tmp_path, monkeypatch):
  server = make_evaluation_server(tmp_path, monkeypatch, 1, 400, 500)
  for path in tmp_path.glob('checkpoints/ckpt-500.data*'):
    path.write_bytes(b'')
  thread = threading.Thread(target=server.run)
  thread.start()
  processes.wait_until(lambda: server.next_unit(0), 60)
  frames, unit = server.next_unit(0)
  assert frames == 400
  server.add_episode(0, frames, unit, 0, schedule.Episode(1.0, 9))
  thread.join(30)
  is_over = not thread.is_alive()
  server._stop.set()
  assert is_over
  assert read_returns(tmp_path, '400_1episodes') == [1.0]
