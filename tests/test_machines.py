import re

import pytest

from programs import cluster, machines, runs, train


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'launch': 'local', 'ray_address': 'a:1'}, 'ray_address must be left out'),
    ({'lp_launch_type': 'local_mp'}, 'lp_launch_type must be left out with'),
    ({'max_restarts_per_hour': -1}, 'max_restarts_per_hour must be at least 0'),
    (
      {'resources': 'actr: cpu=1'},
      "of the groups .*actor.*, got 'actr: cpu=1'",
    ),
    ({'resources': 'actor cpu=1'}, "resources must be .*, got 'actor cpu=1'"),
    ({'resources': 'actor: cpu=one'}, "resources must give .*, got 'cpu=one'"),
    ({'resources': 'actor: ram=1'}, "resources must give .*, got 'ram=1'"),
    ({'resources': 'actor: machine=b'}, 'machine here or any, got'),
    ({'port_range': '7000'}, "port_range must be FIRST-LAST .* got '7000'"),
    ({'port_range': '80-90'}, 'port_range must be FIRST-LAST from 1024'),
    ({'port_range': '9000-8000'}, 'port_range must be FIRST-LAST'),
    ({'port_range': '9000-70000'}, 'port_range must be FIRST-LAST'),
  ],
)
def test_flags_are_checked(given, message):
  with pytest.raises(runs.RunError, match=message):
    machines.check({'launch': 'ray', **given})


def test_what_groups_need():
  needs = machines.needs(
    'learner: gpu=1 cpu=4 machine=any; actor: cpu=0.5;', None
  )
  assert needs['learner'] == machines.Need(4.0, 1.0, 'any')
  assert needs['actor'] == machines.Need(0.5, 0.0, 'any')
  assert needs['queue'] == machines.Need(0.0, 0.0, 'here')
  assert machines.needs('', ['queue']) == {'queue': machines.Need()}
  assert machines.needs('', ['actor'])['actor'].cpu == 1
  assert machines.port_range('7000-7001') == (7000, 7001)
  assert machines.port_range('') is None


def test_wrong_flags_end_before_anything_is_made(tmp_path, capsys):
  directory = tmp_path / 'run'
  arguments = [f'--logdir={directory}', '--launch=ray', '--port_range=1']
  assert train.main(arguments) == 2
  assert 'port_range must be' in capsys.readouterr().err
  assert not directory.exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--head', '--ip=here'], "ip must be .*, got 'here'"),
    (['--head', '--ip=127.0.0.1'], 'ip must not be 127.0.0.1'),
    (['--head', '--ip=10.0.0.1', '--num_cpus=-1'], 'num_cpus must be at least'),
    (
      ['--head', '--ip=10.0.0.1', '--port_range=20000-20009'],
      'port_range must hold at least 16 ports',
    ),
    (['--ip=10.0.0.1'], 'one of the arguments --head --join is required'),
  ],
)
def test_what_a_machine_is_given_is_checked(arguments, message, capsys):
  try:
    status = cluster.main(arguments)
  except SystemExit as error:
    status = error.code
  assert status == 2
  assert re.search(message, capsys.readouterr().err)


def test_what_ray_is_given():
  parse = cluster._make_parser().parse_args
  head = cluster.make_arguments(
    parse(['--head', '--ip=10.0.0.1', '--port_range=20000-20199'])
  )
  assert '--include-dashboard=false' in head and '--port=6379' in head
  assert '--min-worker-port=20006' in head
  assert '--max-worker-port=20199' in head
  ports = [int(part.rpartition('=')[2]) for part in head if '-port=' in part]
  assert len(set(ports)) == len(ports) == 9
  other = cluster.make_arguments(
    parse(['--join=10.0.0.1:6379', '--ip=10.0.0.2', '--num_cpus=4'])
  )
  assert '--address=10.0.0.1:6379' in other and '--num-cpus=4' in other
  assert '--head' not in other
