import dm_env
import numpy as np
import pytest
from dm_env import specs

import environments
from environments import batch


class ScriptedEnvironment(dm_env.Environment):
  """Play a tape of (reward, step type, discount, game over).

  Observations count the timesteps; actions taken are kept in `actions`.
  """

  def __init__(self, tape, num_actions=3, observation_shape=()):
    self._tape = list(tape)
    self._num_actions = num_actions
    self._shape = observation_shape
    self._count = 0
    self.actions = []
    self.is_closed = False

  def _next(self):
    self._count += 1
    reward, step_type, discount, self.game_over = self._tape.pop(0)
    observation = np.full(self._shape, self._count, np.int64)
    return dm_env.TimeStep(step_type, reward, discount, observation)

  def reset(self):
    timestep = self._next()
    assert timestep.first()
    return timestep

  def step(self, action):
    self.actions.append(action)
    timestep = self._next()
    assert not timestep.first()
    return timestep

  def observation_spec(self):
    return specs.Array(self._shape, np.int64)

  def action_spec(self):
    return specs.DiscreteArray(self._num_actions)

  def close(self):
    self.is_closed = True


class EpisodicEnvironment(ScriptedEnvironment):
  """A tape without `game_over`: every episode is a whole one."""

  def _next(self):
    timestep = super()._next()
    del self.game_over
    return timestep


FIRST = (None, dm_env.StepType.FIRST, None, False)


def mid(reward):
  return (reward, dm_env.StepType.MID, 1.0, False)


def last(reward, discount, game_over=True):
  return (reward, dm_env.StepType.LAST, discount, game_over)


def run_tape(environment_batch, num_steps):
  """Return every column as a `[T, N]` array, the reset's first."""
  timesteps = [environment_batch.reset()]
  rows = [[np.copy(column) for column in timesteps[0]]]
  for step in range(num_steps):
    actions = np.full(len(environment_batch.levels), step % 3)
    rows.append([np.copy(column) for column in environment_batch.step(actions)])
  columns = [np.stack(column) for column in zip(*rows, strict=True)]
  return batch.BatchTimeStep(*columns)


NAN = np.nan


def test_event_tape_of_terminations_truncations_and_lost_lives():
  episodic = EpisodicEnvironment(
    [FIRST, mid(1.0), last(2.5, 0.0), FIRST, last(-1.0, 1.0), FIRST, mid(4.0)]
  )
  with_lives = ScriptedEnvironment(
    [
      FIRST,
      last(10.0, 0.0, game_over=False),
      FIRST,
      mid(20.0),
      last(30.0, 0.0, game_over=True),
      FIRST,
      last(40.0, 1.0, game_over=True),
    ]
  )
  tape = run_tape(batch.EnvironmentBatch([episodic, with_lives]), 6)

  def check(column, first, second, dtype):
    assert column.dtype == dtype
    np.testing.assert_array_equal(column, np.stack([first, second], axis=1))

  f32 = np.float32
  check(tape.observation, range(1, 8), range(1, 8), np.int64)
  check(tape.reward, [0, 1, 2.5, 0, -1, 0, 4], [0, 10, 0, 20, 30, 0, 40], f32)
  check(tape.discount, [0, 1, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 0, 1], f32)
  check(
    tape.start_of_episode, [1, 0, 0, 1, 0, 1, 0], [1, 0, 1, 0, 0, 1, 0], bool
  )
  check(
    tape.episode_return,
    [NAN, NAN, 3.5, NAN, -1, NAN, NAN],
    [NAN, NAN, NAN, NAN, 60, NAN, 40],
    f32,
  )
  check(
    tape.episode_steps, [0, 0, 2, 0, 1, 0, 0], [0, 0, 0, 0, 3, 0, 1], np.int32
  )
  # The actions chosen where the last timestep was LAST were never executed.
  assert episodic.actions == [0, 1, 0, 2]
  assert with_lives.actions == [0, 2, 0, 2]


class CrashingEnvironment(EpisodicEnvironment):
  """An environment with two restarts, and one more in every second reset."""

  num_restarts = 2
  _num_resets = 0

  def reset(self):
    self._num_resets += 1
    self.num_restarts += self._num_resets % 2 == 0
    return super().reset()


