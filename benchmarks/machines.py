"""What happens on several machines when something breaks? Needs root."""

import contextlib
import json
import math
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil
import rich.table

from benchmarks import clusters, commands, networks, trial

NAME = 'machines'

_DESCRIPTION = """\
Makes three machines of this one: network namespaces on a bridge, each with its
own address, process ids, /tmp and /dev/shm. The learner runs on the first,
actors on the two others, and training of Catch goes on while processes, hosts,
links and machines are killed: on Ray, with the code on the first machine alone,
and as jobs of their own. On three new machines with Ray, Catch is learned to
its end with an actor's machine killed on the way. At last one machine looks
which ports of a run on another one answer. Prints a table and, as the last
line, one JSON object. Needs root, and the commands ip, unshare and nsenter.

  sudo ./impala benchmark machines"""

# More than an actor takes within some seconds: it tells once a second.
_MANY_STEPS = 100_000
# Prints which ports of a machine answer.
_SCAN = """
import json, socket, sys
found = []
for port in range(1, 65536):
  with socket.socket() as client:
    client.settimeout(2)
    if not client.connect_ex((sys.argv[1], port)):
      found.append(port)
print(json.dumps(found))
"""
# As `train`, but not as a command: it then does not isolate itself.
_UNISOLATED = """
import sys
from programs import train
sys.exit(train.main(sys.argv[1:]))
"""


def main(arguments: Sequence[str]) -> int:
  """Measures and prints; returns the exit status."""
  parser = commands.make_parser(NAME, _DESCRIPTION)
  given = parser.parse_args(arguments)
  if pathlib.Path('/tmp') in clusters.ROOT.parents:
    parser.error(
      'the checkout must not be below /tmp, of which each has its own'
    )
  if lacking := networks.lacking():
    parser.error(lacking)
  result = {
    'benchmark': NAME,
    **commands.machine(),
    'figures': {
      **_break(clusters.RayCluster, 'Ray'),
      **_learn(),
      **_break(clusters.JobCluster, 'jobs'),
      **_reach(),
    },
  }
  commands.finish(result, [_table(result)], given.output)
  return 0


@contextlib.contextmanager
def _training(
  kind: type[clusters.Cluster], *train_flags: str
) -> Iterator[clusters.Cluster]:
  # Below /tmp, machines have folders of their own.
  with tempfile.TemporaryDirectory(dir='/var/tmp', prefix='machines') as name:
    folder = pathlib.Path(name)
    hidden = kind.hidden(folder)
    for path in hidden:
      path.mkdir(exist_ok=True)
    with networks.machines([[], hidden, hidden]) as machines:
      yield kind(machines, folder, train_flags)


def _break(kind: type[clusters.Cluster], label: str) -> dict[str, Any]:
  """Breaks one thing after the other; figures by what was broken."""
  figures: dict[str, Any] = {}

  def tell(what: str, value: Any) -> None:
    name = f'{label}: {what}'
    figures[name] = round(value, 2) if isinstance(value, float) else value
    trial.tell(f'{name}: {figures[name]}')

  with _training(
    kind,
    '--total_environment_frames=1_000_000_000',
    '--evaluation_period_frames=0',
    '--checkpoint_period_seconds=10',
  ) as cluster:
    trial.tell(f'machines: {cluster.meta("machines")}')
    for node, name in (('actor/0', 'actor'), ('actor/1', cluster.host)):
      cluster.wait_for_steps(node, _MANY_STEPS, math.inf)
      process = cluster.process(node)
      where = cluster.place(node)
      if name == 'actor':
        process.kill()
      else:
        process.parent().kill()
        cluster.replace(node)
      # Its successor counts from 0.
      seconds = cluster.wait_for_steps(node, 0, _MANY_STEPS)
      tell(f'{name} killed: seconds until its successor acts', seconds)
      same = cluster.place(node) is where
      tell(f'{name} killed: on the same machine', same)
    for node in ('learner/0', 'queue/0'):
      time.sleep(12)  # A checkpoint period.
      role = node.partition('/')[0]
      cluster.process(node).kill()
      before = cluster.frames()[-1]
      seconds = cluster.wait_until(cluster.is_learning(), 180)
      tell(f'{role} killed: seconds until it is learned again', seconds)
      if role == 'learner':
        resumed = re.findall(r'Resumed at frame (\d+)', cluster.log(node))
        lost = max(0.0, before[1] - int(resumed[-1]))
        tell(f'{role} killed: frames lost since the checkpoint', lost)
        rate = before[1] / (before[0] - cluster.frames()[0][0])
        tell(f'{role} killed: that is seconds of learning', lost / rate)
    first = cluster.place('actor/0')
    process = cluster.process('actor/0')
    lost = cluster.log('actor/0').count('lost with')
    first.unplug()
    time.sleep(6)
    first.unplug(is_up=True)
    steps = cluster.steps('actor/0')
    seconds = cluster.wait_until(lambda: cluster.steps('actor/0') > steps, 60)
    tell('link down for 6 s: seconds until it acts again', seconds)
    time.sleep(20)
    is_same = cluster.log('actor/0').count('lost with') == lost
    tell('link down for 6 s: nothing lost', process.is_running() and is_same)
    orphans = [process, process.parent()]
    second = cluster.place('actor/0')
    lost = cluster.log('actor/0').count('lost with')
    second.unplug()
    seconds = cluster.wait_until(
      lambda: cluster.log('actor/0').count('lost with') > lost, 60
    )
    tell('link down for good: seconds until that is decided', seconds)
    cluster.replace('actor/0')
    gone = seconds + networks.wait_until(
      lambda: not any(map(psutil.Process.is_running, orphans)), 60
    )
    tell('link down for good: seconds until the orphans are gone', gone)
    seconds = cluster.wait_until(cluster.is_learning(), 180)
    tell('link down for good: it is learned', True)
    cluster.wait_until(lambda: cluster.steps('actor/0') > 0, 120)
    tell('link down for good: its actor has moved', True)
    driver = next(
      process
      for process in cluster.machines[0].processes()
      if 'programs.train' in process.cmdline()
    )
    nodes = [
      process
      for machine in cluster.machines
      for process in machine.processes()
      if any('process_entry' in part for part in process.cmdline())
    ]
    driver.kill()
    seconds = networks.wait_until(
      lambda: not any(map(psutil.Process.is_running, nodes)), 60
    )
    tell(f'{cluster.launcher} killed: seconds until no node is left', seconds)
  return figures


