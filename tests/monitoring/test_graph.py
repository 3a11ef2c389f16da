"""Graphs of programs, and their drawings."""

import functools
import re
import xml.etree.ElementTree

import launchpad as lp
import pytest
from launchpad.nodes import dereference

from programs import program as impala
from programs.commands import graph as command
from programs.monitoring import graph as graph_lib
from programs.monitoring import wiring
from programs.runs import flags
from programs.views import drawing, markup

SVG = '{http://www.w3.org/2000/svg}'


class Server:
  """Answers.

  Not shown.
  """

  def __init__(self, peer=None, size=3):
    pass


@graph_lib.uses(server='variables')
def ask(server, *others, **named):
  pass


def insert(table, text):
  """Writes items."""


def make_tables(size):
  return []


def make_impala(**given):
  program = impala.make_program(flags.resolve({'logdir': 'runs/x', **given}))
  return wiring.make_graph(program)


def edges_of(graph):
  return {(e.user, e.service, e.kind, e.label) for e in graph.edges}


def test_our_own_program():
  graph = make_impala(num_actors=64)
  assert graph.name == 'impala'
  assert {role: len(nodes) for role, nodes in graph.roles.items()} == {
    'queue': 1,
    'monitor': 1,
    'learner': 1,
    'actor': 64,
    'evaluator': 1,
  }
  found = {(e.source, e.kind, e.target, e.count) for e in graph.role_edges}
  assert found == {
    ('actor', 'insert', 'queue', 64),
    ('queue', 'sample', 'learner', 1),
    ('learner', 'variables', 'actor', 64),
    ('learner', 'variables', 'evaluator', 1),
    ('actor', 'call', 'monitor', 64),
    ('learner', 'call', 'monitor', 1),
    ('evaluator', 'call', 'monitor', 1),
    ('queue', 'call', 'monitor', 1),
  }
  actor = graph.roles['actor'][7]
  assert (actor.name, actor.type) == ('actor/7', 'PyNode')
  assert actor.function == 'programs.nodes.entries.run_actor'
  assert 'until the program stops' in actor.about
  assert actor.arguments == {'configuration': 'Configuration', 'index': '7'}


def test_json_round_trip():
  graph = make_impala(num_actors=2)
  assert graph_lib.ProgramGraph.from_json(graph.to_json()) == graph


def make_strange_program():
  """Make a program with all kinds of nodes and handles."""
  program = lp.Program('strange')
  first = lp.CourierNode(Server, size=[1, 2])
  handle = program.add_node(first, label='server')
  table = program.add_node(
    lp.ReverbNode(functools.partial(make_tables, 5)), label='table'
  )
  inner, peer = lp.CourierNode(Server), lp.CourierNode(Server)
  inner_handle = inner.create_handle()
  peer.configure(peer=inner_handle)
  program.add_node(lp.MultiThreadingColocation([inner, peer]), label='both')
  asking = lp.PyNode(
    functools.partial(ask, handle),
    inner_handle,
    deep={'down': [table]},
    late=dereference.Deferred(Server, handle),
    number=7,
  )
  program.add_node(asking, label='asker')
  program.add_node(lp.PyNode(insert, table, 'x' * 1000), label='writer')
  # Has no signature.
  program.add_node(lp.PyNode(print, 'x', handle), label='printer')
  return program


def test_any_launchpad_program():
  graph = wiring.make_graph(make_strange_program())
  assert [node.name for node in graph.nodes] == [
    'server/0',
    'table/0',
    'both/0',
    'both/0/0',
    'both/0/1',
    'asker/0',
    'writer/0',
    'printer/0',
  ]
  assert edges_of(graph) == {
    ('both/0/1', 'both/0/0', 'call', 'peer'),  # Colocated, and from outside:
    ('asker/0', 'both/0/0', 'call', 'others_0'),
    ('asker/0', 'server/0', 'variables', 'server'),  # Declared.
    ('asker/0', 'table/0', 'data', 'deep'),  # Reverb's, but nobody said which.
    ('asker/0', 'server/0', 'call', 'late'),
    ('writer/0', 'table/0', 'data', 'table'),
    ('printer/0', 'server/0', 'call', 'arguments_1'),
  }
  nodes = {node.name: node for node in graph.nodes}
  assert nodes['server/0'].about == 'Answers.'
  assert nodes['server/0'].arguments == {'size': '[1, 2]'}
  assert nodes['table/0'].function.endswith('.make_tables')
  assert nodes['table/0'].arguments == {'size': '5'}
  assert nodes['asker/0'].arguments == {'number': '7'}
  assert len(nodes['writer/0'].arguments['text']) < 70
  assert nodes['both/0/0'].role == nodes['both/0/1'].role == 'both.Server'


