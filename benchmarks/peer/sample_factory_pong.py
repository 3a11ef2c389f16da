"""Sample Factory on Pong, in its own virtualenv; see `peers`.

Arguments are the settings as JSON and the CSV file to write. Ctrl-C stops it.
"""

import csv
import json
import signal
import sys
import time
from typing import Any

import envpool
import gymnasium as gym
import torch
from sample_factory import train
from sample_factory.algo.learning import learner
from sample_factory.algo.utils import misc
from sample_factory.cfg import arguments
from sample_factory.envs import env_utils
from sf_examples.envpool import envpool_wrappers

_ENVIRONMENT = 'pong'
_NEVER = 10**12


def make_games(_: str, configuration: Any, *__: Any, **___: Any) -> gym.Env:
  """Make all games of a worker with EnvPool, as Sample Factory's example."""
  num_envs = configuration.env_agents
  games = envpool.make(
    'Pong-v5',
    env_type='gymnasium',
    num_envs=num_envs,
    num_threads=1,
    reward_clip=True,
    frame_skip=configuration.env_frameskip,
    noop_max=30,
  )
  games = envpool_wrappers.EnvPoolResetFixWrapper(games)
  games = envpool_wrappers.BatchedRecordEpisodeStatistics(
    games, num_envs=num_envs
  )
  games.num_agents = num_envs
  return games


def fix_summaries() -> None:
  """Work around a bug of version 2.1.1 with V-trace.

  Its summaries read advantages, which exist without V-trace only. Its processes
  import this file, so that it applies to them too.
  """
  original = learner.Learner._record_summaries

  def record(self: learner.Learner, variables: Any) -> Any:
    variables.mb.setdefault('advantages', torch.zeros(1))
    return original(self, variables)

  learner.Learner._record_summaries = record


def make_configuration(settings: dict[str, Any], folder: str) -> Any:
  """Return the configuration of the algorithm."""
  flags = {
    'env': _ENVIRONMENT,
    'experiment': 'pong',
    'train_dir': folder,
    'device': 'cpu',
    'num_workers': settings['num_workers'],
    'num_envs_per_worker': 1,  # A pool of games.
    'worker_num_splits': 1,
    'batched_sampling': True,
    'rollout': settings['unroll_length'],
    'recurrence': settings['unroll_length'],
    'batch_size': settings['batch_agent_steps'],
    'num_batches_per_epoch': 1,
    'num_epochs': 1,
    'with_vtrace': True,
    'use_rnn': False,
    'encoder_conv_architecture': 'convnet_impala',
    'encoder_conv_mlp_layers': 256,
    'nonlinearity': 'relu',
    'obs_scale': 255.0,
    'normalize_input': False,
    'normalize_returns': False,
    'exploration_loss_coeff': 0.01,
    'max_grad_norm': 40.0,
    'learning_rate': 0.0006,
    'env_frameskip': settings['num_action_repeats'],
    'train_for_env_steps': _NEVER,
    'decorrelate_experience_max_seconds': 0,
  }
  arguments_ = [
    word for name, value in flags.items() for word in (f'--{name}', str(value))
  ]
  parser, _ = arguments.parse_sf_args(argv=arguments_)
  parser.add_argument(
    '--env_agents', type=int, default=settings['num_envs_per_worker']
  )
  return arguments.parse_full_cfg(parser, arguments_)


def main(settings: dict[str, Any], progress: str) -> None:
  """Train until interrupted; write records to the file `progress`."""
  configuration = make_configuration(settings, f'{progress}.runs')
  _, runner = train.make_runner(configuration)

  def stop(*_: Any) -> None:
    # It ends by itself at the next learner step.
    runner.cfg.train_for_env_steps = 0

  signal.signal(signal.SIGINT, stop)
  runner.init()
  with open(progress, 'w', newline='', encoding='utf-8') as file:
    rows = csv.writer(file)
    rows.writerow(('time', 'frames', 'learner_steps'))
    frames_of_step = (
      settings['batch_agent_steps'] * settings['num_action_repeats']
    )

    def write_row(_: Any, message: dict[str, Any], __: int) -> None:
      frames = message[misc.LEARNER_ENV_STEPS]
      rows.writerow((time.time(), frames, frames / frames_of_step))
      file.flush()

    runner.policy_msg_handlers[misc.LEARNER_ENV_STEPS].append(write_row)
    runner.run()


fix_summaries()
env_utils.register_env(_ENVIRONMENT, make_games)
if __name__ == '__main__':
  main(json.loads(sys.argv[1]), sys.argv[2])
