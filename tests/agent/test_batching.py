"""Dynamic batching: the reference's own list of tests, and beyond it."""

import concurrent.futures
import contextlib
import re
import threading
import time

import numpy as np
import processes
import pytest
import tensorflow as tf

from agents.impala import batching, timing

SECONDS = 20  # After which a test that hangs fails.


@pytest.fixture
def callers():
  """Calls from threads of their own, which none waits for without a limit."""
  called = []

  def call(function, *inputs):
    future = concurrent.futures.Future()

    def run():
      try:
        future.set_result(function(*inputs))
      except Exception as error:
        future.set_exception(error)

    called.append(getattr(function, 'batcher', None))
    called.append(getattr(function, '__self__', None))
    threading.Thread(target=run, daemon=True).start()
    return future

  yield call
  for each in called:
    if isinstance(each, batching.Batcher):
      each.close()


def results(futures):
  return [future.result(SECONDS) for future in futures]


def errors(futures):
  return [future.exception(SECONDS) for future in futures]


def batched(*sizes_and_time, **named):
  """Batches concurrent calls of a function, in a thread."""

  def decorate(function):
    batcher = batching.Batcher(*sizes_and_time, **named)

    def serve():
      with contextlib.suppress(Exception):  # Which the callers get.
        batcher.serve(lambda inputs: function(*inputs))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def call(*inputs):
      return batcher.compute(inputs)

    call.batcher, call.thread = batcher, thread
    return call

  return decorate


def rows(*values):
  return np.array(values, np.int32)


def sizes(numbers):
  return np.full(len(numbers), len(numbers))


def test_two_are_one_batch(callers):
  @batched(minimum_batch_size=2, timeout_ms=None)
  def add(a, b):
    return {'sum': a + b, 'size': sizes(a)}

  one, two = results(
    [callers(add, rows(1), rows(2)), callers(add, rows(10), rows(20))]
  )
  assert one == {'sum': [3], 'size': [2]}
  assert two == {'sum': [30], 'size': [2]}


def test_many_small(callers):
  calls = []

  @batched()
  def double(numbers):
    calls.append(len(numbers))
    return 2 * numbers

  def ask(first):
    return [double(np.array([[first + i, 1]]))[0].tolist() for i in range(20)]

  answers = results([callers(ask, 100 * thread) for thread in range(10)])
  assert results([callers(double.batcher.close)]) == [None]
  for thread, got in enumerate(answers):
    assert got == [[2 * (100 * thread + i), 2] for i in range(20)]
  assert sum(calls) == 200


def test_rows_of_a_request_stay_together(callers):
  batcher = batching.Batcher(6, 8, timeout_ms=None)
  requests = [rows(1, 2, 3), rows(4), rows(5, 6), rows(7, 8, 9)]
  futures = []
  for number, request in enumerate(requests):
    futures.append(callers(batcher.compute, request))
    processes.wait_until(lambda: len(batcher._waiting) == number + 1, SECONDS)  # noqa: B023
  a_timer = timing.Timer()
  callers(batcher.serve, lambda numbers: (numbers * 10, numbers), a_timer)
  # The fourth would have been the seventh to ninth row.
  tens, same = futures[2].result(SECONDS)
  assert (tens.tolist(), same.tolist()) == ([50, 60], [5, 6])
  assert a_timer.read()['counts'] == {'batches': 1, 'requests': 3, 'rows': 6}
  batcher.close()
  assert isinstance(futures[3].exception(SECONDS), batching.Closed)


def test_a_batch_that_cannot_reach_its_minimum_is_made(callers):
  """Two requests are more than the minimum, and more than the maximum."""
  batcher = batching.Batcher(5, 6, timeout_ms=None)
  futures = [callers(batcher.compute, rows(1, 2, 3, i)) for i in range(2)]
  callers(batcher.serve, sizes)
  processes.wait_until(lambda: any(each.done() for each in futures), SECONDS)
  batcher.close()
  assert errors(futures).count(None) == 1


@pytest.mark.parametrize(
  ('inputs', 'rule'),
  [
    ((rows(1), rows(1, 2)), 'same first dimension, got shapes'),
    ((rows(),), 'must have 1 to maximum_batch_size rows, 4, got 0'),
    ((rows(1, 2, 3, 4, 5),), 'maximum_batch_size rows, 4, got 5'),
  ],
)
def test_a_request_without_rows_or_with_too_many_is_refused(
  callers, inputs, rule
):
  batcher = batching.Batcher(1, 4)
  with pytest.raises(ValueError, match=rule):
    callers(batcher.compute, inputs).result(SECONDS)


