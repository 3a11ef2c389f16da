"""Configuration of a run: actors, inference, checkpoints, monitoring."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import environments
from agents.impala import config as config_lib
from environments import suites
from programs.monitoring import watchdog
from programs.runs import presets, run_directory

INFERENCE = ('local', 'server')

# Variable of a node's process: JSON, fields of the environment that its
# machine overrides.
OF_MACHINE = 'IMPALA_OF_MACHINE'


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Settings of a run; the agent's are in `ImpalaConfig`.

  Raises:
    ValueError: A value breaks its rule.
  """

  level_name: str = config_lib.option(
    'catch', 'Level to train on, a suite, or levels separated by commas.'
  )
  preset: str = config_lib.option(
    '',
    'Set of default values; empty: chosen by the level.',
    rule=config_lib.Rule(
      f'one of {", ".join(presets.PRESETS)}',
      lambda value: value in ('', *presets.PRESETS),
    ),
  )
  logdir: str = config_lib.option(
    '', 'Run directory; empty: a new runs/<level>_<date>.'
  )
  num_actors: int = config_lib.option(
    4, 'Number of actors.', 'processes', config_lib.POSITIVE
  )
  num_envs_per_actor: int = config_lib.option(
    1,
    'Environments per actor, stepped together with one forward pass.',
    'environments',
    config_lib.POSITIVE,
  )
  env_processes: int = config_lib.option(
    0,
    'Child processes in which an actor runs its environments, so that a crash '
    'costs one episode. 0: run them in the actor.',
    'processes',
    config_lib.NOT_NEGATIVE,
  )
  benchmark_mode: bool = config_lib.option(
    False,
    'Actors take random actions without a forward pass, to measure the speed '
    'of environments and pipeline.',
  )
  inference: str = config_lib.option(
    'local',
    'Where forward passes run: local in each actor, server in one process that '
    'batches the requests of all actors.',
    rule=config_lib.one_of(INFERENCE),
  )
  inference_min_batch: int = config_lib.option(
    1,
    'Batch size that the inference server waits for, at most for '
    'inference_timeout_ms.',
    'environments',
    config_lib.POSITIVE,
  )
  inference_max_batch: int = config_lib.option(
    1024,
    'Maximum batch size of the inference server.',
    'environments',
    config_lib.POSITIVE,
  )
  inference_timeout_ms: float = config_lib.option(
    100.0,
    'Maximum time that a request waits for inference_min_batch.',
    'milliseconds',
    config_lib.POSITIVE,
  )
  learner_threads: int = config_lib.option(
    0,
    'Threads of a learner step; 0: one for each core without an actor.',
    'threads',
    config_lib.NOT_NEGATIVE,
  )
  checkpoint_period_seconds: float = config_lib.option(
    600.0,
    'Time between checkpoints; a last one is written at the end.',
    'seconds',
    config_lib.POSITIVE,
  )
  log_period_seconds: float = config_lib.option(
    2.0, 'Time between metric records.', 'seconds', config_lib.POSITIVE
  )
  monitor: bool = config_lib.option(
    True,
    'Record statistics of the nodes every second, for top, dashboard, report '
    'and the watchdog.',
  )
  watchdog: str = config_lib.option(
    'warn',
    'Action when a node stops reporting or is blocked for too long: warn logs '
    'a warning, stop ends the run with exit status 1.',
    rule=config_lib.one_of(watchdog.ACTIONS),
  )
  watchdog_seconds: float = config_lib.option(
    60.0,
    'Time that a node may be silent or blocked; five times as long before the '
    'first batch.',
    'seconds',
    config_lib.POSITIVE,
  )
  profile: str = config_lib.option(
    '',
    'Role whose first node is profiled for some seconds, as text and as a '
    'TensorBoard trace; empty: none.',
    rule=config_lib.Rule(
      'learner, actor, inference, evaluator or empty (the profilers see '
      'nothing of the queue, which is C++)',
      lambda value: value in ('', 'learner', 'actor', 'inference', 'evaluator'),
    ),
  )
  evaluation_period_frames: int = config_lib.option(
    1_000_000,
    'Frames between evaluations; 0: evaluate at the end only.',
    'frames',
    config_lib.NOT_NEGATIVE,
  )
  test_num_episodes: int = config_lib.option(
    10,
    'Episodes of each level in an evaluation.',
    'episodes',
    config_lib.POSITIVE,
  )

  def __post_init__(self) -> None:
    config_lib.check(self)
    if self.env_processes > self.num_envs_per_actor:
      raise ValueError(
        f'env_processes must be at most num_envs_per_actor '
        f'({self.num_envs_per_actor}), got {self.env_processes}'
      )
    if self.inference == 'server':
      self._check_server()
    elif self.profile == 'inference':
      raise ValueError(
        'profile must be another role with inference=local (no such node '
        "exists), got 'inference'"
      )
    if self.watchdog == 'stop' and not self.monitor:
      raise ValueError("monitor must be true with watchdog='stop', got False")
    environments.check(self.level_name)

  def _check_server(self) -> None:
    if self.benchmark_mode:
      raise ValueError(
        'benchmark_mode must be false with inference=server (random actions '
        'need no forward pass), got True'
      )
    num_envs = self.num_actors * self.num_envs_per_actor
    most = min(num_envs, self.inference_max_batch)
    if self.inference_min_batch > most:
      raise ValueError(
        f'inference_min_batch must be at most {most}, the smaller of '
        f'num_actors x num_envs_per_actor ({num_envs}) and inference_max_batch '
        f'({self.inference_max_batch}), or every request would time out, got '
        f'{self.inference_min_batch}'
      )
    if self.inference_max_batch < self.num_envs_per_actor:
      raise ValueError(
        f'inference_max_batch must be at least num_envs_per_actor '
        f'({self.num_envs_per_actor}, the batch of one request), got '
        f'{self.inference_max_batch}'
      )


