"""One role a command: flags, files, and real runs of several launchers."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import time

import free_ports
import psutil
import pytest

from programs import flags, machines, roles, runs, train

ROOT = pathlib.Path(__file__).absolute().parent.parent
SLURM = {
  'SLURM_PROCID': '0',
  'SLURM_NTASKS': '5',
  'SLURM_JOB_ID': '3001',
  'SLURM_STEP_NODELIST': 'node[07-09,12],other',
}


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
  with pytest.raises(runs.RunError, match="given with job_name='actor'"):
    roles.find(parse('--job_name=actor'))


def test_without_a_file_the_learner_is_where_it_was_of_old():
  role = roles.find(parse('--job_name=actor', '--task=3'))
  assert role == roles.Role('actor', range(3, 4), roles.Cluster())
  assert role.cluster.learner == ('localhost', 8000)
  assert roles.find(parse('--task=0')).job == 'learner'
  assert [*roles.find(parse('--job_name=actor', '--task=0-7')).tasks] == [
    *range(8)
  ]


def test_a_file_says_where_the_learner_is_and_how_many_actors(tmp_path):
  said = {
    'learner': ['[fd00::1]:9000'],
    'actor': ['a', 'b'],
    'evaluator': ['e'],
  }
  role = roles.find(parse('--task=0', write(tmp_path, said)))
  assert role.cluster == roles.Cluster(('fd00::1', 9000), 2, True)
  assert roles.with_actors({}, role) == {'num_actors': 2}
  assert roles.with_actors({'num_actors': 2}, role) == {'num_actors': 2}
  with pytest.raises(runs.RunError, match=r'num_actors must be 2, .* got 3'):
    roles.with_actors({'num_actors': 3}, role)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{', 'cluster must be a file of JSON'),
    ([], 'cluster must hold a list of hosts for learner, actor, evaluator'),
    ({'learner': 'a:8000'}, 'cluster must hold a list of hosts'),
    ({'learner': ['a:8000'], 'worker': ['b']}, 'and no other job'),
    ({'learner': ['a:8000'], 'actor': [3]}, 'must hold a list of hosts'),
    ({'actor': ['b']}, r'cluster must give learner one host, got \[\]'),
    ({'learner': ['a:8000', 'b:8000']}, 'must give learner one host'),
    ({'learner': ['a:8000'], 'evaluator': ['b', 'c']}, 'give evaluator one'),
    ({'learner': ['a']}, "must give learner 'HOST:PORT', .* got 'a'"),
    ({'learner': ['a:80']}, "from 1024 to 65500, got 'a:80'"),
  ],
)
def test_a_wrong_file_is_refused(tmp_path, content, message):
  with pytest.raises(runs.RunError, match=message):
    machines.check(parse('--task=0', write(tmp_path, content)))


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
    (['--task=0', '--max_restarts_per_hour=-1'], 'must be at least 0, got -1'),
    (['--cluster=slurm'], "got 'slurm' without 'SLURM_PROCID'"),
  ],
)
def test_wrong_flags_are_refused(arguments, message):
  with pytest.raises(runs.RunError, match=message):
    machines.check(parse(*arguments))


@pytest.mark.parametrize('task', ['-2', 'x', '7-0', '1-', ''])
def test_what_is_no_task_is_refused(task, capsys):
  with pytest.raises(SystemExit):
    parse(f'--task={task}')
  assert f"-1, got '{task}'" in capsys.readouterr().err


def test_slurm_says_who_is_who(monkeypatch):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  cluster = roles.Cluster(('node07', 20008), 4)
  assert roles.find(parse('--cluster=slurm')) == roles.Role(
    'learner', range(1), cluster
  )
  monkeypatch.setenv('SLURM_PROCID', '4')
  assert roles.find(parse('--cluster=slurm')) == roles.Role(
    'actor', range(3, 4), cluster
  )
  for flag in ('--task=-1', '--job_name=evaluator'):
    with pytest.raises(runs.RunError, match='must be left out with cluster='):
      roles.find(parse('--cluster=slurm', flag))
  monkeypatch.setenv('SLURM_NTASKS', '1')
  with pytest.raises(runs.RunError, match='two tasks at least'):
    roles.find(parse('--cluster=slurm'))


@pytest.mark.parametrize(
  ('hosts', 'first'),
  [
    ('n', 'n'),
    ('n1,n2', 'n1'),
    ('n[1-3]', 'n1'),
    ('n[007,9]', 'n007'),
    ('a-b[10-12]-c,d', 'a-b10-c'),
    ('gpu.example.org,x[1]', 'gpu.example.org'),
  ],
)
def test_the_first_of_slurms_hosts(hosts, first):
  assert roles._first_host(hosts) == first


def test_flags_must_be_those_of_the_learner(tmp_path):
  configuration = flags.resolve({'batch_size': 8, 'logdir': str(tmp_path)})
  told = {'configuration': configuration.to_dict(), 'revision': 'abc'}
  given = parse('--batch_size=8', f'--logdir={tmp_path}/../{tmp_path.name}')
  with pytest.raises(runs.RunError, match='logdir must be'):
    roles._configuration(told, given, {})
  given = parse('--batch_size=8', f'--logdir={tmp_path}', '--task=0')
  assert roles._configuration(told, given, {}) == configuration
  with pytest.raises(runs.RunError, match=r'batch_size must be 8, .* 32'):
    roles._configuration(told, parse('--batch_size=32'), {})
  given = parse('--dataset_path=/data')
  own = roles._configuration(told, given, roles._own(given))
  assert own.environment.dataset_path == '/data'
  assert own.agent == configuration.agent
  told['configuration']['agent']['news'] = 1
  with pytest.raises(runs.RunError, match='runs other code than this, abc'):
    roles._configuration(told, {}, {})


def test_to_evaluate_needs_the_run_directory(tmp_path):
  configuration = flags.resolve({'logdir': str(tmp_path)})
  with pytest.raises(runs.RunError, match='logdir must be a folder that'):
    roles._check_shared(configuration)
  configuration.directory.write_config(configuration)
  roles._check_shared(configuration)


class Jobs:
  """Commands of one run, as on several machines."""

  def __init__(self, tmp_path, **hosts):
    self.tmp_path = tmp_path
    self.run = tmp_path / 'run'
    self.processes = {}
    self.port = free_ports.find(5)
    said = {'learner': [f'127.0.0.1:{self.port}'], 'actor': ['a', 'b'], **hosts}
    self._cluster = write(tmp_path, said)

  def start(self, job, task, *arguments):
    name = f'{job}{task}'
    with open(self.tmp_path / f'{name}.out', 'ab') as output:
      self.processes[name] = subprocess.Popen(
        [sys.executable, '-m', 'programs.train', self._cluster]
        + [f'--job_name={job}', f'--task={task}', *arguments],
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
      )
    return self.processes[name]

  def lead(self, *arguments):
    return self.start(
      'learner',
      0,
      f'--logdir={self.run}',
      '--seed=1',
      '--evaluation_period_frames=0',
      '--test_num_episodes=20',
      *arguments,
    )

  def output(self, name):
    return (self.tmp_path / f'{name}.out').read_text()

  def log(self, name):
    path = self.run / 'logs' / f'{name}.log'
    return path.read_text(errors='replace') if path.exists() else ''

  def steps(self):
    path = self.run / 'metrics/learner.csv'
    return len(path.read_text().splitlines()) if path.exists() else 0

  def wait_until(self, condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
      assert time.monotonic() < deadline, [
        self.output(name) for name in self.processes
      ]
      time.sleep(0.1)

  def close(self):
    for process in self.processes.values():
      process.kill()
      process.wait()


@pytest.fixture
def jobs(tmp_path):
  made = Jobs(tmp_path)
  yield made
  made.close()


def nodes_of(process):
  """A launcher's nodes, which may outlive it."""
  return [
    child
    for child in psutil.Process(process.pid).children()
    if '--lp_task_id=0' in ' '.join(child.cmdline())
  ]