@pytest.mark.parametrize(
  ('inputs', 'rule'),
  [
    (np.zeros((1, 3)), r'float64 \(2,\), got float64 \(3,\)'),
    (np.zeros((1, 2), np.float32), r'float64 \(2,\), got float32 \(2,\)'),
    ((np.zeros((1, 2)),), 'structure of the first request'),
  ],
)
def test_a_request_unlike_the_first_is_refused_alone(callers, inputs, rule):
  batcher = batching.Batcher(3, timeout_ms=None)
  waiting = callers(batcher.compute, np.zeros((1, 2)))
  processes.wait_until(lambda: batcher._waiting, SECONDS)
  with pytest.raises(ValueError, match=rule):
    callers(batcher.compute, inputs).result(SECONDS)
  # The others have nothing of it.
  more = callers(batcher.compute, np.ones((2, 2)))
  callers(batcher.serve, lambda numbers: numbers + 1)
  assert waiting.result(SECONDS).tolist() == [[1, 1]]
  assert more.result(SECONDS).tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize(
  ('outputs', 'message'),
  [
    (lambda numbers: np.float32(3), 'must have a batch dimension, 2'),
    (lambda numbers: (numbers, None), 'must have a batch dimension, 2'),
    (lambda numbers: numbers[:1], 'batch dimension .* expected 2, got 1'),
    (lambda numbers: 1 // 0, 'ZeroDivisionError: integer division'),
  ],
)
def test_an_error_of_the_computation_reaches_every_caller(
  callers, outputs, message
):
  function = batched(2, 2, None)(outputs)
  futures = [callers(function, rows(i)) for i in range(4)]
  for error in errors(futures):  # Two are computed, two wait.
    assert isinstance(error, batching.Closed)
    assert re.search(message, str(error))
    assert isinstance(error.__cause__, (ValueError, ZeroDivisionError))
  with pytest.raises(batching.Closed, match=message):
    callers(function, rows(1)).result(SECONDS)


def test_waiting_and_in_flight_callers_are_released_at_the_close(callers):
  entered, leave = threading.Event(), threading.Event()

  @batched(maximum_batch_size=1)
  def wait(numbers):
    entered.set()
    assert leave.wait(SECONDS)
    return numbers

  in_flight = callers(wait, rows(1))
  assert entered.wait(SECONDS)
  waiting = callers(wait, rows(2))
  processes.wait_until(lambda: wait.batcher._waiting, SECONDS)
  closing = callers(wait.batcher.close)
  for error in errors([in_flight, waiting]):
    assert isinstance(error, batching.Closed)
    assert str(error) == 'the batcher is closed' and error.__cause__ is None
  with pytest.raises(batching.Closed):
    callers(wait, rows(3)).result(SECONDS)
  leave.set()
  assert closing.exception(SECONDS) is None  # What it computed is too late.


def test_the_minimum_is_waited_for_until_the_timeout(callers):
  function = batched(minimum_batch_size=2, timeout_ms=1000)(sizes)
  start = time.monotonic()
  assert callers(function, rows(1)).result(SECONDS) == [1]
  assert 0.9 <= time.monotonic() - start <= 1.5
  start = time.monotonic()
  assert results([callers(function, rows(i)) for i in range(2)]) == [[2], [2]]
  assert time.monotonic() - start <= 0.5


def test_the_timeout_counts_from_the_oldest_request(callers):
  batcher = batching.Batcher(minimum_batch_size=9, timeout_ms=500)
  first = callers(batcher.compute, rows(1))
  processes.wait_until(lambda: batcher._waiting, SECONDS)
  time.sleep(0.3)
  second = callers(batcher.compute, rows(2))
  processes.wait_until(lambda: len(batcher._waiting) == 2, SECONDS)
  start = time.monotonic()
  callers(batcher.serve, sizes)
  assert results([first, second]) == [[2], [2]]
  assert time.monotonic() - start <= 0.4


def test_a_batch_has_the_maximum_at_most(callers):
  batcher = batching.Batcher(maximum_batch_size=2)
  futures = [callers(batcher.compute, rows(i)) for i in range(5)]
  processes.wait_until(lambda: len(batcher._waiting) == 5, SECONDS)
  callers(batcher.serve, sizes)
  assert sorted(int(got[0]) for got in results(futures)) == [1, 2, 2, 2, 2]


def test_batches_may_complete_out_of_order(callers):
  batcher = batching.Batcher(maximum_batch_size=1)
  leave = [threading.Event() for _ in range(3)]
  entered = threading.Barrier(4)

  def add(numbers):
    entered.wait(SECONDS)
    assert leave[numbers[0]].wait(SECONDS)
    return numbers + 10

  for _ in leave:
    callers(batcher.serve, add)
  futures = [callers(batcher.compute, rows(i)) for i in range(3)]
  entered.wait(SECONDS)
  for i in (2, 0, 1):
    assert not futures[i].done()
    leave[i].set()
    assert futures[i].result(SECONDS) == [10 + i]


def test_outputs_have_the_structure_and_types_of_the_function(callers):
  @batched(minimum_batch_size=3, timeout_ms=None)
  def function(nest, words):
    assert nest['a'].shape == (3, 2, 5) and words.dtype == object
    return {
      'b': (tf.cast(nest['a'], tf.float16), words),
      'c': [nest['a'][:, 0] > 0],
    }

  one, two = results(
    [
      callers(
        function,
        {'a': tf.fill([len(text), 2, 5], len(text))},
        np.array(text, object),
      )
      for text in ([b'x'], [b'yes', b''])
    ]
  )
  assert one['b'][0].shape == (1, 2, 5) and one['b'][0].dtype == np.float16
  assert two['b'][1].tolist() == [b'yes', b'']
  assert two['c'][0].shape == (2, 5) and two['c'][0].all()
  assert (one['b'][0] == 1).all() and (two['b'][0] == 2).all()


def test_options_that_make_no_sense():
  for options, rule in (((0, 1), 'at least 1'), ((5, 4), 'at least minimum')):
    with pytest.raises(ValueError, match=rule):
      batching.Batcher(*options)
