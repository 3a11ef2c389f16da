"""Every hyperparameter of the agent, with its unit, rule and source.

Defaults are those of the reference's experiment.py on DeepMind Lab
(google-deepmind/scalable_agent); `programs/runs/presets.py` has others.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tree

# Networks that always have the LSTM, as in the paper and the reference.
RECURRENT_NETWORKS = ('deep', 'shallow', 'benchmark')
NETWORKS = (*RECURRENT_NETWORKS, 'deep_atari', 'shallow_atari', 'mlp')
REWARD_CLIPPINGS = ('abs_one', 'soft_asymmetric')
CORRECTIONS = ('vtrace', 'one_step', 'epsilon', 'none')
LOSS_REDUCTIONS = ('sum', 'mean')
OPTIMIZERS = ('rmsprop', 'adam')
PRECISIONS = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class Rule:
  """A condition on a field's value, and its text for help and errors."""

  text: str
  holds: Callable[[Any], bool]


POSITIVE = Rule('greater than 0', lambda value: value > 0)
NOT_NEGATIVE = Rule('at least 0', lambda value: value >= 0)
FRACTION = Rule('from 0 to 1', lambda value: 0 <= value <= 1)


def one_of(names: tuple[str, ...]) -> Rule:
  """Return the rule of a field that takes one of these names."""
  return Rule(f'one of {", ".join(names)}', lambda value: value in names)


def option(
  default: Any, meaning: str, unit: str = '', rule: Rule | None = None
) -> Any:
  """Return a dataclass field with a flag; `meaning` is its `--help`."""
  return dataclasses.field(
    default=default, metadata={'help': meaning, 'unit': unit, 'rule': rule}
  )


def check(config: Any) -> None:
  """Raise a ValueError if a field of a dataclass breaks its rule."""
  for field in dataclasses.fields(config):
    rule, value = field.metadata.get('rule'), getattr(config, field.name)
    if rule and not rule.holds(value):
      raise ValueError(f'{field.name} must be {rule.text}, got {value!r}')


