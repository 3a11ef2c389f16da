"""Work units and their episodes."""

import threading

import imageio_ffmpeg
import numpy as np
import pytest

import environments
from agents.impala import learning, metrics
from environments import catch
from programs.evaluation import playing, schedule
from programs.nodes import clients, models
from programs.runs import flags


class Source:
  """Serves the variables of a network that has learned nothing."""

  def __init__(self, configuration):
    self.network, _ = models.make_model(configuration)
    self.counts = metrics.Counts()
    self.counts.frames.assign(77)

  def get_variables(self, names):
    served = learning.served_variables(self.network, self.counts)
    return [served[name] for name in names]


def make_player(source=None):
  configuration = flags.resolve({'level_name': 'catch'})
  source = source or Source(configuration)
  player = playing.Player(configuration, source, threading.Event())
  assert player.update() == 77
  return player


def configure(num_episodes, **given):
  return schedule.EvaluationConfig('catch', num_episodes, **given)


@pytest.mark.parametrize('num_episodes', [1, 4, 5, 6, 12])
def test_work_units_have_each_episode_once(num_episodes):
  config = schedule.EvaluationConfig('catch,memory', num_episodes)
  work_units = config.work_units()
  for level, name in enumerate(('catch', 'memory')):
    played = [
      unit.first + number
      for unit in work_units
      if (unit.level, unit.level_name) == (level, name)
      for number in range(unit.num_episodes)
    ]
    assert played == list(range(num_episodes))
  assert all(0 < unit.num_episodes <= 5 for unit in work_units)


def test_episodes_depend_on_neither_evaluator_nor_order():
  source = Source(flags.resolve({'level_name': 'catch'}))
  first, second = make_player(source), make_player(source)
  asked, other = configure(20, seed=3), configure(20, seed=4)
  work_units = asked.work_units()
  forwards = {unit: [*first.play(unit, asked)] for unit in work_units}
  backwards = {
    unit: [*second.play(unit, asked)] for unit in reversed(work_units)
  }
  assert forwards == backwards
  played = [tuple(episodes) for episodes in forwards.values()]
  assert len(set(played)) > 1  # Each unit has its own seed.
  assert [tuple(first.play(unit, other)) for unit in work_units] != played


def test_actions_are_sampled_or_the_most_likely():
  player, likely = make_player(), configure(5, greedy=True)
  (unit,) = likely.work_units()
  greedy = [*player.play(unit, likely)]
  assert greedy == [*player.play(unit, likely)]
  sampled = {
    tuple(player.play(unit, configure(5, seed=seed))) for seed in range(5)
  }
  assert len(sampled) > 1


def test_a_stop_leaves_the_episode():
  configuration = flags.resolve({'level_name': 'catch'})
  stop = threading.Event()
  player = playing.Player(configuration, Source(configuration), stop)
  (unit,) = configure(3).work_units()
  episodes = player.play(unit, configure(3))
  next(episodes)
  stop.set()
  with pytest.raises(clients.Stopped):
    next(episodes)


@pytest.mark.parametrize(
  ('level_name', 'height', 'width'),
  [
    ('catch', 10, 5),
    ('memory', 2, 10),
    ('atari_pong', 210, 160),
    ('doom_basic', 72, 128),
  ],
)
def test_every_environment_shows_itself_to_people(level_name, height, width):
  environment = environments.make(level_name, seed=3, evaluation=True)
  try:
    environment.reset()
    images = [environment.render()]
    for _ in range(30):
      environment.step(1)
      images.append(environment.render())
  finally:
    environment.close()
  for image in images:
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
  assert any(not np.array_equal(images[0], other) for other in images)


def test_the_first_episodes_are_recorded(tmp_path):
  player = make_player()
  (unit,) = configure(3).work_units()
  list(player.play(unit, configure(3, video=2), tmp_path / 'videos'))
  videos = sorted((tmp_path / 'videos').iterdir())
  assert [path.name for path in videos] == ['catch_1.mp4', 'catch_2.mp4']
  for path in videos:
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert count == 10
    assert seconds == pytest.approx(2.5, abs=0.1)


class Crashes(catch.Catch):
  """Environment whose first two episodes end in a crash."""

  num_resets = 0

  def reset(self):
    type(self).num_resets += 1
    return super().reset()

  @property
  def has_crashed(self):
    return self.num_resets <= 2


def test_an_episode_that_crashed_is_played_again(monkeypatch):
  player = make_player()
  monkeypatch.setattr(
    environments, 'make', lambda level, seed, **_: Crashes(seed)
  )
  (unit,) = configure(3).work_units()
  assert len([*player.play(unit, configure(3))]) == 3
  assert Crashes.num_resets == 5
  Crashes.num_resets = -10
  with pytest.raises(RuntimeError, match='crashed in 5 episodes in a row'):
    list(player.play(unit, configure(3)))