def _learn() -> dict[str, Any]:
  """Learns Catch to its end, and loses a machine on the way."""
  with _training(clusters.RayCluster) as cluster:
    machine = cluster.place('actor/0')
    cluster.wait_until(lambda: cluster.frames()[-1][1] > 100_000, 300)
    trial.tell(f'killing {machine.ip} at {cluster.frames()[-1][1]:,.0f} frames')
    machine.kill()
    moved = cluster.wait_until(
      lambda: (
        cluster.place('actor/0') is not machine and cluster.steps('actor/0')
      ),
      120,
    )
    trial.tell(f'its actor acts elsewhere after {moved:.1f} s')
    status = cluster.driver.wait(600)
    found = sorted(cluster.run.glob('evaluations/*/results.json'))
    if status or not found:
      raise trial.TrialError((cluster.folder / 'train.log').read_text())
    summary = json.loads(found[-1].read_text())['summary']
  return {
    'Ray: machine killed: seconds until its actor acts elsewhere': round(
      moved, 2
    ),
    'Ray: machine killed: mean return of Catch at the end': summary[
      'mean_return'
    ],
  }


def _reach() -> dict[str, Any]:
  """Counts the ports of one machine's run that answer another machine."""
  figures = {}
  with (
    tempfile.TemporaryDirectory(dir='/var/tmp', prefix='machines') as name,
    networks.machines([[], []]) as (first, second),
  ):
    folder = pathlib.Path(name)
    for how, arguments in (
      ('run on one machine', ['-m', 'programs.train']),
      ('run on one machine, not isolated', ['-c', _UNISOLATED]),
    ):
      run = folder / how
      process = first.start(
        *(sys.executable, *arguments, f'--logdir={run}'),
        '--total_environment_frames=1_000_000_000',
        log=folder / 'log',
        PYTHONPATH=str(clusters.ROOT),
      )
      rows = run / 'metrics/learner.csv'
      clusters.wait_while_it_runs(
        process, rows.exists, clusters.START_SECONDS, folder / 'log'
      )
      ports = _ports(second, first.ip, folder)
      figures[f'{how}: its ports that answer another one'] = len(ports)
      first.stop(process)
  for what, count in figures.items():
    trial.tell(f'{what}: {count}')
  return figures


def _ports(
  machine: networks.Machine, ip: str, folder: pathlib.Path
) -> list[int]:
  """Ports at an address that answer a machine."""
  log = folder / 'scan'
  log.unlink(missing_ok=True)
  scan = machine.start(sys.executable, '-c', _SCAN, ip, log=log)
  if scan.wait(600):
    raise trial.TrialError(log.read_text())
  return json.loads(log.read_text())


def _table(result: Mapping[str, Any]) -> rich.table.Table:
  table = rich.table.Table(
    'what is broken', title='machines', title_justify='left'
  )
  table.add_column('figure', justify='right')
  for name, value in result['figures'].items():
    table.add_row(name, str(value))
  return table