@dataclasses.dataclass(frozen=True)
class ImpalaConfig:
  """Hyperparameters of IMPALA; raises a ValueError if one breaks its rule."""

  total_environment_frames: int = option(
    1_000_000_000,
    'Training ends at the first learner step that reaches this count; the '
    'learning rate is zero there.',
    'frames',
    POSITIVE,
  )
  batch_size: int = option(2, 'Unrolls per learner step.', 'unrolls', POSITIVE)
  unroll_length: int = option(
    100,
    'Agent steps in an unroll. It holds one more observation, for the '
    'bootstrap value.',
    'agent steps',
    POSITIVE,
  )
  discounting: float = option(
    0.99, 'Discount factor of the return.', 'per agent step', FRACTION
  )
  baseline_cost: float = option(
    0.5,
    'Weight of the baseline loss, half the squared error of the values.',
    rule=NOT_NEGATIVE,
  )
  entropy_cost: float = option(
    0.00025, 'Weight of the entropy bonus.', rule=NOT_NEGATIVE
  )
  reward_scale: float = option(
    1.0,
    'Factor that the learner applies to rewards before it clips them.',
    rule=POSITIVE,
  )
  reward_clipping: str = option(
    'abs_one',
    'Clipping of rewards in the learner; reported returns are unclipped.',
    rule=one_of(REWARD_CLIPPINGS),
  )
  correction: str = option(
    'vtrace',
    "Off-policy correction: vtrace, or one of the paper's ablations. one_step "
    'applies importance weights to the policy gradient only, epsilon adds 1e-6 '
    "to the action's probability in the log, none corrects nothing.",
    rule=one_of(CORRECTIONS),
  )
  rho_threshold: float = option(
    1.0,
    'rho-bar: upper bound of the importance weights in the temporal '
    'differences of V-trace. 0: no bound.',
    rule=NOT_NEGATIVE,
  )
  pg_rho_threshold: float = option(
    1.0,
    'Upper bound of the importance weights of the policy gradient. 0: no '
    'bound.',
    rule=NOT_NEGATIVE,
  )
  c_threshold: float = option(
    1.0,
    'c-bar: upper bound of the importance weights along the traces of V-trace. '
    '0: no bound.',
    rule=NOT_NEGATIVE,
  )
  trace_lambda: float = option(
    1.0,
    "Lambda of V-trace (the paper's Remark 2): below 1 it shortens the traces.",
    rule=FRACTION,
  )
  loss_reduction: str = option(
    'sum',
    'Reduction of the loss over time and batch. mean is the sum divided by '
    'unroll_length x batch_size.',
    rule=one_of(LOSS_REDUCTIONS),
  )
  optimizer: str = option(
    'rmsprop',
    "rmsprop is TensorFlow 1's, as in the reference; adam has decays 0.9 and "
    '0.999.',
    rule=one_of(OPTIMIZERS),
  )
  learning_rate: float = option(
    0.00048,
    'Initial learning rate; it decays linearly to zero.',
    rule=POSITIVE,
  )
  decay: float = option(
    0.99, "Decay of RMSProp's mean squared gradient.", rule=FRACTION
  )
  momentum: float = option(0.0, 'RMSProp momentum.', rule=FRACTION)
  epsilon: float = option(
    0.1, 'RMSProp epsilon, added inside the square root.', rule=POSITIVE
  )
  adam_epsilon: float = option(
    1e-8, 'Adam epsilon, added outside the square root.', rule=POSITIVE
  )
  max_gradient_norm: float = option(
    0.0, 'Clips the global gradient norm; 0: no clipping.', rule=NOT_NEGATIVE
  )
  network: str = option(
    'deep', 'Torso of the network; see also lstm.', rule=one_of(NETWORKS)
  )
  lstm: bool = option(
    True,
    'Put an LSTM between torso and heads; networks '
    f'{", ".join(RECURRENT_NETWORKS)} always have it.',
  )
  center_frames: bool = option(
    False,
    "Subtract each observation's mean pixel and scale by 2; otherwise pixels "
    'are scaled to 0 to 1, as in the reference.',
  )
  precision: str = option(
    'float32',
    "Precision of the image torso's layers; variables, LSTM, heads and loss "
    'are float32. bfloat16 requires AVX-512, and is faster with avx512_bf16 or '
    'amx.',
    rule=one_of(PRECISIONS),
  )
  queue_capacity: int = option(
    1,
    'Maximum number of unrolls in the queue; actors wait while it is full.',
    'unrolls',
    POSITIVE,
  )
  replay_proportion: float = option(
    0.0,
    'Fraction of a batch that is sampled from replay; 0: no replay.',
    rule=Rule('from 0 to below 1', lambda value: 0 <= value < 1),
  )
  replay_capacity: int = option(
    10_000,
    'Maximum number of unrolls in replay, in memory; the oldest are removed.',
    'unrolls',
    POSITIVE,
  )
  extra_policy_lag: int = option(
    0,
    'Minimum age of the variables that actors act with, to study policy lag.',
    'learner steps',
    NOT_NEGATIVE,
  )
  seed: int = option(
    1,
    'Seed of the initial variables, environments and action sampling.',
    rule=NOT_NEGATIVE,
  )

  def __post_init__(self) -> None:
    check(self)
    if self.network in RECURRENT_NETWORKS and not self.lstm:
      raise ValueError(
        f'lstm must be true with network={self.network} (only '
        f'{", ".join(sorted(set(NETWORKS) - set(RECURRENT_NETWORKS)))} can do '
        'without), got False'
      )
    if self.network == 'mlp' and self.center_frames:
      raise ValueError('center_frames must be false with network=mlp, got True')
    if self.network == 'mlp' and self.precision != 'float32':
      raise ValueError(
        f'precision must be float32 with network=mlp, got {self.precision!r}'
      )
    wanted = self.batch_size * self.replay_proportion
    if (
      not math.isclose(self.num_replayed, wanted, abs_tol=1e-3)
      or self.num_replayed == self.batch_size
    ):
      raise ValueError(
        f'replay_proportion must be a multiple of 1/{self.batch_size} below 1 '
        f'with batch_size={self.batch_size}, got {self.replay_proportion}'
      )

  @property
  def num_replayed(self) -> int:
    """Number of replayed unrolls in a batch."""
    return round(self.batch_size * self.replay_proportion)


def check_observations(network: str, observation_spec: Any) -> None:
  """Raise a ValueError if a network cannot take observations.

  They are an array, or DeepMind Lab's image and instruction in a dictionary of
  'RGB_INTERLEAVED' and 'INSTR'.
  """
  if tree.is_nested(observation_spec):
    if set(observation_spec) != {'RGB_INTERLEAVED', 'INSTR'}:
      raise ValueError(
        f'network {network} takes an array, or a dictionary of '
        f'RGB_INTERLEAVED and INSTR, got {sorted(observation_spec)}'
      )
    observation_spec = observation_spec['RGB_INTERLEAVED']
  shape = observation_spec.shape
  if network != 'mlp' and (len(shape) != 3 or min(shape[:2]) < 36):
    raise ValueError(
      f'network {network} takes images [height, width, channels] of at least '
      f'36x36, got observations of shape {shape}; network=mlp takes any shape'
    )
