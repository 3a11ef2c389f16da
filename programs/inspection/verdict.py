"""Which side of a program is slow, in one sentence with the shares of time."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from programs.inspection import figures as figures_lib
from programs.inspection import graph as graph_lib

# A side that waits for less of its time is not held up.
_HELD_UP = 0.1
# Both sides are, where one waits at least so much of what the other does.
_ALIKE = 0.5
# The processors have nothing left to give.
_FULL = 0.9
# Activities that are worth a word.
_WORTH = 0.05

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
      inserts do so too: the way out of the table is slow), or 'none'.
    sentence: That, with the shares that prove it.
    shares: What was measured: 'waiting' of the consumers, 'blocked' of the
      producers, and their activities.
  """

  side: Side
  sentence: str
  shares: Mapping[str, float]


def judge(
  graph: graph_lib.ProgramGraph, figures: figures_lib.Figures
) -> Verdict | None:
  """Judges a program by what its nodes did.

  Args:
    graph: Of the program: who inserts into a table, and who samples from one.
    figures: Of a stretch of time.

  Returns:
    None where the program has no such sides, or they have told nothing yet.
  """
  producers = _roles(graph, 'insert', 'source')
  consumers = _roles(graph, 'sample', 'target')
  made, used = (
    _mean(graph, figures, producers),
    _mean(graph, figures, consumers),
  )
  if not made or not used:
    return None
  waiting, blocked = used['state waiting'], made['state blocked']
  held = max(
    (t.waiting_for_samples for t in figures.tables.values()), default=0
  )
  starved = max(
    (t.waiting_for_inserts for t in figures.tables.values()), default=0
  )
  side = _side(waiting, blocked, held, starved)
  who, whom = _Party(graph, producers), _Party(graph, consumers)
  waits = f'{whom.wait} for data {waiting:.0%} of the time'
  blocks = f'{who.wait} for room in the queue {blocked:.0%} of the time'
  full = _full(figures)
  remedy = max(_REMEDIES, key=lambda name: made.get(name, 0.0))
  sentence = {
    'none': f'Neither side holds up the other: {waits}, {blocks}{full}.',
    'queue': f'{waits}, and {blocks}: the queue between them is the bottleneck '
    f'({_capacities(figures)}); make it larger (--queue_capacity){full}.',
    'reading': f'{waits}, although items wait to be sampled {held:.0%} of it: '
    f'the way out of the queue is the bottleneck; fewer and larger items '
    f'(--unroll_length){full}.',
    'producers': f'{waits}: {who.are} the bottleneck; {_activities(made)}'
    f'{full or ": " + _REMEDIES[remedy]}.',
    'consumers': f'{blocks}: {whom.are} the bottleneck; {_activities(used)}: '
    f'{"" if full else "more threads (--learner_threads), "}a GPU or fewer '
    f'actors{full}.',
  }[side]
  return Verdict(
    side,
    sentence[0].upper() + sentence[1:],
    {
      'waiting': waiting,
      'blocked': blocked,
      'held': held,
      'starved': starved,
      **{name: s for name, s in made.items() if not name.startswith('state ')},
    },
  )


def _side(waiting: float, blocked: float, held: float, starved: float) -> Side:
  """Who holds up whom, by the shares of time that they wait.

  Args:
    waiting: Of who samples, for data.
    blocked: Of who inserts, for room.
    held: Of the table, inserts for samples.
    starved: Of the table, samplers for inserts.
  """
  less, more = sorted((waiting, blocked))
  if more < _HELD_UP:
    return 'none'
  if less >= max(_HELD_UP, _ALIKE * more):
    return 'queue'
  if waiting < more:
    return 'consumers'
  return 'reading' if held >= max(_HELD_UP, _ALIKE * starved) else 'producers'


def _full(figures: figures_lib.Figures) -> str:
  """That the processors have nothing left to give, where they have not."""
  if figures.machine_busy < _FULL:
    return ''
  return (
    f"; the machine's cores ({figures.cores}) are {figures.machine_busy:.0%} "
    'busy, so that more processes would not help'
  )


class _Party:
  """Roles as the subject of a sentence."""

  def __init__(
    self, graph: graph_lib.ProgramGraph, roles: Sequence[str]
  ) -> None:
    is_one = sum(len(graph.roles[role]) for role in roles) == 1
    plural = [r if len(graph.roles[r]) == 1 else f'{r}s' for r in roles]
    name = ' and '.join(plural)
    self.wait = f'the {name} {"waits" if is_one else "wait"}'
    self.are = f'the {name} {"is" if is_one else "are"}'


def _roles(graph: graph_lib.ProgramGraph, kind: str, end: str) -> Sequence[str]:
  """Roles at one end of the edges of a kind."""
  found = [getattr(e, end) for e in graph.role_edges if e.kind == kind]
  return list(dict.fromkeys(found))


def _mean(
  graph: graph_lib.ProgramGraph,
  figures: figures_lib.Figures,
  roles: Sequence[str],
) -> dict[str, float]:
  """Activity, and 'state <state>' -> mean share over the nodes that told."""
  nodes = [
    figures.nodes[node.name]
    for role in roles
    for node in graph.roles[role]
    if node.name in figures.nodes and figures.nodes[node.name].activities
  ]
  if not nodes:
    return {}
  names = {name for node in nodes for name in node.activities}
  means = {
    name: statistics.mean(node.activities.get(name, 0.0) for node in nodes)
    for name in names
  }
  for state in figures_lib.STATES:
    means[f'state {state}'] = statistics.mean(
      node.states.get(state, 0.0) for node in nodes
    )
  return means


def _activities(means: Mapping[str, float]) -> str:
  """'environment 71%, forward pass 12%', largest first."""
  found = sorted(
    (name for name in means if not name.startswith('state ')),
    key=means.__getitem__,
    reverse=True,
  )
  worth = [name for name in found if means[name] >= _WORTH]
  return ', '.join(
    f'{name.replace("_", " ")} {means[name]:.0%}' for name in worth
  )


def _capacities(figures: figures_lib.Figures) -> str:
  """'queue holds 1'."""
  return ', '.join(
    f'{name} holds {table.capacity:,}' for name, table in figures.tables.items()
  )
