"""From the command to the first learner step: which phase took how long.

And how the processes of each role came up.
"""

from collections.abc import Sequence
from typing import NamedTuple

from programs.inspection import milestones


class Phase(NamedTuple):
  """What had to come before the first learner step.

  Attributes:
    name: In words.
    seconds: That it added to those before it; nodes start side by side, so
      that what they do meanwhile adds nothing.
  """

  name: str
  seconds: float


class Start(NamedTuple):
  """How the processes of a role came up; of several the most of each.

  Attributes:
    role: Group of the program, or 'command'.
    import_seconds: From the process's making to its own work.
    import_cpu_seconds: That this took of a core.
    imported_bytes: RSS then.
    ready_seconds: From the process's making to the last thing that it made:
      tables, network, environments, what was restored.
    ready_cpu_seconds: That this took of a core.
    ready_bytes: RSS then.
  """

  role: str
  import_seconds: float
  import_cpu_seconds: float
  imported_bytes: float
  ready_seconds: float
  ready_cpu_seconds: float
  ready_bytes: float


# What a node makes before it works; the last that it reached counts.
_MADE = (
  'checked',
  'wired',
  'launched',
  'network_made',
  'environments_made',
  'ready',
)

# Without which nothing is learned.
_NEEDED = ('queue', 'learner', 'inference', 'actor')

# In words; what ends it, by whom; and whether by the first of them or the last.
# Acting begins with the first actor, but not before there is a queue to act
# into and a learner that serves variables.
_PHASES = (
  ('imports of the command', 'imported', ('command',), max),
  ('configuration and levels checked', 'checked', ('command',), max),
  ('program made and drawn', 'wired', ('command',), max),
  ('processes started', 'launched', ('command',), max),
  ('imports of the nodes', 'imported', _NEEDED, max),
  ('networks made', 'network_made', _NEEDED, max),
  ('environments made', 'environments_made', ('actor',), max),
  ('variables fetched', 'fetching_variables', ('actor', 'inference'), min),
  ('first forward pass', 'forward_pass', ('actor', 'inference'), min),
  ('first unrolls in the queue', 'waiting_for_queue', ('actor',), min),
  ('first batch', 'waiting_for_data', ('learner',), min),
  ('first learner step', 'learner_step', ('learner',), min),
)


def make_phases(found: Sequence[milestones.Milestone]) -> list[Phase]:
  """The phases of a start; their seconds add up to when the last one ended.

  Args:
    found: Of one start, which may be under way.
  """
  ends = {name: _ends(found, name) for _, name, _, _ in _PHASES}
  last = min(ends['learner_step'].values(), default=float('inf'))
  phases: list[Phase] = []
  passed = 0.0
  for title, name, groups, which in _PHASES:
    reached = [
      seconds
      for node, seconds in ends[name].items()
      if node.partition('/')[0] in groups
    ]
    if reached:
      # An actor that comes up after the learner step was not needed for it.
      end = min(max(which(reached), passed), last)
      phases.append(Phase(title, end - passed))
      passed = end
  return phases


def sentence(phases: Sequence[Phase]) -> str:
  """'first learner step after 8.1 s: imports of the command 1.9, ...'."""
  if not phases or phases[-1].name != _PHASES[-1][0]:
    return ''
  total = sum(phase.seconds for phase in phases)
  parts = [
    f'{phase.name} {phase.seconds:.1f}'
    for phase in phases
    if phase.seconds >= 0.05
  ]
  return f'first learner step after {total:.1f} s: {", ".join(parts)}'


def make_starts(found: Sequence[milestones.Milestone]) -> list[Start]:
  """How each role came up, in the order in which their processes were made.

  Args:
    found: Of one start.
  """
  begun = _ends(found, milestones.BEGUN)
  starts: dict[str, Start] = {}
  for node, beginning in begun.items():
    own = [each for each in found if each.node == node]
    imported = [each for each in own if each.name == milestones.IMPORTED]
    if not imported:
      continue
    first = imported[0]
    last = [first, *(each for each in own if each.name in _MADE)][-1]
    role = node.partition('/')[0]
    start = Start(
      role,
      first.seconds - beginning,
      first.cpu_seconds,
      first.rss_bytes,
      last.seconds - beginning,
      last.cpu_seconds,
      last.rss_bytes,
    )
    before = starts.get(role, start)
    starts[role] = Start(role, *map(max, start[1:], before[1:]))
  return list(starts.values())


def _ends(found: Sequence[milestones.Milestone], name: str) -> dict[str, float]:
  """Node -> when it reached a milestone, in seconds after the command."""
  return {each.node: each.seconds for each in found if each.name == name}
