"""Turns and who plays them."""

import threading

import imageio_ffmpeg
import numpy as np
import pytest

import environments
from agents.impala import learning, metrics
from environments import catch, suites
from programs import evaluation, flags, models, nodes


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


def test_turns_make_exactly_so_many_episodes_of_each_level():
  for num_episodes in (1, 4, 5, 6, 12):
    turns = evaluation.deal('catch,memory', num_episodes)
    for level, name in enumerate(('catch', 'memory')):
      played = [
        turn.first + number
        for turn in turns
        if (turn.level, turn.level_name) == (level, name)
        for number in range(turn.num_episodes)
      ]
      assert played == list(range(num_episodes))
    assert all(0 < turn.num_episodes <= 5 for turn in turns)


def test_a_suite_means_its_test_levels():
  names = [turn.level_name for turn in evaluation.deal('dmlab30', 1)]
  assert tuple(names) == suites.suites()['dmlab30'].test_levels


def test_turns_do_not_depend_on_who_plays_them_when():
  turns = evaluation.deal('catch', 20)
  source = Source(flags.resolve({'level_name': 'catch'}))
  first, second = make_player(source), make_player(source)
  forwards = {turn: [*first.play(turn, seeds=(3,))] for turn in turns}
  backwards = {
    turn: [*second.play(turn, seeds=(3,))] for turn in reversed(turns)
  }
  assert forwards == backwards
  played = [tuple(episodes) for episodes in forwards.values()]
  assert len(set(played)) > 1  # Each turn has a seed of its own.
  again = [tuple(first.play(turn, seeds=(4,))) for turn in turns]
  assert again != played


def test_actions_are_sampled_or_the_most_likely():
  """What is most likely at first is the same action everywhere."""
  player = make_player()
  (turn,) = evaluation.deal('catch', 5)
  greedy = [*player.play(turn, seeds=(3,), greedy=True)]
  assert greedy == [*player.play(turn, seeds=(3,), greedy=True)]
  assert greedy != [*player.play(turn, seeds=(3,))]
  sampled = {tuple(player.play(turn, (seed,))) for seed in range(5)}
  assert len(sampled) > 1


def test_episodes_are_collected_in_their_order():
  configuration = flags.resolve({'level_name': 'atari_pong'})
  levels = 'atari_pong,atari_breakout'
  turns = evaluation.deal(levels, 7)
  played = {
    turn: [
      evaluation.Episode(100.0 * turn.level + turn.first + number, 2)
      for number in range(turn.num_episodes)
    ]
    for turn in reversed(turns)
  }
  pong, breakout = evaluation.collect(configuration, played)
  assert (pong.level_name, breakout.level_name) == tuple(levels.split(','))
  assert pong.returns == [float(number) for number in range(7)]
  assert breakout.returns == [100.0 + number for number in range(7)]
  assert breakout.steps == [2] * 7
  assert breakout.frames == 7 * 2 * 4


def test_a_stop_leaves_the_episode():
  configuration = flags.resolve({'level_name': 'catch'})
  stop = threading.Event()
  player = evaluation.Player(configuration, Source(configuration), stop)
  episodes = player.play(evaluation.Turn(0, 'catch', 0, 3), seeds=(1,))
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
  (turn,) = evaluation.deal('catch', 3)
  list(player.play(turn, (1,), video_folder=tmp_path / 'videos', num_videos=2))
  videos = sorted((tmp_path / 'videos').iterdir())
  assert [path.name for path in videos] == ['catch_1.mp4', 'catch_2.mp4']
  for path in videos:
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert count == 10
    assert seconds == pytest.approx(2.5, abs=0.1)


def test_the_film_of_a_broken_episode_is_thrown_away(tmp_path):
  configuration = flags.resolve({'level_name': 'catch'})
  stop = threading.Event()
  stop.set()
  player = evaluation.Player(configuration, Source(configuration), stop)
  turn = evaluation.Turn(0, 'catch', 0, 1)
  with pytest.raises(nodes.Stopped):
    list(player.play(turn, (1,), video_folder=tmp_path, num_videos=1))
  assert not list(tmp_path.iterdir())


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
  (turn,) = evaluation.deal('catch', 3)
  assert len([*player.play(turn, seeds=(3,))]) == 3
  assert Crashes.num_resets == 5
  Crashes.num_resets = -10
  with pytest.raises(RuntimeError, match='crashed in 5 episodes in a row'):
    list(player.play(turn, seeds=(3,)))