def test_a_handle_of_another_program_is_refused():
  stranger = lp.CourierNode(Server).create_handle()
  program = lp.Program('half')
  program.add_node(lp.PyNode(ask, stranger), label='asker')
  with pytest.raises(ValueError, match=r'CourierHandle.*of another program'):
    wiring.make_graph(program)


def test_wrong_declarations_are_refused():
  with pytest.raises(ValueError, match=r"server must be one of .*'ask'"):
    graph_lib.uses(server='ask')
  with pytest.raises(ValueError, match=r"parameters of insert.*'tabel'"):
    graph_lib.uses(tabel='insert')(insert)


def test_the_page_needs_nothing_but_itself():
  facts = {'actor/2': {'log': 'logs/actor_2.log'}}
  page = markup.html(make_impala(num_actors=3), facts)
  loads = set(re.findall(r'(?:src|href)="([^"]*)"', page))
  assert loads >= {'#actor', '#queue', '#learner', '#evaluator'}
  assert all(target.startswith('#') for target in loads)
  for shown in ('actor x 3', 'actor/2', 'logs/actor_2.log', 'insert'):
    assert shown in page
  assert not re.search('<(link|img|iframe)|@import|url\\(http', page)


def boxes(svg):
  """Return the SVG and role -> (left, top) of its box."""
  root = xml.etree.ElementTree.fromstring(svg)
  found = {}
  for link in root.iter(f'{SVG}a'):
    front = link.findall(f'{SVG}rect')[-1]
    found[link.get('data-role')] = (
      float(front.get('x')),
      float(front.get('y')),
    )
  return root, found


def test_boxes_are_ordered_along_the_data_flow():
  graph = make_impala(num_actors=64)
  root, found = boxes(drawing.svg(graph))
  columns = sorted(found, key=lambda role: found[role][0])
  assert columns == ['actor', 'queue', 'monitor', 'learner', 'evaluator']
  monitor = found.pop('monitor')
  assert len({x for x, _ in found.values()}) == 4
  assert len({y for _, y in found.values()} - {monitor[1]}) == 1
  assert monitor[1] < found['queue'][1]  # It watches from above.
  drawn = {group.get('data-edge') for group in root.iter(f'{SVG}g')}
  assert drawn == {f'{e.source} {e.kind} {e.target}' for e in graph.role_edges}
  texts = [text.text for text in root.iter(f'{SVG}text')]
  assert 'actor x 64' in texts


def test_boxes_do_not_overlap_and_edges_stay_inside():
  """Draw cycles and loops too."""
  program = lp.Program('tangle')
  nodes = [lp.CourierNode(Server) for _ in range(4)]
  handles = [
    program.add_node(node, label=f'n{i}') for i, node in enumerate(nodes)
  ]
  nodes[0].configure(handles[1])
  nodes[1].configure(handles[2])
  nodes[2].configure(handles[0])  # A cycle.
  nodes[3].configure(handles[3])  # A loop.
  root, found = boxes(drawing.svg(wiring.make_graph(program)))
  width, height = float(root.get('width')), float(root.get('height'))
  assert len(set(found.values())) == 4
  for x, y in found.values():
    assert 0 <= x <= width - 168 and 0 <= y <= height - 64
  for path in root.iter(f'{SVG}path'):
    if path.get('marker-end'):
      numbers = [float(n) for n in re.findall(r'[\d.]+', path.get('d'))]
      assert max(numbers) <= max(width, height)


@pytest.mark.parametrize(
  ('format_', 'begins'),
  [
    ('mmd', 'flowchart LR'),
    ('svg', '<svg '),
    ('html', '<!doctype html>'),
    ('json', '{'),
  ],
)
def test_the_command_writes_each_format(tmp_path, capsys, format_, begins):
  path = tmp_path / 'new' / f'graph.{format_}'
  assert command.main([f'--output={path}', '--num_actors=64']) == 0
  assert capsys.readouterr().out == f'{path}\n'
  text = path.read_text()
  assert text.startswith(begins) and 'actor' in text


def test_the_command_refuses(tmp_path, capsys):
  assert command.main(['--num_actors=0']) == 2
  assert 'num_actors must be greater than 0' in capsys.readouterr().err
  (tmp_path / 'file').write_text('')
  assert command.main([f'--output={tmp_path}/file/x.svg']) == 2
  assert 'output must be a writable file' in capsys.readouterr().err
