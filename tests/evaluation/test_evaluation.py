"""Turns and who plays them."""

import threading

import imageio_ffmpeg
import numpy as np
import pytest

import environments
from agents.impala import learning, metrics
from environments import catch
from programs.evaluation import evaluation, examinations
from programs.nodes import client as nodes
from programs.nodes import model as models
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
  player = evaluation.Player(configuration, source, threading.Event())
  assert player.update() == 77
  return player


def examine(num_episodes, **given):
  return examinations.Examination('catch', num_episodes, **given)


@pytest.mark.parametrize('num_episodes', [1, 4, 5, 6, 12])
def test_turns_make_exactly_so_many_episodes_of_each_level(num_episodes):
  turns = examinations.Examination('catch,memory', num_episodes).turns()
  for level, name in enumerate(('catch', 'memory')):
    played = [
      turn.first + number
      for turn in turns
      if (turn.level, turn.level_name) == (level, name)
      for number in range(turn.num_episodes)
    ]
    assert played == list(range(num_episodes))
  assert all(0 < turn.num_episodes <= 5 for turn in turns)


def test_turns_do_not_depend_on_who_plays_them_when():
  source = Source(flags.resolve({'level_name': 'catch'}))
  first, second = make_player(source), make_player(source)
  asked, other = examine(20, seed=3), examine(20, seed=4)
  turns = asked.turns()
  forwards = {turn: [*first.play(turn, asked)] for turn in turns}
  backwards = {turn: [*second.play(turn, asked)] for turn in reversed(turns)}
  assert forwards == backwards
  played = [tuple(episodes) for episodes in forwards.values()]
  assert len(set(played)) > 1  # Each turn has a seed of its own.
  assert [tuple(first.play(turn, other)) for turn in turns] != played


def test_actions_are_sampled_or_the_most_likely():
  """What is most likely at first is the same action everywhere."""
  player, likely = make_player(), examine(5, greedy=True)
  (turn,) = likely.turns()
  greedy = [*player.play(turn, likely)]
  assert greedy == [*player.play(turn, likely)]
  sampled = {
    tuple(player.play(turn, examine(5, seed=seed))) for seed in range(5)
  }
  assert len(sampled) > 1


def test_a_stop_leaves_the_episode():
  configuration = flags.resolve({'level_name': 'catch'})
  stop = threading.Event()
  player = evaluation.Player(configuration, Source(configuration), stop)
  (turn,) = examine(3).turns()
  episodes = player.play(turn, examine(3))
  next(episodes)
  stop.set()
  with pytest.raises(nodes.Stopped):
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
    pictures = [environment.render()]
    for _ in range(30):
      environment.step(1)
      pictures.append(environment.render())
  finally:
    environment.close()
  for picture in pictures:
    assert (picture.shape, picture.dtype) == ((height, width, 3), np.uint8)
  assert any(not np.array_equal(pictures[0], other) for other in pictures)


def test_the_first_episodes_are_filmed(tmp_path):
  player = make_player()
  (turn,) = examine(3).turns()
  list(player.play(turn, examine(3, video=2), tmp_path / 'videos'))
  videos = sorted((tmp_path / 'videos').iterdir())
  assert [path.name for path in videos] == ['catch_1.mp4', 'catch_2.mp4']
  for path in videos:
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert count == 10
    assert seconds == pytest.approx(2.5, abs=0.1)


class Crashes(catch.Catch):
  """Whose first two episodes end in a crash."""

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
  (turn,) = examine(3).turns()
  assert len([*player.play(turn, examine(3))]) == 3
  assert Crashes.num_resets == 5
  Crashes.num_resets = -10
  with pytest.raises(RuntimeError, match='crashed in 5 episodes in a row'):
    list(player.play(turn, examine(3)))