def are_gone(processes):
  return not any(
    process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    for process in processes
  )


def test_catch_is_learned_by_jobs_of_their_own(jobs):
  """Actors wait for the learner; one fails and one is replaced on the way."""
  first = jobs.start('actor', 0)
  jobs.wait_until(lambda: 'waits for the learner' in jobs.output('actor0'), 60)
  learner = jobs.lead('--total_environment_frames=200_000')
  second = jobs.start('actor', 1)
  jobs.wait_until(lambda: jobs.steps() > 2)
  # An actor's process: started again where it is.
  (killed,) = nodes_of(first)
  killed.kill()
  jobs.wait_until(
    lambda: 'killed by SIGKILL; started again in 0 s' in jobs.log('actor_0')
  )
  # A machine, as far as processes go; its task is then taken by another.
  lost = nodes_of(second)
  second.kill()
  third = jobs.start('actor', 1)
  jobs.wait_until(lambda: are_gone(lost), 10)
  jobs.wait_until(lambda: 'runs already, on 127.0.0.1' in jobs.output('actor1'))
  jobs.wait_until(
    lambda: 'lost with 127.0.0.1, not heard of for 17 s' in jobs.log('actor_1')
  )
  meta = json.loads((jobs.run / 'meta.json').read_text())
  assert meta['machines']['learner/0'] == '127.0.0.1'
  assert learner.wait(240) == 0, jobs.output('learner0')
  for name, process in (('actor0', first), ('actor1', third)):
    assert process.wait(30) == 0, jobs.output(name)
    assert f'joins the run in {jobs.run}' in jobs.output(name)
  (results,) = (jobs.run / 'evaluations').glob('*/results.json')
  assert json.loads(results.read_text())['summary']['mean_return'] >= 0.9
  assert 'leaves: finished' in jobs.log('actor_0')


