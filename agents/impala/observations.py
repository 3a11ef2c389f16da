"""Which observations a network can see; to ask takes no TensorFlow."""

from collections.abc import Mapping
from typing import Any

import tree


def split(observation: Mapping[str, Any]) -> tuple[Any, Any]:
  """The frame and the instruction of an observation that has both."""
  return observation['RGB_INTERLEAVED'], observation['INSTR']


def check(network: str, observation_spec: Any) -> None:
  """Looks whether a network's torso can take observations.

  Args:
    network: One of `config.NETWORKS`.
    observation_spec: An array, or frames and instruction in a dictionary with
      the names that DeepMind Lab gives them, 'RGB_INTERLEAVED' and 'INSTR'.

  Raises:
    ValueError: It cannot.
  """
  if tree.is_nested(observation_spec):
    if set(observation_spec) != {'RGB_INTERLEAVED', 'INSTR'}:
      raise ValueError(
        f'network {network} must see an array, or RGB_INTERLEAVED and INSTR, '
        f'got observations {sorted(observation_spec)}'
      )
    observation_spec, _ = split(observation_spec)
  shape = observation_spec.shape
  if network != 'mlp' and (len(shape) != 3 or min(shape[:2]) < 36):
    raise ValueError(
      f'network {network} must see frames [height, width, channels] of at '
      f'least 36x36, got observations of shape {shape}; network mlp takes any'
    )
