"""How fast are RLlib's IMPALA and Sample Factory with the same network?"""

import argparse
import math
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import rich.table

from benchmarks import (
  commands,
  peer_installation,
  peer_runs,
  pipeline,
  trial,
)

NAME = 'peers'
_UNROLL_LENGTH = 20
_BATCH_SIZE = 32
_ACTION_REPEATS = 4

_DESCRIPTION = f"""\
Trains Pong with this project's program and with each peer, one after the
other, and compares the agent steps that their learners take. In every round
each has its turn, in the next one in the opposite order. 84x84 pixels, 4
stacked, action repeat {_ACTION_REPEATS}; convolutions 16 8x8/4 and 32 4x4/2, a
layer of 256; unrolls of {_UNROLL_LENGTH} agent steps, {_BATCH_SIZE} in a batch;
V-trace.

The peers are installed first, each into an environment of its own: Python 3.11,
2 GB each. Where other settings are faster for a peer, they are run as well.

  ./impala benchmark peers
  ./impala benchmark peers --rounds=1 --contestants=pipeline,rllib
  ./impala benchmark peers --num_actors=2 --num_envs_per_actor=16

Flags of train are those of this project's program. Prints a table and, as the
last line, one JSON object. Leave the machine alone meanwhile."""


class Peer(NamedTuple):
  """A peer with its settings.

  Attributes:
    program: In the folder `peer`, and what is installed for it.
    settings: What differs between them.
  """

  program: str
  settings: Mapping[str, Any]

  def told(self) -> dict[str, Any]:
    """All settings, as the program gets them."""
    return {
      'unroll_length': _UNROLL_LENGTH,
      'batch_agent_steps': _UNROLL_LENGTH * _BATCH_SIZE,
      'num_workers': 2,
      **self.settings,
    }


PEERS = {
  'rllib': Peer('rllib', {'num_envs_per_worker': 16}),
  'rllib_fast': Peer('rllib', {'num_envs_per_worker': 64}),
  'sample_factory': Peer(
    'sample_factory', {'environments': 'gymnasium', 'num_envs_per_worker': 16}
  ),
  'sample_factory_fast': Peer(
    'sample_factory', {'environments': 'envpool', 'num_envs_per_worker': 64}
  ),
}
# In the order of the first round.
CONTESTANTS = (pipeline.NAME, *PEERS)


def main(arguments: Sequence[str]) -> int:
  """Installs, measures and prints; returns the exit status."""
  parser = _make_parser()
  given, train_flags = parser.parse_known_args(arguments)
  commands.check_window(parser, given)
  names = given.contestants.split(',')
  unknown = [name for name in names if name not in CONTESTANTS]
  if unknown or len(set(names)) < len(names):
    parser.error(
      f'--contestants must be distinct ones of {",".join(CONTESTANTS)}, got '
      f'{given.contestants}'
    )
  if given.rounds < 1:
    parser.error(f'--rounds must be at least 1, got {given.rounds}')
  with commands.failing(NAME):
    installed = {
      program: peer_installation.ensure(program, given.folder)
      for program in dict.fromkeys(
        PEERS[name].program for name in names if name in PEERS
      )
    }
    turns = [
      _take_turn(number, name, given, train_flags, installed)
      for number in range(given.rounds)
      for name in (names if number % 2 == 0 else names[::-1])
    ]
  result = make_result(turns, installed)
  commands.finish(result, [_table(result)], given.output)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = commands.make_parser(NAME, _DESCRIPTION)
  commands.add_times(parser, warmup_seconds=30.0, window_seconds=60.0)
  parser.add_argument(
    '--rounds',
    type=int,
    default=2,
    metavar='INT',
    help='turns of each [at least 1; default 2]',
  )
  parser.add_argument(
    '--contestants',
    default=','.join(CONTESTANTS),
    metavar='LIST',
    help=f'who is measured [with commas; default {",".join(CONTESTANTS)}]',
  )
  parser.add_argument(
    '--folder',
    type=pathlib.Path,
    metavar='DIR',
    help='where the peers are installed '
    f'[default {peer_installation.default_root()}]',
  )
  return parser