def test_who_leads_may_be_killed_and_come_back(jobs):
  actors = jobs.start('actor', '0-1')
  learner = jobs.lead('--checkpoint_period_seconds=1')
  jobs.wait_until(lambda: jobs.steps() > 2)
  acting, served = nodes_of(actors), nodes_of(learner)
  learner.kill()
  learner.wait()
  jobs.wait_until(lambda: are_gone(served), 10)
  # In time, at the same address: actors go on as they are.
  before = jobs.steps()
  learner = jobs.lead('--checkpoint_period_seconds=1')
  jobs.wait_until(lambda: jobs.steps() > before)
  assert len(nodes_of(actors)) == 2
  # For good: they end, all of them.
  learner.send_signal(signal.SIGKILL)
  assert actors.wait(30) == 1
  assert 'has not answered for 12 s' in jobs.output('actor0-1')
  assert are_gone(acting)


def test_a_flag_of_another_run_is_refused_and_an_end_is_everybodys(jobs):
  learner = jobs.lead()
  wrong = jobs.start('actor', 0, '--batch_size=7')
  assert wrong.wait(60) == 2
  assert 'batch_size must be 32, which it is in the' in jobs.output('actor0')
  jobs.wait_until(lambda: 'leaves: it was ended before' in jobs.log('actor_0'))
  actor = jobs.start('actor', 0)
  jobs.wait_until(lambda: jobs.steps() > 1)
  learner.send_signal(signal.SIGINT)
  assert learner.wait(60) == 130
  assert actor.wait(60) == 1
  assert 'has ended there: interrupted by SIGINT' in jobs.output('actor0')


def test_an_evaluator_that_is_a_job_of_its_own_ends_the_run(tmp_path):
  jobs = Jobs(tmp_path, actor=['a'], evaluator=['b'])
  try:
    learner = jobs.lead('--total_environment_frames=20_000')
    actor = jobs.start('actor', 0)
    jobs.wait_until(lambda: (jobs.run / 'config.json').exists(), 60)
    evaluator = jobs.start('evaluator', 0)
    assert learner.wait(120) == 0, jobs.output('learner0')
    assert evaluator.wait(30) == 0, jobs.output('evaluator0')
    assert actor.wait(30) == 0, jobs.output('actor0')
    assert [*(jobs.run / 'evaluations').glob('*/results.json')]
  finally:
    jobs.close()


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_who_waits_for_the_learner_is_interrupted(jobs, signum):
  actor = jobs.start('actor', 0)
  jobs.wait_until(lambda: 'waits for the learner' in jobs.output('actor0'), 60)
  actor.send_signal(signum)
  assert actor.wait(30) == 128 + signum
  assert 'Traceback' not in jobs.output('actor0')


def test_a_wrong_flag_of_the_machine_does_not_wait_for_a_learner(jobs):
  assert jobs.start('actor', 0, '--renderer=x').wait(30) == 2
  assert 'renderer must be one of' in jobs.output('actor0')
  assert 'waits for' not in jobs.output('actor0')


def test_a_finished_run_sends_all_home(jobs):
  finished = {'finished_frames': 10}
  configuration = flags.resolve(
    {
      'logdir': str(jobs.run),
      'num_actors': 2,
      'total_environment_frames': 10,
    }
  )
  configuration.directory.write_config(configuration)
  configuration.directory.update_meta(**finished)
  actor = jobs.start('actor', 0)
  jobs.start('learner', 0, f'--logdir={jobs.run}')
  assert actor.wait(60) == 0, jobs.output('actor0')
  assert 'it had finished before' in jobs.output('actor0')


def test_a_taken_port_ends_it_before_anything_runs(jobs):
  with socket.create_server(('', jobs.port + 1)):
    assert jobs.lead().wait(60) == 2
  assert f'port {jobs.port + 1}: Address already in' in jobs.output('learner0')
  assert not jobs.log('learner_0')
