"""Statistics of records, checked by hand."""

import pytest
from records import make_node, make_record, make_table

from programs import program as impala
from programs.monitoring import node_statistics, wiring
from programs.runs import flags


def make_actor(environment, blocked, calls, steps, starting=30.0, **more):
  return make_node(
    'environment',
    seconds={
      'starting': starting,
      'environment': environment,
      'waiting_for_queue': blocked,
    },
    calls={'environment': calls},
    counts={'agent_steps': steps, 'environment_restarts': 0},
    **more,
  )


def make_records(**more):
  """Return ten seconds of records; an actor is blocked for two of them."""
  machine = {'cores': 4, 'busy_seconds': 100.0, 'total_seconds': 1000.0}
  later = {'cores': 4, 'busy_seconds': 130.0, 'total_seconds': 1040.0}
  return [
    make_record(
      2000.0,
      {'actor/0': make_actor(100.0, 10.0, 1000, 16000)},
      {'queue': make_table(inserts=100, samples=90)},
      {'actor/0': {'cpu_seconds': 50.0, 'rss_bytes': 1}},
      machine=machine,
    ),
    make_record(2005.0),  # Only the ends count.
    make_record(
      2010.0,
      {
        'actor/0': make_actor(
          108.0, 12.0, 1400, 22400, gauges={'policy_lag_max': 7}
        )
      },
      {
        'queue': make_table(
          size=4,
          inserts=300,
          samples=285,
          waiting_for_samples_seconds=2.5,
          waiting_for_inserts_seconds=1.0,
        )
      },
      {'actor/0': {'cpu_seconds': 56.0, 'rss_bytes': 5_000_000}},
      machine=later,
      **more,
    ),
  ]


def test_a_node():
  made = node_statistics.make_statistics(make_records())
  assert made.seconds == 10
  node = made.nodes['actor/0']
  # The time spent starting is left out.
  assert node.activities == pytest.approx(
    {'environment': 0.8, 'waiting_for_queue': 0.2}
  )
  assert node.states == pytest.approx({'busy': 0.8, 'blocked': 0.2})
  assert node.milliseconds == pytest.approx({'environment': 20.0})
  assert node.rates == pytest.approx(
    {'environment': 40.0, 'agent_steps': 640.0, 'environment_restarts': 0.0}
  )
  assert node.gauges == {'policy_lag_max': 7}
  assert node.cores == pytest.approx(0.6)
  assert node.rss_bytes == 5_000_000
  assert (node.activity, node.host) == ('environment', 'here')
  assert not node.is_silent


def test_the_table_and_the_machine():
  made = node_statistics.make_statistics(make_records(warnings=['Stuck.']))
  table = made.tables['queue']
  assert (table.size, table.capacity) == (4, 32)
  assert table.inserts_per_second == pytest.approx(20.0)
  assert table.samples_per_second == pytest.approx(19.5)
  assert table.waiting_for_samples == pytest.approx(0.25)
  assert table.waiting_for_inserts == pytest.approx(0.1)
  assert (made.cores, made.machine_busy) == (4, pytest.approx(0.75))
  assert made.warnings == ['Stuck.']


def test_a_node_that_restarted_counts_from_its_start():
  first, _, last = make_records()
  again = make_actor(3.0, 1.0, 100, 1600, starting=2.0)
  last = {**last, 'nodes': {'actor/0': again}}
  node = node_statistics.make_statistics([first, last]).nodes['actor/0']
  assert node.activities == pytest.approx(
    {'environment': 0.75, 'waiting_for_queue': 0.25}
  )
  assert node.rates['agent_steps'] == pytest.approx(160)


def test_starts_of_the_monitor_add_up():
  """Add up a resumed run without the time between its starts."""
  later = [
    {**record, 'start': 9000.0, 'time': record['time'] + 50_000}
    for record in make_records()
  ]
  made = node_statistics.make_statistics([*make_records(), *later])
  assert made.seconds == 20
  assert made.nodes['actor/0'].rates['agent_steps'] == pytest.approx(640)
  assert made.nodes['actor/0'].cores == pytest.approx(0.6)
  assert made.tables['queue'].inserts_per_second == pytest.approx(20)


def test_unknown_statistics():
  first, _, last = make_records()
  bare = {'nodes': {}, 'tables': None, 'processes': {}}
  made = node_statistics.make_statistics([{**first, **bare}, {**last, **bare}])
  assert made.nodes == {} and made.tables == {}
  # A server that answers again, and a process of a node that pushes nothing.
  silent = {'actor/0': make_actor(1.0, 1.0, 1, 1, age=11)}
  made = node_statistics.make_statistics(
    [
      {**first, **bare},
      {**last, 'nodes': silent, 'processes': {'queue/0': {'rss_bytes': 3}}},
    ]
  )
  assert made.nodes['actor/0'].is_silent
  assert made.nodes['actor/0'].cores is None
  assert made.nodes['queue/0'].state is None
  assert made.tables['queue'].size == 4
  assert made.tables['queue'].inserts_per_second == 0  # From one answer alone.


def test_a_server_that_did_not_answer_at_an_end():
  first, _, last = make_records()
  second = {**first, 'time': 2002.0}
  made = node_statistics.make_statistics(
    [{**first, 'tables': None}, second, last, {**last, 'tables': None}]
  )
  assert made.tables['queue'].inserts_per_second == pytest.approx(200 / 8)
  assert made.nodes['actor/0'].rates['agent_steps'] == pytest.approx(640)


def make_several():
  """Return statistics of three different actors and a learner."""
  first, last = {}, {}
  for index, blocked in enumerate((0.001, 1.0, 5.0)):
    first[f'actor/{index}'] = make_actor(0.0, 0.0, 0, 0)
    last[f'actor/{index}'] = make_node(
      seconds={'environment': 10.0 - blocked, 'waiting_for_queue': blocked},
      calls={'fetching_variables': 20 * (index + 1)},
    )
  last['learner/0'] = make_node('learner_step')
  return node_statistics.make_statistics(
    [make_record(0.0, first), make_record(10.0, last)]
  )


def test_spreads_over_a_role():
  names = ['actor/0', 'actor/1', 'actor/2', 'actor/3']  # The last is not there.
  spreads = make_several().spreads(names)
  assert spreads['states']['blocked'] == node_statistics.Spread(
    0.0001, 0.1, 0.5
  )
  assert spreads['states']['busy'] == node_statistics.Spread(0.5, 0.9, 0.9999)
  assert spreads['rates']['fetching_variables'].median == pytest.approx(4)
  assert 'process' not in spreads
  assert make_several().spreads(['nobody/0']) == {}


def test_rates_of_edges():
  graph = wiring.make_graph(
    impala.make_program(flags.resolve({'logdir': 'x', 'num_actors': 3}))
  )
  edges = {(e.source, e.kind, e.target): e for e in graph.role_edges}
  flowing = node_statistics.make_statistics(make_records())
  insert = edges['actor', 'insert', 'queue']
  sample = edges['queue', 'sample', 'learner']
  variables = edges['learner', 'variables', 'actor']
  assert flowing.edge_rate(graph, insert) == pytest.approx(20)
  assert flowing.edge_rate(graph, sample) == pytest.approx(19.5)
  assert flowing.edge_rate(graph, variables) is None
  several = make_several()
  assert several.edge_rate(graph, variables) == pytest.approx(2 + 4 + 6)
  assert several.edge_rate(graph, insert) is None
  calls = edges['actor', 'call', 'monitor']
  assert several.edge_rate(graph, calls) is None
