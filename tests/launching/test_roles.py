"""One role per command: flags, cluster files, and runs of several jobs."""

import json
import os
import signal
import socket

import clusters
import pytest

from programs.commands import cluster_spec, placement, roles, train
from programs.runs import flags, run_config, run_directory


def parse(*arguments):
  return vars(train._make_parser().parse_args(list(arguments)))


def write(tmp_path, content):
  path = tmp_path / 'cluster.json'
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return f'--cluster={path}'


def test_without_a_task_all_roles_are_here():
  assert roles.find_role(parse()) is None
  # As in the published code, the job's name then has no effect.
  assert roles.find_role(parse('--job_name=actor', '--task=-1')) is None
  with pytest.raises(
    run_directory.RunError, match="given with job_name='actor'"
  ):
    roles.find_role(parse('--job_name=actor'))


def test_without_a_file_the_learner_is_at_the_published_port():
  role = roles.find_role(parse('--job_name=actor', '--task=3'))
  assert role == roles.Role('actor', range(3, 4), cluster_spec.ClusterSpec())
  assert role.head == '127.0.0.2:8000' and role.address == '127.0.0.2'
  assert roles.find_role(parse('--task=0')).job == 'learner'
  assert [*roles.find_role(parse('--job_name=actor', '--task=0-7')).tasks] == [
    *range(8)
  ]


