import re

import pytest

from programs.commands import cluster, placement, train
from programs.launching import tasks
from programs.runs import run_directory


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'launch': 'local', 'ray_address': 'a:1'}, 'ray_address must be left out'),
    ({'lp_launch_type': 'local_mp'}, 'lp_launch_type must be left out with'),
    ({'max_restarts_per_hour': -1}, 'max_restarts_per_hour must be at least 0'),
    (
      {'resources': 'actr: cpu=1'},
      "resources must .*actor.*, got 'actr: cpu=1'",
    ),
    ({'resources': 'actor cpu=1'}, "resources must be .*, got 'actor cpu=1'"),
    ({'resources': 'actor: cpu=one'}, "resources must give .*, got 'cpu=one'"),
    ({'resources': 'actor: ram=1'}, "resources must give .*, got 'ram=1'"),
    ({'resources': 'actor: machine=b'}, 'machine here or any, got'),
  ],
)
def test_flags_are_checked(given, message):
  with pytest.raises(run_directory.RunError, match=message):
    placement.make_plan({'launch': 'ray', **given})


def test_resources_of_groups():
  found = placement.parse_resources(
    'learner: gpu=1 cpu=4 machine=any; actor: cpu=0.5;', None
  )
  assert found['learner'] == tasks.Requirements(4.0, 1.0, False)
  assert found['actor'] == tasks.Requirements(0.5, 0.0, False)
  assert found['queue'] == tasks.Requirements()
  assert placement.parse_resources('', ['queue']) == {
    'queue': tasks.Requirements()
  }
  assert placement.parse_resources('', ['actor'])['actor'].cpu == 1


def test_wrong_flags_end_before_anything_is_made(tmp_path, capsys):
  directory = tmp_path / 'run'
  arguments = [f'--logdir={directory}', '--launch=ray', '--resources=1']
  assert train.main(arguments) == 2
  assert 'resources must be' in capsys.readouterr().err
  assert not directory.exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--head', '--ip=here'], "ip must be .*, got 'here'"),
    (['--head', '--ip=127.0.0.1'], 'ip must not be 127.0.0.1'),
    (['--head', '--ip=10.0.0.1', '--num_cpus=-1'], 'num_cpus must be at least'),
    (['--ip=10.0.0.1'], 'one of the arguments --head --join is required'),
  ],
)
def test_flags_of_a_machine_are_checked(arguments, message, capsys):
  try:
    status = cluster.main(arguments)
  except SystemExit as error:
    status = error.code
  assert status == 2
  assert re.search(message, capsys.readouterr().err)
