from concurrent import futures

import numpy as np

from programs.nodes import models
from programs.runs import flags


def test_nodes_that_are_threads_begin_with_the_same_variables():
  configuration = flags.resolve({'level_name': 'memory', 'seed': 7})
  with futures.ThreadPoolExecutor(4) as threads:
    made = [*threads.map(models.make_model, [configuration] * 4)]
  first, *others = (network.variables for network, _ in made)
  for other in others:
    for one, same in zip(first, other, strict=True):
      np.testing.assert_array_equal(one, same)
