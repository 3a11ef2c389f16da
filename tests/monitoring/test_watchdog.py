"""Warnings of the watchdog."""

import re

import pytest
from records import make_node, make_record, make_table

from programs.monitoring import watchdog

SECONDS = 60
FLOWING = {'queue': make_table(size=3, inserts=900, samples=897)}
FULL = {'queue': make_table(size=32, inserts=900, samples=868)}


# A learner that has had a batch.
LEARNING = {'learner/9': make_node(calls={'waiting_for_data': 1})}


def look(nodes, tables=FLOWING, before=LEARNING):
  record = make_record(5000.0, {**before, **nodes}, tables)
  return watchdog.Watchdog(SECONDS).check(record)


@pytest.mark.parametrize(
  'nodes',
  [
    {},
    {'actor/0': make_node('environment', lasting=3600)},
    {'learner/0': make_node('learner_step', lasting=3600)},
    {'learner/0': make_node('waiting_for_data', lasting=59)},
    {'actor/0': make_node('waiting_for_queue', lasting=59)},
    {'evaluator/0': make_node('nothing_to_do', lasting=3600)},
    {'actor/0': make_node(age=59)},
  ],
)
def test_no_warning(nodes):
  assert look(nodes) == []


@pytest.mark.parametrize(
  ('name', 'node', 'said'),
  [
    (
      'learner/0',
      make_node('waiting_for_data', lasting=60),
      'waiting for data.*--watchdog_seconds=60.*3 of 32.*900.*897',
    ),
    (
      'actor/3',
      make_node('fetching_variables', lasting=60),
      'fetching variables',
    ),
    ('actor/7', make_node('forward_pass', age=60), 'silent.*logs/actor_7.log'),
  ],
)
def test_a_stuck_node_is_named(name, node, said):
  (warning,) = look({name: node})
  assert re.match(f'{name} has been {said}', warning)


@pytest.mark.parametrize(
  'make',
  [
    lambda lasting: make_node('waiting_for_data', lasting=lasting),
    lambda lasting: make_node('starting', age=lasting),
  ],
)
def test_the_limit_is_longer_before_the_first_batch(make):
  """Allow five times the limit, also after the first samples of a batch."""
  for tables in ({'queue': make_table(inserts=32)}, FLOWING, None):
    for lasting, is_wrong in ((299, False), (300, True)):
      nodes = {'learner/0': make(lasting)}
      assert bool(look(nodes, tables, before={})) == is_wrong


def test_a_queue_that_stays_full():
  nodes = {
    'actor/0': make_node('waiting_for_queue', lasting=70),
    'actor/1': make_node('waiting_for_queue', lasting=61),
    'actor/2': make_node('waiting_for_queue', lasting=1),
    'learner/0': make_node(
      'learner_step', lasting=70, seconds={'waiting_for_data': 1.0}
    ),
  }
  (warning,) = look(nodes, FULL)
  for part in ('actor/0, actor/1 ', '32 of 32', '--watchdog_seconds=60'):
    assert part in warning


def test_the_queue_may_be_full_when_learning_is_over():
  done = make_node(
    'nothing_to_do',
    lasting=70,
    seconds={'waiting_for_data': 1.0, 'nothing_to_do': 70.0},
  )
  nodes = {'actor/0': make_node('waiting_for_queue', lasting=70)}
  assert look({**nodes, 'learner/0': done}, FULL) == []
  # An idle evaluator does not mean that the learner is done.
  idle = make_node('nothing_to_do', lasting=70)
  assert look({**nodes, 'evaluator/0': idle}, FULL)


def test_a_server_that_does_not_answer(monkeypatch):
  now = 1000.0
  monkeypatch.setattr(watchdog.time, 'monotonic', lambda: now)
  dog = watchdog.Watchdog(SECONDS)

  def at(time, tables=None, nodes=LEARNING):
    nonlocal now
    now = time
    return dog.check(make_record(50_000 + time, nodes, tables))

  assert at(1299, nodes={}) == []  # It may take long to start.
  assert at(1300, FLOWING) == []
  assert at(1359) == []
  (warning,) = at(1360)
  assert 'Reverb server' in warning
  assert at(1361, FLOWING) == []
  assert dog.warnings == []
  assert at(1420) == []
  assert at(1421) != []


def test_a_warning_is_new_once_until_its_cause_is_over():
  dog = watchdog.Watchdog(SECONDS)

  def at(time, lasting):
    node = make_node(
      'waiting_for_data', lasting=lasting, calls={'waiting_for_data': 9}
    )
    return dog.check(make_record(time, {'learner/0': node}, FLOWING))

  (first,) = at(1060, 60)
  assert at(1061, 61) == [] and dog.warnings == [first]
  assert at(1062, 0) == [] and dog.warnings == []
  (second,) = at(1122, 60)
  assert second != first
