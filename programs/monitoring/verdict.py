"""Which side of a program is slow, in one sentence with the shares of time."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from programs.monitoring import graph as graph_lib
from programs.monitoring import node_statistics

_HELD_UP = 0.1  # A side that waits for less of its time is not held up.
_ALIKE = 0.5  # Both are, where one waits for so much of what the other does.
_FULL = 0.9  # The processors have nothing left to give.
_WORTH = 0.05  # Activities that are worth a word.

# What helps, by what the inserting nodes are at most.
_REMEDIES = {
  'environment': 'add actors or use more processes (--num_actors, '
  '--env_processes)',
  'forward_pass': 'use more environments for each forward pass '
  '(--num_envs_per_actor), a smaller network or more actors',
  'writing': 'use longer unrolls (--unroll_length) or more actors',
  'waiting_for_inference': 'see whether the inference server is busy (then a '
  'GPU, or --inference=local) or waits for requests (then a lower '
  '--inference_min_batch or --inference_timeout_ms, or more actors)',
  'fetching_variables': 'use longer unrolls (--unroll_length): variables are '
  'fetched after each',
}

Side = Literal['producers', 'consumers', 'queue', 'reading', 'none']


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Where the bottleneck is.

  Attributes:
    side: 'producers' (who inserts), 'consumers' (who samples), 'queue' (both
      wait for what lies between them), 'reading' (who samples waits though
      inserts do so too: sampling from the table is slow), or 'none'.
  """

  side: Side
  sentence: str


def judge(
  graph: graph_lib.ProgramGraph, figures: node_statistics.Figures
) -> Verdict | None:
  """Judges a program by what its nodes did over a stretch of time.

  None where none insert or none sample, or these have reported nothing yet.
  """
  producers = _nodes(graph, 'insert', 'source')
  consumers = _nodes(graph, 'sample', 'target')
  made, used = _mean(figures, producers), _mean(figures, consumers)
  if not made or not used:
    return None
  tables = figures.tables.values()
  waiting, blocked = used['state waiting'], made['state blocked']
  held = max((t.waiting_for_samples for t in tables), default=0)
  starved = max((t.waiting_for_inserts for t in tables), default=0)
  side = _side(waiting, blocked, held, starved)
  who, is_who = _subject(producers)
  whom, is_whom = _subject(consumers)
  waits = f'{whom} for data {waiting:.0%} of the time'
  blocks = f'{who} for room in the queue {blocked:.0%} of the time'
  full = _full(figures)
  remedy = max(_REMEDIES, key=lambda name: made.get(name, 0.0))
  capacities = ', '.join(
    f'{name} holds {t.capacity:,}' for name, t in figures.tables.items()
  )
  sentence = {
    'none': f'Neither side holds up the other: {waits}, {blocks}{full}.',
    'queue': f'{waits}, and {blocks}: the queue between them is the bottleneck '
    f'({capacities}); make it larger (--queue_capacity){full}.',
    'reading': f'{waits}, although items wait to be sampled {held:.0%} of it: '
    'sampling from Reverb is the bottleneck; fewer and larger items '
    f'(--unroll_length){full}.',
    'producers': f'{waits}: {is_who} the bottleneck; {_activities(made)}'
    f'{full or ": " + _REMEDIES[remedy]}.',
    'consumers': f'{blocks}: {is_whom} the bottleneck; {_activities(used)}: '
    f'{"" if full else "more threads (--learner_threads), "}a GPU or fewer '
    f'actors{full}.',
  }[side]
  return Verdict(side, sentence[0].upper() + sentence[1:])


def _side(waiting: float, blocked: float, held: float, starved: float) -> Side:
  """Who holds up whom, by the shares of time that they wait.

  `waiting` is of who samples, for data; `blocked` of who inserts, for room; and
  of the table, `held` are inserts for samples, `starved` samplers for inserts.
  """
  less, more = sorted((waiting, blocked))
  if more < _HELD_UP:
    return 'none'
  if less >= max(_HELD_UP, _ALIKE * more):
    return 'queue'
  if waiting < more:
    return 'consumers'
  return 'reading' if held >= max(_HELD_UP, _ALIKE * starved) else 'producers'


def _full(figures: node_statistics.Figures) -> str:
  """That the processors have nothing left to give, where they have not."""
  if figures.machine_busy < _FULL:
    return ''
  return (
    f"; the machine's cores ({figures.cores}) are {figures.machine_busy:.0%} "
    'busy, so that more processes would not help'
  )


def _nodes(
  graph: graph_lib.ProgramGraph, kind: str, end: str
) -> dict[str, Sequence[graph_lib.Node]]:
  roles = [getattr(e, end) for e in graph.role_edges if e.kind == kind]
  return {role: graph.roles[role] for role in roles}


def _subject(roles: Mapping[str, Sequence[graph_lib.Node]]) -> tuple[str, str]:
  """'the actors wait', 'the actors are'."""
  is_one = sum(map(len, roles.values())) == 1
  names = [r if len(nodes) == 1 else f'{r}s' for r, nodes in roles.items()]
  name = f'the {" and ".join(names)}'
  wait, are = ('waits', 'is') if is_one else ('wait', 'are')
  return f'{name} {wait}', f'{name} {are}'


def _mean(
  figures: node_statistics.Figures,
  roles: Mapping[str, Sequence[graph_lib.Node]],
) -> dict[str, float]:
  """Activity, and 'state <state>' -> mean share over nodes that reported."""
  found = [figures.nodes.get(n.name) for nodes in roles.values() for n in nodes]
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
  """'environment 71%, forward pass 12%', largest first."""
  return ', '.join(
    f'{name.replace("_", " ")} {means[name]:.0%}'
    for name in sorted(means, key=means.__getitem__, reverse=True)
    if means[name] >= _WORTH and not name.startswith('state ')
  )