@dataclasses.dataclass(frozen=True)
class Configuration:
  """Complete configuration of a run, which every node gets.

  Raises:
    ValueError: There are fewer environments than levels.
  """

  run: RunConfig
  agent: config_lib.ImpalaConfig
  environment: environments.Settings

  def __post_init__(self) -> None:
    run = self.run
    levels = len(suites.split(run.level_name))
    if run.num_actors * run.num_envs_per_actor < levels:
      raise ValueError(
        f'num_actors x num_envs_per_actor must be at least {levels}, one '
        'environment for each level of level_name, got '
        f'{run.num_actors} x {run.num_envs_per_actor}'
      )

  @property
  def num_action_repeats(self) -> int:
    """Frames per agent step."""
    return environments.action_repeats(self.run.level_name, self.environment)

  @property
  def directory(self) -> run_directory.RunDirectory:
    """Run directory."""
    return run_directory.RunDirectory(pathlib.Path(self.run.logdir))

  @functools.cached_property
  def spec(self) -> environments.Spec:
    """Specs of the first level's environments.

    The launcher makes an environment for it; nodes get it with their pickled
    configuration.
    """
    return environments.spec(self.run.level_name, self.environment)

  @property
  def environment_here(self) -> environments.Settings:
    """Environment settings with the overrides of this machine."""
    own = json.loads(os.environ.get(OF_MACHINE, '{}'))
    return dataclasses.replace(self.environment, **own)

  def to_dict(self) -> dict[str, dict[str, Any]]:
    """Return group -> field -> value, the content of `config.json`."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(
    cls, groups: Mapping[str, Mapping[str, Any]]
  ) -> 'Configuration':
    """Return the configuration that `to_dict` gave.

    Missing fields take their default. Unknown fields, of other versions, are
    ignored.

    Raises:
      ValueError: A value breaks its rule.
    """
    made: dict[str, Any] = {}
    for group in dataclasses.fields(cls):
      config_class: Any = group.type
      names = {field.name for field in dataclasses.fields(config_class)}
      values = groups.get(group.name, {}).items()
      known = {name: value for name, value in values if name in names}
      made[group.name] = config_class(**known)
    return cls(**made)
