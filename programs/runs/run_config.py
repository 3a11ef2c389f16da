"""What is run and how it is watched, beside the agent and its levels."""

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

# Variable of a node's process: JSON, fields of the environment -> values.
OF_MACHINE = 'IMPALA_OF_MACHINE'


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """What is run and how it is watched; the agent's own is `ImpalaConfig`.

  Raises:
    ValueError: A value breaks its rule.
  """

  level_name: str = config_lib.option(
    'catch', 'Level to train on; or a suite, or levels with commas between.'
  )
  preset: str = config_lib.option(
    '',
    'Whose defaults are taken; empty: chosen by the level.',
    rule=config_lib.Rule(
      f'one of {", ".join(presets.PRESETS)}',
      lambda value: value in ('', *presets.PRESETS),
    ),
  )
  logdir: str = config_lib.option(
    '', 'Run directory; empty: a new one, runs/<level>_<date>.'
  )
  num_actors: int = config_lib.option(
    4, 'Actor processes.', 'processes', config_lib.POSITIVE
  )
  num_envs_per_actor: int = config_lib.option(
    1,
    'Environments that an actor steps with one forward pass.',
    'environments',
    config_lib.POSITIVE,
  )
  env_processes: int = config_lib.option(
    0,
    'Child processes that an actor runs its environments in, at most one for '
    'each: a crash then costs an episode; 0: in the actor.',
    'processes',
    config_lib.NOT_NEGATIVE,
  )
  benchmark_mode: bool = config_lib.option(
    False,
    'Actors take random actions without a forward pass: measures environments '
    'and pipeline alone.',
  )
  inference: str = config_lib.option(
    'local',
    'Where actions are chosen: by each actor with a forward pass of its own, '
    "or by one server that makes one forward pass of many actors' requests.",
    rule=config_lib.one_of(INFERENCE),
  )
  inference_min_batch: int = config_lib.option(
    1,
    'The server waits for requests of so many environments, in vain at most '
    'for inference_timeout_ms.',
    'environments',
    config_lib.POSITIVE,
  )
  inference_max_batch: int = config_lib.option(
    1024,
    "Environments in a forward pass of the server's at most.",
    'environments',
    config_lib.POSITIVE,
  )
  inference_timeout_ms: float = config_lib.option(
    100.0,
    'How long a request waits for inference_min_batch at most.',
    'milliseconds',
    config_lib.POSITIVE,
  )
  learner_threads: int = config_lib.option(
    0,
    'Threads of a learner step; 0: the cores that actors leave, at least 1.',
    'threads',
    config_lib.NOT_NEGATIVE,
  )
  checkpoint_period_seconds: float = config_lib.option(
    600.0,
    'Time between checkpoints; one more is written at the end.',
    'seconds',
    config_lib.POSITIVE,
  )
  log_period_seconds: float = config_lib.option(
    2.0, 'Time between rows of metrics.', 'seconds', config_lib.POSITIVE
  )
  monitor: bool = config_lib.option(
    True,
    'Record every second what the nodes do: for top, dashboard, report and the '
    'watchdog.',
  )
  watchdog: str = config_lib.option(
    'warn',
    'What happens when a node is silent or waits for too long: a warning, or '
    'the end of the run with status 1.',
    rule=config_lib.one_of(watchdog.ACTIONS),
  )
  watchdog_seconds: float = config_lib.option(
    60.0,
    'How long a node may be silent or wait; five times that before the first '
    'batch.',
    'seconds',
    config_lib.POSITIVE,
  )
  profile: str = config_lib.option(
    '',
    'Role whose first node is profiled for some seconds: a text, and a trace '
    'for TensorBoard; empty: none.',
    rule=config_lib.Rule(
      'learner, actor, inference, evaluator or empty (the queue is C++, of '
      'which neither profiler sees anything)',
      lambda value: value in ('', 'learner', 'actor', 'inference', 'evaluator'),
    ),
  )
  evaluation_period_frames: int = config_lib.option(
    1_000_000,
    'Evaluates every so many frames; 0: only at the end.',
    'frames',
    config_lib.NOT_NEGATIVE,
  )
  test_num_episodes: int = config_lib.option(
    10, 'Episodes of an evaluation.', 'episodes', config_lib.POSITIVE
  )

  def __post_init__(self) -> None:
    config_lib.check(self)
    if self.env_processes > self.num_envs_per_actor:
      raise ValueError(
        f'env_processes must be at most num_envs_per_actor, '
        f'{self.num_envs_per_actor}, got {self.env_processes}'
      )
    if self.inference == 'server':
      self._check_server()
    elif self.profile == 'inference':
      raise ValueError(
        'profile must be another role with inference=local, where there is no '
        "such node, got 'inference'"
      )
    if self.watchdog == 'stop' and not self.monitor:
      raise ValueError("monitor must be true with watchdog='stop', got False")
    suites.check(self.level_name)

  def _check_server(self) -> None:
    if self.benchmark_mode:
      raise ValueError(
        'benchmark_mode must be false with inference=server (it makes no '
        'forward pass that could be served), got True'
      )
    all_of_them = self.num_actors * self.num_envs_per_actor
    most = min(all_of_them, self.inference_max_batch)
    if self.inference_min_batch > most:
      raise ValueError(
        f'inference_min_batch must be at most {most}, the least of num_actors '
        f'x num_envs_per_actor, {all_of_them}, and inference_max_batch, '
        f'{self.inference_max_batch} (every request would wait for its '
        f'timeout), got {self.inference_min_batch}'
      )
    if self.inference_max_batch < self.num_envs_per_actor:
      raise ValueError(
        f'inference_max_batch must be at least num_envs_per_actor, '
        f"{self.num_envs_per_actor}, since an actor's environments stay "
        f'together, got {self.inference_max_batch}'
      )


@dataclasses.dataclass(frozen=True)
class Configuration:
  """All that a run is made of; plain data, so that every node can have it.

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
        f'num_actors x num_envs_per_actor must be at least {levels}, an '
        'environment for each level of level_name (the others would never be '
        f'played), got {run.num_actors} x {run.num_envs_per_actor}'
      )

  @property
  def num_action_repeats(self) -> int:
    """Frames in an agent step."""
    return environments.action_repeats(self.run.level_name, self.environment)

  @property
  def directory(self) -> run_directory.RunDirectory:
    """Where the run keeps its files."""
    return run_directory.RunDirectory(pathlib.Path(self.run.logdir))

  @functools.cached_property
  def spec(self) -> environments.Spec:
    """Specs of the first level's environments.

    The launcher makes an environment to look; nodes get the answer with their
    pickled configuration.
    """
    return environments.spec(self.run.level_name, self.environment)

  @property
  def environment_here(self) -> environments.Settings:
    """Settings of environments in this process, with its machine's own."""
    own = json.loads(os.environ.get(OF_MACHINE, '{}'))
    return dataclasses.replace(self.environment, **own)

  def to_dict(self) -> dict[str, dict[str, Any]]:
    """Group -> field -> value, as `config.json` holds it."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(
    cls, groups: Mapping[str, Mapping[str, Any]]
  ) -> 'Configuration':
    """The inverse of `to_dict`.

    Fields that are not there take their default; fields that nobody knows, as
    those of other versions, are ignored.

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
