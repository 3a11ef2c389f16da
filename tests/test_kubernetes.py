"""What is written for Kubernetes, against its schemas and our own parsers.

No cluster was at hand: nothing here shows that it runs on one.
"""

import json
import re
import subprocess
import sys

import pytest

from programs import kubernetes, machines, roles, train

VALIDATOR = 'kubernetes-validate==1.37.0'
VERSIONS = ('1.28', '1.34')
CHECK = """
import json, sys
import kubernetes_validate
for item in json.load(sys.stdin)['items']:
  for version in sys.argv[1:]:
    kubernetes_validate.validate(item, version, strict=True)
"""


def write(capsys, *arguments):
  assert kubernetes.main(['--name=pong', '--image=i:1', *arguments]) == 0
  return capsys.readouterr().out


def objects(text):
  """By kind, Jobs by name."""
  items = json.loads(text)['items']
  return {
    item['metadata']['name'] if item['kind'] == 'Job' else item['kind']: item
    for item in items
  }


def pod(job):
  spec = job['spec']['template']['spec']
  (container,) = spec['containers']
  return spec, container


@pytest.fixture(scope='module')
def check(tmp_path_factory):
  """Validates a list of objects in a process that has the schemas."""
  folder = tmp_path_factory.mktemp('validator')
  pip = [sys.executable, '-m', 'pip', 'install', '-q', '--target']
  subprocess.run([*pip, folder, VALIDATOR], check=True, timeout=300)

  def run(text):
    return subprocess.run(
      [sys.executable, '-c', CHECK, *VERSIONS],
      input=text,
      env={'PYTHONPATH': str(folder)},
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
    )

  return run


@pytest.mark.slow
def test_the_schemas_accept_it_and_refuse_what_is_wrong(check, capsys):
  many = ('--claim=runs', '--resources=learner: gpu=1 cpu=4; actor: cpu=0.5')
  for arguments in ((), (*many, '--num_actors=48', '--inference=server')):
    text = write(capsys, *arguments)
    found = check(text)
    assert found.returncode == 0, found.stderr
  found = check(text.replace('"completions": 48', '"completions": "48"'))
  assert "'48' is not of type 'integer'" in found.stderr
  found = check(text.replace('"subdomain"', '"subdomains"'))
  assert 'subdomains' in found.stderr and found.returncode


def test_what_pods_run_is_what_we_take(capsys, tmp_path):
  text = write(
    capsys,
    *('--num_actors=3', '--level_name=atari_pong', '--seed=7', '--claim=runs'),
    '--resources=learner: gpu=1 cpu=4; queue: cpu=1; actor: cpu=0.5',
  )
  found = objects(text)
  file = tmp_path / 'cluster.json'
  file.write_text(found['ConfigMap']['data']['cluster.json'])

  def parse(container, index):
    words = [
      word.replace('/etc/impala/cluster.json', str(file)).replace(
        '$(JOB_COMPLETION_INDEX)', str(index)
      )
      for word in container['args']
    ]
    assert words.pop(0) == 'train'
    given = vars(train._make_parser().parse_args(words))
    machines.check(given)
    return given, roles.find(given)

  spec, container = pod(found['pong-learner'])
  given, role = parse(container, 0)
  assert role == roles.Role(
    'learner', range(1), roles.Cluster(('pong-learner-0.pong', 8000), 3)
  )
  assert given['logdir'] == '/runs/pong'
  assert (given['level_name'], given['seed']) == ('atari_pong', 7)
  assert roles.with_actors(given, role)['num_actors'] == 3
  assert container['resources'] == {
    'requests': {'cpu': '5'},
    'limits': {'nvidia.com/gpu': '1'},
  }
  assert {'name': 'runs', 'persistentVolumeClaim': {'claimName': 'runs'}} in (
    spec['volumes']
  )
  assert '/dev/shm' in str(container['volumeMounts'])
  # Its pod has the name that the others look for.
  assert spec['subdomain'] == found['Service']['metadata']['name'] == 'pong'
  assert found['Service']['spec']['clusterIP'] == 'None'

  actors = found['pong-actor']['spec']
  assert actors['completionMode'] == 'Indexed'
  assert actors['completions'] == actors['parallelism'] == 3
  _, container = pod(found['pong-actor'])
  given, role = parse(container, 2)
  assert (role.job, role.tasks) == ('actor', range(2, 3))
  assert 'seed' not in given and 'logdir' not in given  # The learner says.
  assert container['resources']['requests'] == {'cpu': '0.5'}


def test_only_the_run_itself_may_reach_its_ports(capsys):
  found = objects(write(capsys, '--inference=server'))
  labels = {'run': 'pong'}
  policy = found['NetworkPolicy']['spec']
  assert policy['podSelector']['matchLabels'] == labels
  assert policy['ingress'] == [
    {'from': [{'podSelector': {'matchLabels': labels}}]}
  ]
  for role in ('learner', 'actor'):
    template = found[f'pong-{role}']['spec']['template']
    assert labels.items() <= template['metadata']['labels'].items()
  # Where they join, monitor, queue, learner and inference.
  ports = [port['port'] for port in found['Service']['spec']['ports']]
  assert ports == [8000, 8001, 8002, 8003, 8004]


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--name=Pong', "name must be .*, got 'Pong'"),
    ('--name=pong-', 'name must be'),
    (f'--name={41 * "x"}', 'name must be 1 to 40'),
    ('--logdir=/data', "logdir must be left out, .* got '/data'"),
    ('--resources=actor: gpu=0.5', 'gpu a whole number, got 0.5'),
    ('--resources=actors: cpu=1', "got 'actors: cpu=1'"),
    ('--batch_size=0', 'batch_size must be greater than 0'),
  ],
)
def test_what_cannot_be_is_refused(argument, message, capsys):
  assert kubernetes.main(['--name=pong', '--image=i', argument]) == 2
  captured = capsys.readouterr()
  assert not captured.out
  assert re.search(message, captured.err)
