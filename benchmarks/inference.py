"""Where does an inference server beat a forward pass in each actor?"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import courier
import numpy as np
import rich.table

from agents.impala import batching
from benchmarks import commands, pipeline, trial
from programs import inference as node
from programs import nodes, run_config, runs
from programs.inspection import recording

NAME = 'inference'

_DESCRIPTION = """\
Measures the throughput of the real training program with --inference=server and
with --inference=local, in pairs whose order alternates; the batcher alone; and
what it costs that the LSTM's state goes along with every request. Prints tables
and, as the last line, one JSON object. Progress goes to the standard error.

  ./impala benchmark inference
  ./impala benchmark inference --cases=pong_2x16,catch_16x1 --pairs=3
  ./impala benchmark inference --cases=pong_16x1 --inference_min_batch=8

What counts is the median of the pairs' ratios. Leave the machine alone
meanwhile."""

# Name -> flags of `train`. 2 x 16 is how a small machine is best used; 16 x 1
# is many small actors, as in the reference.
CASES: Mapping[str, Sequence[str]] = {
  f'{game}_{actors}x{each}': (
    *flags,
    f'--num_actors={actors}',
    f'--num_envs_per_actor={each}',
  )
  for game, flags in (
    ('catch', ('--level_name=catch',)),
    ('pong', ('--level_name=atari_pong',)),
    ('pong_deep', ('--level_name=atari_pong', '--network=deep_atari')),
  )
  for actors, each in ((2, 16), (16, 1))
}

# The reference's benchmarks of its batcher: shape of a request, how many.
REQUESTS = {'many_small': ((1, 10), 1000), 'many_large': ((1, 100_000), 1000)}
_CALLERS = 32
_STATE_CALLS, _STATE_ROUNDS = 300, 7
_LSTM_SIZE = 256


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  names = [name for name in given.cases.split(',') if name]
  if given.pairs < 1:
    parser.error(f'--pairs must be at least 1, got {given.pairs}')
  if not set(names) <= set(CASES):
    parser.error(f'--cases must be of {", ".join(CASES)}, got {given.cases!r}')
  with commands.failing(NAME):
    result: dict[str, Any] = {
      'benchmark': NAME,
      **commands.machine(),
      'batcher': {name: measure_batcher(*REQUESTS[name]) for name in REQUESTS},
      'core_state': {num: measure_state(num) for num in (1, 16)},
      'cases': {
        name: summarise(
          [
            _measure_pair((*CASES[name], *train_flags), number, name, given)
            for number in range(given.pairs)
          ]
        )
        for name in names
      },
    }
  commands.finish(result, tables(result), given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  parser.add_argument(
    '--cases',
    default=','.join(CASES),
    metavar='NAMES',
    help=f'of {", ".join(CASES)}; empty: none [default all]',
  )
  parser.add_argument(
    '--pairs',
    type=int,
    default=3,
    metavar='INT',
    help='runs with the server, and as many without, of each [default 3]',
  )
  commands.add_times(parser, warmup_seconds=10.0, window_seconds=20.0)
  return parser


def _measure_pair(
  train_flags: Sequence[str], number: int, name: str, given: argparse.Namespace
) -> dict[str, dict[str, Any]]:
  """'server' and 'local' -> result of `pipeline.measure`."""
  pair = {}
  for where in ('server', 'local') if number % 2 else ('local', 'server'):
    trial.tell(f'{name}, pair {number + 1} of {given.pairs}, {where}')
    with trial.start([*train_flags, f'--inference={where}']) as run:
      pair[where] = pipeline.measure(
        run, given.warmup_seconds, given.window_seconds
      )
      pair[where]['rows_per_pass'] = _rows_per_pass(run.directory)
  return pair


def _rows_per_pass(directory: runs.RunDirectory) -> float | None:
  """Environments in a forward pass of the server's; None without one."""
  records = recording.Reader(directory.metrics / 'graph.jsonl').read()
  told = records[-1]['nodes'].get(f'{nodes.INFERENCE}/0')
  if not told:
    return None
  return told['counts']['rows'] / told['counts']['batches']