def test_an_episode_cut_short_by_a_crash_is_not_reported():
  tape = [FIRST, mid(1.0), last(0.0, 1.0), FIRST, last(2.0, 0.0)]
  crashing, whole = CrashingEnvironment(tape), EpisodicEnvironment(tape)
  crashing.has_crashed = True
  environment_batch = batch.EnvironmentBatch([crashing, whole])
  shown = run_tape(environment_batch, 2)
  assert np.isnan(shown.episode_return[:, 0]).all()
  assert not shown.episode_steps[:, 0].any()
  assert shown.episode_return[2, 1] == 1.0
  crashing.has_crashed = False  # The next episode starts from zero.
  environment_batch.step(np.zeros(2, int))
  assert environment_batch.step(np.zeros(2, int)).episode_return[0] == 2.0


def test_a_return_is_cleared_by_a_reset_but_not_after_a_lost_life():
  interrupted = ScriptedEnvironment([FIRST, mid(1.0), FIRST, last(2.0, 0.0)])
  alive = ScriptedEnvironment(
    [FIRST, last(1.0, 0.0, game_over=False), FIRST, last(2.0, 0.0)]
  )
  environment_batch = batch.EnvironmentBatch([interrupted, alive])
  environment_batch.reset()
  environment_batch.step(np.zeros(2, int))
  timestep = environment_batch.reset()
  assert timestep.start_of_episode.all()
  timestep = environment_batch.step(np.zeros(2, int))
  np.testing.assert_array_equal(timestep.episode_return, [2.0, 3.0])
  np.testing.assert_array_equal(timestep.episode_steps, [1, 2])


def test_the_first_step_resets_and_actions_have_the_type_of_the_spec():
  environment = ScriptedEnvironment([FIRST, mid(1.0)])
  environment_batch = batch.EnvironmentBatch([environment])
  actions = np.array([2], np.int64)
  assert environment_batch.step(actions).start_of_episode.all()
  assert environment.actions == []
  environment_batch.step(actions)
  environment.action_spec().validate(environment.actions[0])


class NestedEnvironment(ScriptedEnvironment):
  def _next(self):
    timestep = super()._next()
    words = np.array(f'go {self._count}', object)
    return timestep._replace(
      observation={'words': words, 'parts': [timestep.observation]}
    )

  def observation_spec(self):
    return {'words': specs.StringArray(()), 'parts': [specs.Array((2,), int)]}


def test_nested_observations():
  environment_batch = batch.EnvironmentBatch(
    [
      NestedEnvironment([FIRST, mid(0.0)], observation_shape=(2,))
      for _ in range(2)
    ]
  )
  environment_batch.reset()
  observation = environment_batch.step(np.zeros(2, int)).observation
  assert observation['words'].tolist() == ['go 2', 'go 2']
  assert set(observation) == {'words', 'parts'}
  np.testing.assert_array_equal(observation['parts'][0], [[2, 2], [2, 2]])


class OtherEnvironment(ScriptedEnvironment):
  """An environment with another reward or action spec."""

  def __init__(self, reward=None, action=None):
    super().__init__([])
    self._reward, self._action = reward, action

  def reward_spec(self):
    return self._reward or super().reward_spec()

  def action_spec(self):
    return self._action or super().action_spec()


def test_specs_that_no_actor_can_drive_are_refused():
  plain = ScriptedEnvironment([])
  named = OtherEnvironment(specs.Array((), np.float32, name='score'))
  continuous = OtherEnvironment(action=specs.BoundedArray((), float, -1, 1))
  for made, message in (
    ([], 'at least one'),
    ([plain, ScriptedEnvironment([], 4)], r'action_spec must be equal.*ment 1'),
    ([plain, NestedEnvironment([])], 'observation_spec must be equal'),
    ([plain, named], 'reward_spec must be equal'),
    ([OtherEnvironment(specs.Array((2,), float))], 'reward must be a scalar'),
    ([continuous], 'must be a DiscreteArray'),
  ):
    with pytest.raises(ValueError, match=message):
      batch.EnvironmentBatch(made)


@pytest.mark.parametrize(
  ('actions', 'message'),
  [([0] * 3, r'shape \(2,\), got \(3,\)'), ([0, 7], 'got 7')],
)
def test_wrong_actions_are_refused(actions, message):
  environment_batch = environments.make_batch('catch', seeds=[1, 2])
  environment_batch.reset()
  with pytest.raises(ValueError, match=message):
    environment_batch.step(np.array(actions))


def test_close_closes_every_environment_even_if_one_fails():
  class Failing(ScriptedEnvironment):
    def close(self):
      raise OSError('close failed')

  others = [ScriptedEnvironment([]), ScriptedEnvironment([])]
  environment_batch = batch.EnvironmentBatch(
    [others[0], Failing([]), others[1]]
  )
  with pytest.raises(OSError, match='close failed'):
    environment_batch.close()
  assert all(environment.is_closed for environment in others)
