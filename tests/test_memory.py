import dm_env
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments import memory


class MemoryConformanceTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
  def make_object_under_test(self):
    return memory.Memory(seed=1)

  def make_action_sequence(self):
    rng = np.random.default_rng(0)
    for _ in range(100):
      yield self.environment.action_spec().dtype.type(rng.integers(2))


def play(environment, answer):
  """One episode; `answer` is given the first observation. Its timesteps."""
  timesteps = [environment.reset()]
  action = answer(timesteps[0].observation)
  while not timesteps[-1].last():
    is_answer = timesteps[-1].observation[1]
    timesteps.append(environment.step(action if is_answer else 0))
  return timesteps


def test_the_cue_is_seen_once_and_the_question_ten_steps_later():
  timesteps = play(memory.Memory(seed=0), lambda _: 0)
  assert len(timesteps) == memory.NUM_STEPS + 1
  cues, questions, left = np.array([t.observation for t in timesteps]).T
  assert abs(cues[0]) == 1
  assert not cues[1:].any()
  np.testing.assert_array_equal(questions, [0] * 9 + [1, 0])
  np.testing.assert_allclose(left, np.linspace(1, 0, 11), atol=1e-6)
  assert [t.reward for t in timesteps[1:-1]] == [0.0] * 9
  assert timesteps[-1].discount == 0.0


def test_the_answer_decides():
  environment = memory.Memory(seed=3)
  right = [play(environment, lambda o: int(o[0] > 0)) for _ in range(20)]
  assert [episode[-1].reward for episode in right] == [1.0] * 20
  wrong = [play(environment, lambda o: int(o[0] < 0)) for _ in range(20)]
  assert [episode[-1].reward for episode in wrong] == [-1.0] * 20
  blind = [play(environment, lambda _: 1)[-1].reward for _ in range(2000)]
  assert np.mean(blind) == pytest.approx(0.0, abs=0.08)


def test_seeds_choose_the_cues():
  def cues(seed):
    environment = memory.Memory(seed)
    return [environment.reset().observation[0] for _ in range(50)]

  assert cues(1) == cues(1)
  assert cues(1) != cues(2)
  assert set(cues(1)) == {-1.0, 1.0}


def test_after_the_end_the_next_step_is_a_reset():
  environment = memory.Memory(seed=0)
  assert environment.step(0).step_type is dm_env.StepType.FIRST
  play(environment, lambda _: 1)
  assert environment.step(0).step_type is dm_env.StepType.FIRST


def test_other_actions_are_refused():
  environment = memory.Memory(seed=0)
  environment.reset()
  with pytest.raises(ValueError, match='0 or 1, got 2'):
    environment.step(2)
