import numpy as np

import environments
from agents.impala import config as config_lib
from agents.impala import networks, policies
from programs.evaluation import playing

CONFIG = config_lib.ImpalaConfig(network='mlp', lstm=True)


def test_an_evaluation_actor_passes_on_what_an_actor_passes_on():
  environment = environments.make('catch', seed=1)
  network = networks.make_network(
    CONFIG, environment.observation_spec(), environment.action_spec().num_values
  )
  policy, seen = policies.Policy(network), []

  def watch(inputs, core_state):
    seen.append([part.tolist() for part in inputs[1:]])
    return policy(inputs, core_state)

  player = playing.EvaluationActor(network, watch, None)
  timestep = environment.reset()
  player.observe_first(timestep)
  state = network.initial_state(1)
  last_action, last_reward, start = 0, 0.0, True
  while not timestep.last():
    action = player.select_action(timestep.observation)
    output, state = network.step(
      networks.NetworkInput(
        observation=timestep.observation[None],
        last_action=np.array([last_action], np.int32),
        last_reward=np.array([last_reward], np.float32),
        start_of_episode=np.array([start]),
      ),
      state,
    )
    assert action == np.argmax(output.logits[0])
    assert seen[-1] == [[last_action], [last_reward], [start]]
    timestep = environment.step(action)
    player.observe(action, timestep)
    last_action, last_reward, start = action, timestep.reward, False
