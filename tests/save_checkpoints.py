"""Process that saves checkpoints until it is killed.

Every value of a checkpoint is its number, so that a mixture of two is seen.
"""

import pathlib
import sys

import tensorflow as tf

from programs.runs import checkpoints

SIZE = 1_000_000  # Large enough that saving takes time.


def make_state(size=SIZE):
  return {
    'network': tf.Variable(tf.zeros(size)),
    'counts': tf.Variable(0, dtype=tf.int64),
  }


def main():
  directory = pathlib.Path(sys.argv[1])
  state = make_state()
  saved = checkpoints.Checkpoints(directory, state)
  number = 0
  while True:
    number += 1
    state['counts'].assign(number)
    state['network'].assign(tf.fill((SIZE,), float(number)))
    saved.save()
    print(number, flush=True)


if __name__ == '__main__':
  main()
