"""One role a command: flags, files, and real runs of several launchers."""

import json
import os
import signal
import socket

import clusters
import pytest

from programs.commands import placement, roles, train
from programs.runs import flags, run_config, run_directory


def parse(*arguments):
  return vars(train._make_parser().parse_args(list(arguments)))


def write(tmp_path, content):
  path = tmp_path / 'cluster.json'
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return f'--cluster={path}'


def test_without_a_task_all_roles_are_here():
  assert roles.find(parse()) is None
  # As of old: the job's name is then of no effect.
  assert roles.find(parse('--job_name=actor', '--task=-1')) is None
  with pytest.raises(
    run_directory.RunError, match="given with job_name='actor'"
  ):
    roles.find(parse('--job_name=actor'))


def test_without_a_file_the_learner_is_where_it_was_of_old():
  role = roles.find(parse('--job_name=actor', '--task=3'))
  assert role == roles.Role('actor', range(3, 4), roles.Hosts())
  assert role.address == '127.0.0.2:8000' and role.machine == '127.0.0.2'
  assert roles.find(parse('--task=0')).job == 'learner'
  assert [*roles.find(parse('--job_name=actor', '--task=0-7')).tasks] == [
    *range(8)
  ]


def test_a_file_says_where_machines_are_and_how_many_actors(tmp_path):
  said = {
    'learner': ['127.0.0.3:9000'],
    'actor': ['127.0.0.4:9000', 'localhost'],
    'evaluator': ['192.0.2.7'],
  }
  role = roles.find(parse('--task=0', write(tmp_path, said)))
  assert role.hosts == roles.Hosts(
    '127.0.0.3', 9000, said['actor'], '192.0.2.7'
  )
  assert role.address == '127.0.0.3:9000' and role.machine == '127.0.0.3'
  assert role.elsewhere == ['actor', 'evaluator']
  machines_of = {
    (job, task): roles.find(
      parse(f'--job_name={job}', f'--task={task}', write(tmp_path, said))
    ).machine
    for job, task in (('actor', 0), ('actor', '1'), ('evaluator', 0))
  }
  assert machines_of == {
    ('actor', 0): '127.0.0.4',
    ('actor', '1'): '127.0.0.2',
    ('evaluator', 0): '127.0.0.3',  # The file's is another machine's.
  }
  assert roles.with_actors({}, role) == {'num_actors': 2}
  assert roles.with_actors({'num_actors': 2}, role) == {'num_actors': 2}
  with pytest.raises(
    run_directory.RunError, match=r'num_actors must be 2, .* got 3'
  ):
    roles.with_actors({'num_actors': 3}, role)
  role = roles.find(
    parse('--task=0', write(tmp_path, {'learner': ['nowhere.invalid:8000']}))
  )
  with pytest.raises(
    run_directory.RunError, match=r"known here, got 'nowhere\.invalid"
  ):
    _ = role.address


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{', 'cluster must be a file of JSON'),
    ({'learner': 'a:8000'}, 'cluster must hold a list of hosts'),
    ({'learner': ['a:8000'], 'worker': ['b']}, 'and no other job'),
    ({'actor': ['b']}, r'cluster must give learner one host, got \[\]'),
    ({'learner': ['a:8000'], 'evaluator': ['b', 'c']}, 'give evaluator one'),
    ({'learner': ['a']}, "must give learner 'HOST:PORT', .* got 'a'"),
    ({'learner': ['a:80']}, "from 1024 to 65500, got 'a:80'"),
  ],
)
def test_a_wrong_file_is_refused(tmp_path, content, message):
  with pytest.raises(run_directory.RunError, match=message):
    placement.make_plan(parse('--task=0', write(tmp_path, content)))


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--cluster=nowhere', '--task=0'], "file of JSON, got 'nowhere'"),
    (['--cluster=nowhere'], "task must be 0 or more with cluster='nowhere'"),
    (['--task=1'], 'task must be 0 with job_name=learner, .* got 1'),
    (['--task=0', '--job_name=evaluator'], 'job_name must be another without'),
    (['--task=0', '--launch=ray'], 'task must be left out with --launch=ray'),
    (['--task=0', '--lp_launch_type=local_mt'], 'lp_launch_type must be left'),
    (['--task=0', '--ray_address=a:1'], 'ray_address must be left out'),
    (['--max_restarts_per_hour=1'], 'left out without --launch=ray or --task'),
    (
      ['--task=0', '--job_name=actor', '--max_restarts_per_hour=1'],
      'max_restarts_per_hour must be left out with job_name=actor',
    ),
  ],
)
def test_wrong_flags_are_refused(arguments, message):
  with pytest.raises(run_directory.RunError, match=message):
    placement.make_plan(parse(*arguments))


@pytest.mark.parametrize('task', ['-2', 'x', '7-0', '1-', ''])
def test_what_is_no_task_is_refused(task, capsys):
  with pytest.raises(SystemExit):
    parse(f'--task={task}')
  assert f"-1, got '{task}'" in capsys.readouterr().err


@pytest.fixture
def jobs(tmp_path):
  made = clusters.Jobs(tmp_path)
  yield made
  made.close()


