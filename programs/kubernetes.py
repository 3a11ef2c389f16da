"""Writes what runs a training on Kubernetes: `./impala kubernetes`."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from programs import flags, impala, machines, nodes, roles, runs
from programs.launching import jobs

_DESCRIPTION = """\
Writes the objects that run a training on Kubernetes, for the same flags as
train: a Job with the learner, queue, monitor and evaluator, an Indexed Job with
the actors, the names by which they find the learner, and who may reach them.
They go to the standard output; nothing else is written.

  ./impala kubernetes --name=pong --image=registry.example.org/impala \\
    --claim=runs --level_name=atari_pong --num_actors=48 > pong.json
  kubectl apply -f pong.json

The image is this project's (docker build -t impala .). What is written is
checked against Kubernetes' schemas; it was never run on a cluster."""

_PORT = 8000
_MOUNTED, _FILE = '/etc/impala', 'cluster.json'
_RUNS = '/runs'
# A launcher gives its nodes 10 s, and waits 15 s for other launchers.
_GRACE_SECONDS = 40
_LEARNER_RETRIES, _ACTOR_RETRIES = 10, 50
_SHARED_MEMORY = '2Gi'


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: Its flags; by default, the command line's.
  """
  given = vars(_make_parser().parse_args(argv))
  try:
    objects = make_objects(given)
  except (runs.RunError, ValueError) as error:
    print(f'./impala kubernetes: {error}', file=sys.stderr)
    return 2
  print(
    json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects}, indent=2)
  )
  return 0


def _make_parser() -> Any:
  parser = flags.make_parser('kubernetes', _DESCRIPTION)
  group = parser.add_argument_group('kubernetes')
  group.add_argument(
    '--name', required=True, help='of the run, and of its objects'
  )
  group.add_argument('--image', required=True, help="this project's image")
  group.add_argument(
    '--claim',
    default='',
    help='PersistentVolumeClaim that the run directory goes to, below the '
    "run's name; without, it is gone with the learner's pod",
  )
  group.add_argument(
    '--resources',
    default='',
    metavar='TEXT',
    help="what a group's nodes ask for, as in 'learner: gpu=1 cpu=4; actor: "
    "cpu=0.5' [default: an actor a core]",
  )
  flags.add_configuration(parser)
  return parser


def make_objects(given: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Makes the objects, in the order in which they are to be made.

  Args:
    given: Flags of the command line.

  Raises:
    runs.RunError: A flag is wrong.
    ValueError: A flag of the configuration is wrong.
  """
  name = given['name']
  if not re.fullmatch('[a-z]([-a-z0-9]{0,38}[a-z0-9])?', name):
    raise runs.RunError(
      'name must be 1 to 40 lower-case letters, digits and hyphens, a letter '
      f'first and no hyphen last, got {name!r}'
    )
  if 'logdir' in given:
    raise runs.RunError(
      f'logdir must be left out, it is {_RUNS}/{name} in the pod, got '
      f'{given["logdir"]!r}'
    )
  configuration = flags.resolve(given)
  program = impala.make_program(configuration)
  needs = machines.needs(given['resources'], program.groups)
  for need in needs.values():
    if need.gpu % 1:
      raise runs.RunError(
        f'resources must give gpu a whole number, got {need.gpu:g}'
      )
  fields = configuration.to_dict()
  asked = [
    f'--{field}={value}'
    for field, value in given.items()
    if any(field in group for group in fields.values())
  ]
  num_actors = len(program.groups[nodes.ACTOR])
  cluster = {
    roles.LEARNER: [f'{name}-{roles.LEARNER}-0.{name}:{_PORT}'],
    roles.ACTOR: [
      f'{name}-{roles.ACTOR}-{i}.{name}' for i in range(num_actors)
    ],
  }
  here = [needs[group] for group in program.groups if group != nodes.ACTOR]
  storage: dict[str, Any] = {'emptyDir': {}}
  if given['claim']:
    storage = {'persistentVolumeClaim': {'claimName': given['claim']}}
  learner = _pod(
    given,
    [
      f'--job_name={roles.LEARNER}',
      '--task=0',
      f'--logdir={_RUNS}/{name}',
      *asked,
    ],
    sum(need.cpu for need in here),
    sum(need.gpu for need in here),
  )
  learner['volumes'].append({'name': 'runs', **storage})
  learner['containers'][0]['volumeMounts'].append(
    {'name': 'runs', 'mountPath': _RUNS}
  )
  actor = _pod(
    given,
    # Which of them a pod is, Kubernetes puts there.
    [f'--job_name={roles.ACTOR}', '--task=$(JOB_COMPLETION_INDEX)'],
    needs[nodes.ACTOR].cpu,
    needs[nodes.ACTOR].gpu,
  )
  ports = range(_PORT, _PORT + 1 + jobs.count_ports(program))
  return [
    _object(
      given,
      'v1',
      'ConfigMap',
      name,
      data={_FILE: json.dumps(cluster, indent=2)},
    ),
    _object(
      given,
      'v1',
      'Service',
      name,
      spec={
        'clusterIP': 'None',
        # Names must be known before anybody is there to be asked.
        'publishNotReadyAddresses': True,
        'selector': {'run': name},
        'ports': [{'name': f'port-{port}', 'port': port} for port in ports],
      },
    ),
    _object(
      given,
      'networking.k8s.io/v1',
      'NetworkPolicy',
      name,
      spec={
        'podSelector': {'matchLabels': {'run': name}},
        'policyTypes': ['Ingress'],
        'ingress': [
          {'from': [{'podSelector': {'matchLabels': {'run': name}}}]}
        ],
      },
    ),
    _job(given, roles.LEARNER, learner, 1, _LEARNER_RETRIES),
    _job(given, roles.ACTOR, actor, num_actors, _ACTOR_RETRIES),
  ]