def _take_turn(
  number: int,
  name: str,
  given: argparse.Namespace,
  train_flags: Sequence[str],
  installed: Mapping[str, peer_installation.Installation],
) -> dict[str, Any]:
  """Measures a contestant once.

  Raises:
    trial.TrialError: It ended, or learned nothing for minutes.
  """
  trial.tell(f'round {number + 1} of {given.rounds}: {name}')
  times = (given.warmup_seconds, given.window_seconds)
  if name == pipeline.NAME:
    whole = pipeline.run(train_flags, *times)
    settings = {
      'num_workers': whole['num_actors'],
      'num_envs_per_worker': whole['num_envs_per_actor'],
    }
    figures = {
      name: whole[name] for name in ('agent_steps_per_second', 'window_seconds')
    }
    figures['cpu_ms_per_agent_step'] = math.fsum(
      role['cpu_ms_per_agent_step'] for role in whole['roles'].values()
    )
  else:
    peer = PEERS[name]
    settings = peer.told()
    python = installed[peer.program].python
    with peer_runs.start(python, peer.program, settings) as run:
      figures = measure(run, *times)
  trial.tell(
    f'{name}: {figures["agent_steps_per_second"]:,.0f} agent steps/s, '
    f'{figures["cpu_ms_per_agent_step"]:.2f} CPU ms each'
  )
  return {'round': number + 1, 'name': name, 'settings': settings, **figures}


def measure(
  run: peer_runs.Run, warmup_seconds: float, window_seconds: float
) -> dict[str, float]:
  """Watches a peer that was just started.

  Args:
    run: Not yet learning.
    warmup_seconds: Of learning, not measured.
    window_seconds: Of learning, measured.

  Returns:
    'agent_steps_per_second', 'window_seconds' from one reading to another, and
    'cpu_ms_per_agent_step' of all its processes.

  Raises:
    trial.TrialError: It ended before the window did.
  """
  learning = run.wait_until(time.time())
  trial.tell(f'warming up for {warmup_seconds:g} s')
  begin = run.wait_until(learning.time + warmup_seconds)
  cpu_seconds = run.cpu_seconds()
  trial.tell(f'measuring for {window_seconds:g} s')
  end = run.wait_until(begin.time + window_seconds)
  cpu_seconds = run.cpu_seconds() - cpu_seconds
  agent_steps = end.agent_steps - begin.agent_steps
  seconds = end.time - begin.time
  return {
    'agent_steps_per_second': agent_steps / seconds,
    'window_seconds': seconds,
    'cpu_ms_per_agent_step': 1000 * cpu_seconds / agent_steps,
  }


def make_result(
  turns: Sequence[Mapping[str, Any]],
  installed: Mapping[str, peer_installation.Installation],
) -> dict[str, Any]:
  """The JSON object.

  Args:
    turns: Of all rounds.
    installed: Program -> where it is.

  Returns:
    Each contestant's median over the rounds and, where the pipeline took part,
    how many times as fast that is; the turns as they were.
  """
  names = dict.fromkeys(turn['name'] for turn in turns)
  medians = {
    name: _median(turns, name, 'agent_steps_per_second') for name in names
  }
  ours = medians.get(pipeline.NAME)
  return {
    'benchmark': NAME,
    **commands.machine(),
    'unroll_length': _UNROLL_LENGTH,
    'batch_size': _BATCH_SIZE,
    'versions': {name: found.versions for name, found in installed.items()},
    'contestants': {
      name: {
        'settings': next(t['settings'] for t in turns if t['name'] == name),
        'agent_steps_per_second': rate,
        'frames_per_second': rate * _ACTION_REPEATS,
        'cpu_ms_per_agent_step': _median(turns, name, 'cpu_ms_per_agent_step'),
        'pipeline_is_times_as_fast': ours / rate if ours and rate else None,
      }
      for name, rate in medians.items()
    },
    'turns': list(turns),
  }


def _median(
  turns: Sequence[Mapping[str, Any]], name: str, figure: str
) -> float:
  """Of a contestant's figure over its turns."""
  return statistics.median(t[figure] for t in turns if t['name'] == name)


def _table(result: Mapping[str, Any]) -> rich.table.Table:
  table = rich.table.Table(
    title=f'Pong, {result["cores"]} cores, medians of the rounds; ratio: how '
    'many times as fast the pipeline is',
    title_justify='left',
    box=None,
  )
  table.add_column('', no_wrap=True)
  for heading in ('games', 'agent steps/s', 'frames/s', 'CPU ms', 'ratio'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('rounds')
  for name, figures in result['contestants'].items():
    settings = figures['settings']
    rounds = [
      f'{turn["agent_steps_per_second"]:,.0f}'
      for turn in result['turns']
      if turn['name'] == name
    ]
    ratio = figures['pipeline_is_times_as_fast']
    table.add_row(
      name,
      f'{settings["num_workers"]} x {settings["num_envs_per_worker"]}',
      f'{figures["agent_steps_per_second"]:,.0f}',
      f'{figures["frames_per_second"]:,.0f}',
      f'{figures["cpu_ms_per_agent_step"]:.2f}',
      '' if ratio is None else f'{ratio:.2f}',
      ' '.join(rounds),
    )
  return table
