"""RLlib's IMPALA on Pong, in its own virtualenv; see `peers`.

Arguments are the settings as JSON and the CSV file to write. Ctrl-C stops it.
"""

import csv
import json
import os
import sys
import time
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import ray
import torch
from ray import tune
from ray.rllib.algorithms import impala
from ray.rllib.core import columns
from ray.rllib.core.rl_module import rl_module
from ray.rllib.core.rl_module.apis import value_function_api
from ray.rllib.core.rl_module.torch import torch_rl_module


class _Network(
  torch_rl_module.TorchRLModule, value_function_api.ValueFunctionAPI
):
  """The paper's shallow network on bytes; RLlib's takes floats only."""

  def setup(self) -> None:
    self.torso = torch.nn.Sequential(
      torch.nn.Conv2d(4, 16, 8, 4),
      torch.nn.ReLU(),
      torch.nn.Conv2d(16, 32, 4, 2),
      torch.nn.ReLU(),
      torch.nn.Flatten(),
      torch.nn.Linear(32 * 9 * 9, 256),
      torch.nn.ReLU(),
    )
    self.policy = torch.nn.Linear(256, int(self.action_space.n))
    self.value = torch.nn.Linear(256, 1)

  def _features(self, batch: dict[str, Any]) -> torch.Tensor:
    return self.torso(batch[columns.Columns.OBS].float() / 255)

  def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
    logits = self.policy(self._features(batch))
    return {columns.Columns.ACTION_DIST_INPUTS: logits}

  def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
    features = self._features(batch)
    return {
      columns.Columns.ACTION_DIST_INPUTS: self.policy(features),
      columns.Columns.EMBEDDINGS: features,
    }

  def compute_values(
    self, batch: dict[str, Any], embeddings: torch.Tensor | None = None
  ) -> torch.Tensor:
    if embeddings is None:
      embeddings = self._features(batch)
    return self.value(embeddings).squeeze(-1)


def make_game(_: Any) -> gym.Env:
  """Make a game with Gymnasium's wrappers; `[4, 84, 84]` uint8."""
  gym.register_envs(ale_py)
  game = gym.make('ALE/Pong-v5', frameskip=1, repeat_action_probability=0.0)
  game = gym.wrappers.AtariPreprocessing(game, noop_max=30, frame_skip=4)
  game = gym.wrappers.FrameStackObservation(game, 4)
  return gym.wrappers.TransformReward(
    game, lambda reward: float(np.sign(float(reward)))
  )


def make_config(settings: dict[str, Any]) -> impala.IMPALAConfig:
  """Return the configuration of the algorithm."""
  tune.register_env('pong', make_game)
  return (
    impala.IMPALAConfig()
    .environment('pong')
    .env_runners(
      num_env_runners=settings['num_workers'],
      num_envs_per_env_runner=settings['num_envs_per_worker'],
      rollout_fragment_length=settings['unroll_length'],
    )
    # Learn in the algorithm's process: another one costs CPU time to pass on
    # batches.
    .learners(num_learners=0)
    .training(
      train_batch_size_per_learner=settings['batch_agent_steps'],
      lr=0.0006,
      entropy_coeff=0.01,
      vf_loss_coeff=0.5,
      grad_clip=40.0,
    )
    .rl_module(rl_module_spec=rl_module.RLModuleSpec(module_class=_Network))
    .reporting(min_time_s_per_iteration=1)
  )


def learned(result: dict[str, Any], unroll_length: int) -> float:
  """Return the agent steps in a result of RLlib.

  RLlib also counts the step that it adds to each unroll for the bootstrap
  value.
  """
  figures = result.get('learners', {}).get('__all_modules__', {})
  rows = figures.get('num_module_steps_trained_lifetime') or 0
  return rows * unroll_length / (unroll_length + 1)


def main(settings: dict[str, Any], progress: str) -> None:
  """Train until interrupted; write records to the file `progress`."""
  # More than there are: each process needs one.
  os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
  ray.init(num_cpus=16, include_dashboard=False)
  algorithm = make_config(settings).build_algo()
  try:
    with open(progress, 'w', newline='', encoding='utf-8') as file:
      rows = csv.writer(file)
      rows.writerow(('time', 'frames', 'learner_steps'))
      while True:
        steps = learned(algorithm.train(), settings['unroll_length'])
        frames = steps * settings['num_action_repeats']
        learner_steps = steps / settings['batch_agent_steps']
        rows.writerow((time.time(), frames, learner_steps))
        file.flush()
  finally:
    algorithm.stop()
    ray.shutdown()


if __name__ == '__main__':
  main(json.loads(sys.argv[1]), sys.argv[2])
