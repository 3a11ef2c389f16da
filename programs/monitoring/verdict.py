"""Name the bottleneck of a program, with shares of time and a remedy."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics

_MIN_WAIT = 0.1  # A side that waits for less of its time is not slowed down.
_COMPARABLE = 0.5  # Both sides are, if one waits for this much of the other.
_FULL_LOAD = 0.9  # More processes do not help above this share of the cores.
_MIN_SHARE = 0.05  # Activities below it are not listed.

_WITH_FLAGS = 'impala'  # The program whose flags the advice names.
# By the activity that takes most of the time of the nodes that insert.
_REMEDIES = {
  'environment': 'Add actors (--num_actors) or environment processes '
  '(--env_processes).',
  'forward_pass': 'Use more environments for each forward pass '
  '(--num_envs_per_actor), a smaller network or more actors.',
  'writing': 'Use longer unrolls (--unroll_length) or more actors.',
  'waiting_for_inference': 'If the inference server is busy, give it a GPU or '
  'use --inference=local; if it waits for requests, lower '
  '--inference_min_batch or --inference_timeout_ms, or add actors.',
  'fetching_variables': 'Use longer unrolls (--unroll_length): variables are '
  'fetched after each.',
}

Side = Literal['producers', 'consumers', 'queue', 'sampling', 'none']


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The bottleneck of a program.

  Attributes:
    side: 'producers' (nodes that insert), 'consumers' (nodes that sample),
      'queue' (both wait: it is too small), 'sampling' (consumers wait although
      the queue is full), or 'none'.
    sentence: The bottleneck, the shares of time that show it and a remedy.
  """

  side: Side
  sentence: str


def judge(
  graph: graph_lib.ProgramGraph, program: node_statistics.ProgramStatistics
) -> Verdict | None:
  """Name the bottleneck of a program over the time of its statistics.

  Returns None if no node inserts or samples, or none of them has pushed yet.
  """
  producers = _nodes(graph, 'insert', 'source')
  consumers = _nodes(graph, 'sample', 'target')
  made, used = _mean(program, producers), _mean(program, consumers)
  if not made or not used:
    return None
  tables = program.tables.values()
  waiting, blocked = used['state waiting'], made['state blocked']
  full = max((t.waiting_for_samples for t in tables), default=0)
  empty = max((t.waiting_for_inserts for t in tables), default=0)
  side = _side(waiting, blocked, full, empty)
  names, are, wait = _words(producers)
  others, are_others, wait_others = _words(consumers)
  waits = f'the {others} {wait_others} for data {waiting:.0%} of the time'
  blocks = f'the {names} {wait} for queue space {blocked:.0%} of the time'
  remedy = max(_REMEDIES, key=lambda name: made.get(name, 0.0))
  capacities = ', '.join(
    f'{name} holds {t.capacity:,}' for name, t in program.tables.items()
  )
  load = _load(program)
  threads = '' if load else 'more threads (--learner_threads), '
  sentence = {
    'none': f'No bottleneck: {waits}, and {blocks}.',
    'queue': f'The queue is the bottleneck: {waits}, and {blocks} '
    f'({capacities}).',
    'sampling': f'Sampling from Reverb is the bottleneck: {waits}, although '
    f'the queue is full {full:.0%} of the time.',
    'producers': f'The {names} {are} the bottleneck: {waits}. Time of the '
    f'{names}: {_activities(made)}.',
    'consumers': f'The {others} {are_others} the bottleneck: {blocks}. Time of '
    f'the {others}: {_activities(used)}.',
  }[side]
  advice = {
    'queue': ' Raise --queue_capacity.',
    'sampling': ' Use fewer, larger items (--unroll_length).',
    'producers': '' if load else f' {_REMEDIES[remedy]}',
    'consumers': f' Use {threads}a GPU or fewer actors.',
  }
  if graph.name == _WITH_FLAGS:
    sentence += advice.get(side, '')
  return Verdict(side, sentence + load)


def _side(waiting: float, blocked: float, full: float, empty: float) -> Side:
  """Compare the shares of time that the two sides wait.

  Args:
    waiting: Of consumers, for data.
    blocked: Of producers, for queue space.
    full: Of the table, for samplers, with inserts pending.
    empty: Of the table, for inserts, with samplers pending.
  """
  less, more = sorted((waiting, blocked))
  if more < _MIN_WAIT:
    return 'none'
  if less >= max(_MIN_WAIT, _COMPARABLE * more):
    return 'queue'
  if waiting < more:
    return 'consumers'
  is_full = full >= max(_MIN_WAIT, _COMPARABLE * empty)
  return 'sampling' if is_full else 'producers'


def _load(program: node_statistics.ProgramStatistics) -> str:
  """Return a sentence on the machine's cores if all are busy, else ''."""
  if program.machine_busy < _FULL_LOAD:
    return ''
  return (
    f" The machine's cores ({program.cores}) are {program.machine_busy:.0%} "
    'busy: more processes would not help, more cores would.'
  )


def _nodes(
  graph: graph_lib.ProgramGraph, kind: str, end: str
) -> dict[str, Sequence[graph_lib.Node]]:
  roles = [getattr(e, end) for e in graph.role_edges if e.kind == kind]
  return {role: graph.roles[role] for role in roles}


def _words(
  roles: Mapping[str, Sequence[graph_lib.Node]],
) -> tuple[str, str, str]:
  """Return 'actors', 'are', 'wait'; the singular of a single node."""
  is_one = sum(map(len, roles.values())) == 1
  names = [r if len(nodes) == 1 else f'{r}s' for r, nodes in roles.items()]
  verbs = ('is', 'waits') if is_one else ('are', 'wait')
  return ' and '.join(names), *verbs


def _mean(
  program: node_statistics.ProgramStatistics,
  roles: Mapping[str, Sequence[graph_lib.Node]],
) -> dict[str, float]:
  """Return mean shares of time by activity and by 'state <state>'."""
  found = [program.nodes.get(n.name) for nodes in roles.values() for n in nodes]
  shares = [
    {
      **node.activities,
      **{f'state {s}': node.states.get(s, 0.0) for s in node_statistics.STATES},
    }
    for node in found
    if node and node.activities
  ]
  return {
    name: statistics.mean(each.get(name, 0.0) for each in shares)
    for name in set().union(*shares)
  }


def _activities(means: Mapping[str, float]) -> str:
  """Return 'environment 71%, forward pass 12%', the largest first."""
  return ', '.join(
    f'{name.replace("_", " ")} {means[name]:.0%}'
    for name in sorted(means, key=means.__getitem__, reverse=True)
    if means[name] >= _MIN_SHARE and not name.startswith('state ')
  )
