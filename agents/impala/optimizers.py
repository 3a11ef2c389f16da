"""The reference's RMSProp, Adam, and the learning-rate schedule."""

from collections.abc import Callable, Sequence

import sonnet as snt
import tensorflow as tf

from agents.impala import config as config_lib


class RMSProp(snt.Module):
  """TensorFlow 1's RMSProp, not centred.

  Two things set it apart from Sonnet's and Keras's: the mean square starts at
  ones, and epsilon stands inside the square root; with the reference's epsilon
  of 0.1 both change the step size a great deal. The kernel is the very one of
  `tf.compat.v1.train.RMSPropOptimizer`.
  """

  def __init__(
    self,
    variables: Sequence[tf.Variable],
    decay: float,
    momentum: float,
    epsilon: float,
  ) -> None:
    super().__init__(name='rmsprop')
    self._variables = tuple(variables)
    self._decay = decay
    self._momentum_factor = momentum
    self._epsilon = epsilon
    self._mean_square = _slots(variables, tf.ones_like, 'mean_square')
    self._momentum = _slots(variables, tf.zeros_like, 'momentum')

  def apply(
    self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor
  ) -> None:
    """Apply gradients, in the order of the variables."""
    slots = zip(
      self._variables, self._mean_square, self._momentum, gradients, strict=True
    )
    for variable, mean_square, momentum, gradient in slots:
      tf.raw_ops.ResourceApplyRMSProp(
        var=variable.handle,
        ms=mean_square.handle,
        mom=momentum.handle,
        lr=learning_rate,
        rho=self._decay,
        momentum=self._momentum_factor,
        epsilon=self._epsilon,
        grad=gradient,
      )


class Adam(snt.Module):
  """Adam (https://arxiv.org/abs/1412.6980) with the paper's decay rates.

  Epsilon stands outside the square root. The kernel is the very one of
  `tf.compat.v1.train.AdamOptimizer`, which folds the correction of the bias
  into the learning rate, so that epsilon is that of the paper's section 2.
  """

  _MEAN_DECAY, _MEAN_SQUARE_DECAY = 0.9, 0.999

  def __init__(self, variables: Sequence[tf.Variable], epsilon: float) -> None:
    super().__init__(name='adam')
    self._variables = tuple(variables)
    self._epsilon = epsilon
    self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)
    self._mean = _slots(variables, tf.zeros_like, 'mean')
    self._mean_square = _slots(variables, tf.zeros_like, 'mean_square')

  def apply(
    self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor
  ) -> None:
    """Apply gradients, in the order of the variables."""
    steps = tf.cast(self._steps.assign_add(1), tf.float32)
    slots = zip(
      self._variables, self._mean, self._mean_square, gradients, strict=True
    )
    for variable, mean, mean_square, gradient in slots:
      tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=mean.handle,
        v=mean_square.handle,
        beta1_power=self._MEAN_DECAY**steps,
        beta2_power=self._MEAN_SQUARE_DECAY**steps,
        lr=learning_rate,
        beta1=self._MEAN_DECAY,
        beta2=self._MEAN_SQUARE_DECAY,
        epsilon=self._epsilon,
        grad=gradient,
      )


def _slots(
  variables: Sequence[tf.Variable],
  initial: Callable[[tf.Variable], tf.Tensor],
  name: str,
) -> list[tf.Variable]:
  return [
    tf.Variable(initial(variable), trainable=False, name=name)
    for variable in variables
  ]


def make_optimizer(
  config: config_lib.ImpalaConfig, variables: Sequence[tf.Variable]
) -> RMSProp | Adam:
  """Build the optimizer that `config` names, before its first step."""
  if config.optimizer == 'adam':
    return Adam(variables, config.adam_epsilon)
  return RMSProp(variables, config.decay, config.momentum, config.epsilon)


def linear_to_zero(
  initial: float, frames: tf.Tensor, total_frames: int
) -> tf.Tensor:
  """Return the learning rate: `initial` at frame 0, 0 from `total_frames` on.

  A float32 scalar, computed in float64 since frames go beyond 2^24.
  """
  left = 1.0 - tf.cast(frames, tf.float64) / float(total_frames)
  return tf.cast(initial * tf.maximum(left, 0.0), tf.float32)