def test_a_file_says_where_machines_are_and_how_many_actors(tmp_path):
  said = {
    'learner': ['127.0.0.3:9000'],
    'actor': ['127.0.0.4:9000', 'localhost'],
    'evaluator': ['192.0.2.7'],
  }
  role = roles.find_role(parse('--task=0', write(tmp_path, said)))
  assert role.spec == cluster_spec.ClusterSpec(
    '127.0.0.3', 9000, said['actor'], '192.0.2.7'
  )
  assert role.head == '127.0.0.3:9000' and role.address == '127.0.0.3'
  assert role.job_groups == ['actor', 'evaluator']
  machines_of = {
    (job, task): roles.find_role(
      parse(f'--job_name={job}', f'--task={task}', write(tmp_path, said))
    ).address
    for job, task in (('actor', 0), ('actor', '1'), ('evaluator', 0))
  }
  assert machines_of == {
    ('actor', 0): '127.0.0.4',
    ('actor', '1'): '127.0.0.2',
    ('evaluator', 0): '127.0.0.3',  # The file's is another machine's.
  }
  assert roles.with_num_actors({}, role) == {'num_actors': 2}
  assert roles.with_num_actors({'num_actors': 2}, role) == {'num_actors': 2}
  with pytest.raises(
    run_directory.RunError, match=r'num_actors must be 2, .* got 3'
  ):
    roles.with_num_actors({'num_actors': 3}, role)
  role = roles.find_role(
    parse('--task=0', write(tmp_path, {'learner': ['nowhere.invalid:8000']}))
  )
  with pytest.raises(
    run_directory.RunError, match=r"known here, got 'nowhere\.invalid"
  ):
    _ = role.head


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{', 'cluster must be a JSON file'),
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
    (['--cluster=nowhere', '--task=0'], "cluster must be .*, got 'nowhere'"),
    (['--cluster=nowhere'], "task must be 0 or more with cluster='nowhere'"),
    (['--task=1'], 'task must be 0 with job_name=learner, got 1'),
    (['--task=0', '--job_name=evaluator'], 'job_name must not be evaluator'),
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
def test_a_wrong_task_is_refused(task, capsys):
  with pytest.raises(SystemExit):
    parse(f'--task={task}')
  assert f"-1, got '{task}'" in capsys.readouterr().err


@pytest.fixture
def jobs(tmp_path):
  made = clusters.Jobs(tmp_path)
  yield made
  made.close()


def test_catch_is_learned_by_a_job_for_each_role(tmp_path):
  """On three loopback addresses; an actor's process and a job are killed."""
  jobs = clusters.Jobs(tmp_path, actor=['127.0.0.3', '127.0.0.4'])
  try:
    first = jobs.start_job(0)
    jobs.wait_until(lambda: 'waits for the learner' in jobs.output('actor0'))
    learner = jobs.start_learner('--total_environment_frames=500_000')
    second = jobs.start_job(1)
    jobs.wait_until(lambda: len(jobs.records()) > 2)
    jobs.wait_until(lambda: 'actor/1' in jobs.meta('machines'))
    assert {
      name: jobs.meta('machines')[name]
      for name in ('learner/0', 'actor/0', 'actor/1')
    } == {
      'learner/0': '127.0.0.2',
      'actor/0': '127.0.0.3',
      'actor/1': '127.0.0.4',
    }
    # An actor's process is killed: it restarts on the same machine.
    killed = jobs.meta('processes')['actor/0']
    os.kill(killed, signal.SIGKILL)
    jobs.wait_until(lambda: jobs.meta('processes')['actor/0'] != killed)
    assert 'killed by SIGKILL; restarts in 0 s' in jobs.log('actor/0')
    # A job: its actor ends, and the next job with its task has it again.
    lost = jobs.process('actor/1')
    second.kill()
    second.wait()
    jobs.wait_until(lambda: not lost.is_running(), 20)
    third = jobs.start_job(1)
    jobs.wait_until(lambda: 'joins the run' in jobs.output('actor1'))
    assert learner.wait(240) == 0, jobs.output('learner')
    for name, process in (('actor0', first), ('actor1', third)):
      assert process.wait(30) == 0, jobs.output(name)
      assert f'joins the run in {jobs.directory}' in jobs.output(name)
    assert jobs.mean_return() >= 0.9
  finally:
    jobs.close()
  assert not [*tmp_path.glob('launching-*')]


def test_a_killed_learner_job_is_resumed_by_another(jobs):
  actors = jobs.start_job('0-1')
  learner = jobs.start_learner('--checkpoint_period_seconds=1')
  jobs.wait_until(lambda: len(jobs.records()) > 2)
  learner.kill()
  learner.wait()
  # Nothing else runs a second later: neither nodes nor Ray.
  jobs.wait_until(lambda: len(jobs.running()) == 1, 20)
  assert actors.poll() is None
  before = len(jobs.records())
  second = jobs.start_job(1)
  learner = jobs.start_learner('--checkpoint_period_seconds=1')
  jobs.wait_until(lambda: len(jobs.records()) > before)
  jobs.wait_until(lambda: 'actor/1 runs already in' in jobs.output('actor1'))
  learner.send_signal(signal.SIGINT)
  assert learner.wait(60) == 130
  for name, process in (('actor0-1', actors), ('actor1', second)):
    assert process.wait(30) == 1
    assert 'has ended: interrupted by SIGINT' in jobs.output(name)


def test_a_flag_of_another_run_is_refused_and_one_of_the_machine_is_not(jobs):
  learner = jobs.start_learner('--total_environment_frames=100_000')
  wrong = jobs.start_job(0, '--batch_size=7')
  assert wrong.wait(60) == 2
  assert 'batch_size must be 32' in jobs.output('actor0')
  beyond = jobs.start_job('1-2')
  assert beyond.wait(60) == 1
  assert 'the run has no actor/2' in jobs.output('actor1-2')
  jobs.start_job(0, '--renderer=hardware')
  jobs.wait_until(lambda: 'actor/0' in jobs.meta('processes'))
  assert 'hardware' in jobs.process('actor/0').environ()[run_config.OF_MACHINE]
  assert learner.wait(120) == 0, jobs.output('learner')


def test_an_evaluator_that_is_a_job_of_its_own_ends_the_run(tmp_path):
  jobs = clusters.Jobs(tmp_path, evaluator=['127.0.0.2'])
  try:
    learner = jobs.start_learner('--total_environment_frames=20_000')
    actor = jobs.start_job('0-1')
    jobs.wait_until(lambda: (jobs.directory / 'config.json').exists(), 60)
    evaluator = jobs.start_job(0, job='evaluator')
    assert learner.wait(120) == 0, jobs.output('learner')
    assert evaluator.wait(30) == 0, jobs.output('evaluator0')
    assert actor.wait(30) == 0, jobs.output('actor0-1')
    assert [*(jobs.directory / 'evaluations').glob('*/results.json')]
  finally:
    jobs.close()


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_a_waiting_job_is_interrupted(jobs, signum):
  actor = jobs.start_job(0)
  jobs.wait_until(lambda: 'waits for the learner' in jobs.output('actor0'), 60)
  actor.send_signal(signum)
  assert actor.wait(30) == 128 + signum
  assert 'Traceback' not in jobs.output('actor0')


def test_a_wrong_flag_of_the_machine_does_not_wait_for_a_learner(jobs):
  assert jobs.start_job(0, '--renderer=x').wait(30) == 2
  assert 'renderer must be' in jobs.output('actor0')
  assert 'waits for' not in jobs.output('actor0')


def test_jobs_of_a_finished_run_end(jobs):
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
  actor = jobs.start_job(0)
  jobs.start_learner()
  assert actor.wait(60) == 0, jobs.output('actor0')
  assert 'it had finished before' in jobs.output('actor0')


def test_a_taken_port_is_refused_before_a_node_starts(jobs):
  with socket.create_server(('127.0.0.2', jobs.port)):
    assert jobs.start_learner().wait(60) == 2
  assert f'{jobs.port}: the port is taken' in jobs.output('learner')
  assert not jobs.log('learner/0')