def _object(
  given: Mapping[str, Any], version: str, kind: str, name: str, **content: Any
) -> dict[str, Any]:
  """One of Kubernetes' objects."""
  return {
    'apiVersion': version,
    'kind': kind,
    'metadata': {'name': name, 'labels': {'run': given['name']}},
    **content,
  }


def _job(
  given: Mapping[str, Any],
  role: str,
  pod: Mapping[str, Any],
  count: int,
  retries: int,
) -> dict[str, Any]:
  """A Job whose pods have the names <run>-<role>-0 and so on."""
  return _object(
    given,
    'batch/v1',
    'Job',
    f'{given["name"]}-{role}',
    spec={
      'completionMode': 'Indexed',
      'completions': count,
      'parallelism': count,
      'backoffLimit': retries,
      'template': {
        'metadata': {'labels': {'run': given['name'], 'role': role}},
        'spec': dict(pod),
      },
    },
  )


def _pod(
  given: Mapping[str, Any], arguments: Sequence[str], cpu: float, gpu: float
) -> dict[str, Any]:
  """What runs one launcher and its nodes."""
  requests: dict[str, Any] = {'cpu': f'{cpu:g}'} if cpu else {}
  limits = {'nvidia.com/gpu': f'{gpu:g}'} if gpu else {}
  return {
    'subdomain': given['name'],
    'restartPolicy': 'OnFailure',
    'terminationGracePeriodSeconds': _GRACE_SECONDS,
    # Somebody must reap processes whose parent was killed.
    'shareProcessNamespace': True,
    'containers': [
      {
        'name': 'impala',
        'image': given['image'],
        'args': ['train', f'--cluster={_MOUNTED}/{_FILE}', *arguments],
        'resources': {'requests': requests, 'limits': limits},
        'volumeMounts': [
          {'name': 'cluster', 'mountPath': _MOUNTED},
          {'name': 'memory', 'mountPath': '/dev/shm'},
        ],
      }
    ],
    'volumes': [
      {'name': 'cluster', 'configMap': {'name': given['name']}},
      # Of 64 MB otherwise; variables and ViZDoom's pictures go there.
      {
        'name': 'memory',
        'emptyDir': {'medium': 'Memory', 'sizeLimit': _SHARED_MEMORY},
      },
    ],
  }


if __name__ == '__main__':
  sys.exit(main())