def summarise(
  pairs: Sequence[Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
  """What the pairs of one case come to, as it stands in the JSON object."""
  steps = {
    where: [pair[where]['agent_steps_per_second'] for pair in pairs]
    for where in run_config.INFERENCE
  }
  ratios = [
    with_ / without
    for with_, without in zip(steps['server'], steps['local'], strict=True)
  ]
  first = pairs[0]['server']
  return {
    **{
      fact: first[fact]
      for fact in (
        'level_name',
        'num_actors',
        'num_envs_per_actor',
        'git_revision',
        'cores',
        'cpu_model',
      )
    },
    **steps,
    'ratios': ratios,
    'median_ratio': statistics.median(ratios),
    'rows_per_pass': first['rows_per_pass'],
    'policy_lag_mean': {
      where: pairs[0][where]['policy_lag_mean']
      for where in run_config.INFERENCE
    },
    'server_cores_used': first['roles'][nodes.INFERENCE]['cores_used'],
    'actor_rss_mb': {
      where: pairs[0][where]['roles'][nodes.ACTOR]['rss_mb_largest']
      for where in run_config.INFERENCE
    },
  }


def measure_batcher(shape: Sequence[int], num_requests: int) -> dict[str, Any]:
  """Requests of many threads through a batched sum.

  Args:
    shape: Of each of two arguments, float32.
    num_requests: Of all threads together.

  Returns:
    What a request takes: the median of five rounds, after one of warming up.
  """
  trial.tell(f'the batcher alone, {num_requests} requests of {[*shape]}')
  batches = 0

  @batching.batched()
  def add(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    nonlocal batches
    batches += 1
    return one + other

  ones = np.ones(shape, np.float32)

  def ask() -> None:
    for _ in range(num_requests // _CALLERS):
      add(ones, ones)

  times = []
  for _ in range(6):
    batches, start = 0, time.perf_counter()
    _in_threads([ask] * _CALLERS)
    times.append(time.perf_counter() - start)
  add.close()
  num_asked = num_requests // _CALLERS * _CALLERS
  return {
    'shape': [*shape],
    'callers': _CALLERS,
    'microseconds_per_request': 1e6 * statistics.median(times[1:]) / num_asked,
    'rows_per_batch': num_asked * shape[0] / batches,
  }


def _in_threads(functions: Sequence[Callable[[], None]]) -> None:
  threads = [threading.Thread(target=function) for function in functions]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()


def measure_state(num_environments: int) -> dict[str, float]:
  """What an LSTM's state costs on its way to the server and back.

  Args:
    num_environments: Of one request, each with a stack of Atari frames.

  Returns:
    Processor time of both sides and wall time of a call, without the state and
    with it, in microseconds: medians of alternating rounds.
  """
  trial.tell(f'the core state of {num_environments} environments')
  server = courier.Server(thread_pool_size=1)
  server.Bind('step', _answer)
  server.Start()
  client = nodes.NodeClient(courier.Client(server.address), threading.Event())
  frames = np.zeros((num_environments, 84, 84, 4), np.uint8)
  state = [np.zeros((num_environments, _LSTM_SIZE), np.float32)] * 2
  found: dict[str, list[float]] = {}
  for _ in range(_STATE_ROUNDS):
    for name, arguments in (('without', []), ('with', state)):
      wall, cpu = time.perf_counter(), time.process_time()
      for _ in range(_STATE_CALLS):
        node.ask(client, frames, *arguments)
      cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
      found.setdefault(f'cpu_{name}', []).append(1e6 * cpu / _STATE_CALLS)
      found.setdefault(f'wall_{name}', []).append(1e6 * wall / _STATE_CALLS)
  server.Stop()
  return {name: statistics.median(times) for name, times in found.items()}


def _answer(request: bytes) -> bytes:
  """Gives back what came, but for the frames."""
  return node.pack(node.unpack(request)[1:])


def tables(result: Mapping[str, Any]) -> list[rich.table.Table | str]:
  """The result for people."""
  cases = table = _make_table(
    'agent steps/s, medians',
    ('case', 'local', 'server', 'server/local', 'rows a pass'),
  )
  for name, case in result['cases'].items():
    table.add_row(
      name,
      *(f'{statistics.median(case[w]):,.0f}' for w in run_config.INFERENCE),
      f'{case["median_ratio"]:.2f}',
      f'{case["rows_per_pass"]:.1f}',
    )
  batcher = table = _make_table(
    'the batcher alone', ('requests', 'us a request', 'rows a batch')
  )
  for name, figures in result['batcher'].items():
    table.add_row(
      f'{name} {figures["shape"]}',
      f'{figures["microseconds_per_request"]:,.0f}',
      f'{figures["rows_per_batch"]:.1f}',
    )
  states = table = _make_table(
    'us a call, frames without and with core state',
    ('environments', 'wall', 'with', 'processor', 'with'),
  )
  for num, figures in result['core_state'].items():
    columns = ('wall_without', 'wall_with', 'cpu_without', 'cpu_with')
    table.add_row(f'{num}', *(f'{figures[name]:,.0f}' for name in columns))
  return [cases, batcher, states]


def _make_table(title: str, headings: Sequence[str]) -> rich.table.Table:
  table = rich.table.Table(headings[0], title=title, title_justify='left')
  for heading in headings[1:]:
    table.add_column(heading, justify='right')
  return table