def test_catch_is_learned_by_jobs_of_their_own(tmp_path):
  """On three machines in name; one actor's process and one job are killed."""
  jobs = clusters.Jobs(tmp_path, actor=['127.0.0.3', '127.0.0.4'])
  try:
    first = jobs.join(0)
    jobs.wait_until(lambda: 'waits for the learner' in jobs.output('actor0'))
    learner = jobs.lead('--total_environment_frames=200_000')
    second = jobs.join(1)
    jobs.wait_until(lambda: len(jobs.rows()) > 2)
    jobs.wait_until(lambda: 'actor/1' in jobs.meta('machines'))
    assert {
      name: jobs.meta('machines')[name]
      for name in ('learner/0', 'actor/0', 'actor/1')
    } == {
      'learner/0': '127.0.0.2',
      'actor/0': '127.0.0.3',
      'actor/1': '127.0.0.4',
    }
    # An actor's process: started again where it is.
    killed = jobs.meta('processes')['actor/0']
    os.kill(killed, signal.SIGKILL)
    jobs.wait_until(lambda: jobs.meta('processes')['actor/0'] != killed)
    assert 'killed by SIGKILL; restarts in 0 s' in jobs.log('actor/0')
    # A job: its actor ends, and the next job with its task has it again.
    lost = jobs.process('actor/1')
    second.kill()
    second.wait()
    jobs.wait_until(lambda: not lost.is_running(), 20)
    third = jobs.join(1)
    assert learner.wait(240) == 0, jobs.output('learner')
    for name, process in (('actor0', first), ('actor1', third)):
      assert process.wait(30) == 0, jobs.output(name)
      assert f'joins the run in {jobs.directory}' in jobs.output(name)
    assert jobs.mean_return() >= 0.9
  finally:
    jobs.close()
  assert not [*tmp_path.glob('launching-*')]


def test_who_leads_may_be_killed_and_come_back(jobs):
  actors = jobs.join('0-1')
  learner = jobs.lead('--checkpoint_period_seconds=1')
  jobs.wait_until(lambda: len(jobs.rows()) > 2)
  learner.kill()
  learner.wait()
  # Nothing else runs a second later: neither nodes nor Ray.
  jobs.wait_until(lambda: len(jobs.left()) == 1, 20)
  assert actors.poll() is None
  before = len(jobs.rows())
  second = jobs.join(1)
  learner = jobs.lead('--checkpoint_period_seconds=1')
  jobs.wait_until(lambda: len(jobs.rows()) > before)
  jobs.wait_until(lambda: 'actor/1 runs already, here' in jobs.output('actor1'))
  learner.send_signal(signal.SIGINT)
  assert learner.wait(60) == 130
  for name, process in (('actor0-1', actors), ('actor1', second)):
    assert process.wait(30) == 1
    assert 'has ended: interrupted by SIGINT' in jobs.output(name)


def test_a_flag_of_another_run_is_refused_and_one_of_the_machine_is_not(jobs):
  learner = jobs.lead('--total_environment_frames=100_000')
  wrong = jobs.join(0, '--batch_size=7')
  assert wrong.wait(60) == 2
  assert 'batch_size must be 32, which it is in the' in jobs.output('actor0')
  beyond = jobs.join('1-2')
  assert beyond.wait(60) == 1
  assert 'it has no actor/2 for others to run' in jobs.output('actor1-2')
  jobs.join(0, '--renderer=hardware')
  jobs.wait_until(lambda: 'actor/0' in jobs.meta('processes'))
  assert 'hardware' in jobs.process('actor/0').environ()[run_config.OF_MACHINE]
  assert learner.wait(120) == 0, jobs.output('learner')


def test_an_evaluator_that_is_a_job_of_its_own_ends_the_run(tmp_path):
  jobs = clusters.Jobs(tmp_path, evaluator=['127.0.0.2'])
  try:
    learner = jobs.lead('--total_environment_frames=20_000')
    actor = jobs.join('0-1')
    jobs.wait_until(lambda: (jobs.directory / 'config.json').exists(), 60)
    evaluator = jobs.join(0, job='evaluator')
    assert learner.wait(120) == 0, jobs.output('learner')
    assert evaluator.wait(30) == 0, jobs.output('evaluator0')
    assert actor.wait(30) == 0, jobs.output('actor0-1')
    assert [*(jobs.directory / 'evaluations').glob('*/results.json')]
  finally:
    jobs.close()


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_who_waits_for_the_learner_is_interrupted(jobs, signum):
  actor = jobs.join(0)
  jobs.wait_until(lambda: 'waits for the learner' in jobs.output('actor0'), 60)
  actor.send_signal(signum)
  assert actor.wait(30) == 128 + signum
  assert 'Traceback' not in jobs.output('actor0')


def test_a_wrong_flag_of_the_machine_does_not_wait_for_a_learner(jobs):
  assert jobs.join(0, '--renderer=x').wait(30) == 2
  assert 'renderer must be one of' in jobs.output('actor0')
  assert 'waits for' not in jobs.output('actor0')


def test_a_finished_run_sends_all_home(jobs):
  finished = {'finished_frames': 10}
  configuration = flags.resolve(
    {
      'logdir': str(jobs.directory),
      'num_actors': 2,
      'total_environment_frames': 10,
    }
  )
  configuration.directory.write_config(configuration.to_dict())
  configuration.directory.update_meta(**finished)
  actor = jobs.join(0)
  jobs.lead()
  assert actor.wait(60) == 0, jobs.output('actor0')
  assert 'it had finished before' in jobs.output('actor0')


def test_a_taken_port_ends_it_before_anything_runs(jobs):
  with socket.create_server(('127.0.0.2', jobs.port)):
    assert jobs.lead().wait(60) == 2
  assert f'{jobs.port}: no Ray has this port' in jobs.output('learner')
  assert not jobs.log('learner/0')
