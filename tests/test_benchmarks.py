"""The benchmarks, on real runs of Catch, and what they compute."""

import json
import math
import os
import signal
import tempfile
import time

import numpy as np
import psutil
import pytest

from benchmarks import (
  __main__ as command,
)
from benchmarks import (
  commands,
  comparison,
  components,
  launching,
  learning,
  limits,
  memory,
  monitoring,
  pipeline,
  queues,
  scaling,
  sizes,
  stations,
  trial,
  works,
)
from programs import runs

_PROCESSES = [
  'launcher',
  'monitor/0',
  'queue/0',
  'learner/0',
  'actor/0',
  'evaluator/0',
]
_CATCH = ('--level_name=catch', '--num_actors=1', '--log_period_seconds=0.5')
# Least to most that Python with TensorFlow may take, in MB.
_SIZES = (50, 5000)


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
  """What both benchmarks saw of one run, of which nothing is left."""
  folder = tmp_path_factory.mktemp('benchmarks')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tempfile, 'tempdir', str(folder))
    with trial.start(_CATCH) as run:
      result = pipeline.measure(run, warmup_seconds=0.5, window_seconds=2)
      readings = memory.watch(run, minutes=0.04, period_seconds=0.5)
      patch.setattr(launching, '_TURN_SECONDS', 2.0)
      speeds = _speeds_in_turns(run)
      pids = [process.pid for process in run.processes().values()]
  assert not any(psutil.pid_exists(pid) for pid in pids)
  assert os.listdir(folder) == []
  return result, readings, speeds


def _speeds_in_turns(run):
  """Of a run that stands still between its two turns."""
  speeds = []
  for _ in range(2):
    run.pause()
    run.new_rows()
    time.sleep(1.0)  # Two rows' time.
    assert run.new_rows() == []
    speeds.append(launching.take_turn(run))
  return speeds


def test_the_rate_is_that_of_the_metrics(measured):
  result, *_ = measured
  assert result['level_name'] == 'catch'
  assert result['window_seconds'] >= 2
  rate = result['agent_steps_per_second']
  assert rate == result['frames_per_second'] > 100  # Catch repeats no action.
  # A learner step of the preset takes 32 unrolls of 20 rows.
  assert rate == pytest.approx(640 * result['learner_steps_per_second'])
  assert result['learner_busy_share'] + result[
    'learner_wait_share'
  ] == pytest.approx(1)
  assert 0 <= result['queue_fill_share'] <= 1
  lags = [result[f'policy_lag_{name}'] for name in ('min', 'mean', 'max')]
  assert lags == sorted(lags)


def test_it_is_told_where_cpu_time_goes(measured):
  result, *_ = measured
  roles = result['roles']
  assert list(roles) == [trial.role(name) for name in _PROCESSES]
  for figures in roles.values():
    assert figures['processes'] == 1
    assert _SIZES[0] < figures['rss_mb_largest'] < _SIZES[1]
    assert figures['cores_used'] == pytest.approx(
      figures['cpu_ms_per_agent_step'] * result['agent_steps_per_second'] / 1000
    )
  assert roles['actor']['cores_used'] > 0.1 > roles['evaluator']['cores_used']


def test_the_last_line_is_the_result(measured, capsys):
  result, *_ = measured
  commands.finish(result, pipeline.tables(result))
  stdout = capsys.readouterr().out
  assert json.loads(stdout.splitlines()[-1]) == result
  assert 'catch, 1 actors x 16 environments' in stdout


def test_a_run_that_stood_still_goes_on_as_fast(measured):
  result, _, speeds = measured
  for speed in speeds:
    assert 0.4 < speed / result['agent_steps_per_second'] < 2.5


def test_launching_says_how_sure_its_median_is():
  pairs = [{'local': 100.0, 'ray': 90.0 + number} for number in range(6)]
  result = launching.summarise(pairs)
  assert result['median_ratio'] == pytest.approx(0.925)
  # Six values lie on one side of the median once in 32 samples.
  assert result['interval_95'] == pytest.approx((0.90, 0.95))
  assert launching.summarise(pairs[1:])['interval_95'] is None


@pytest.mark.thorough
def test_monitoring_compares_runs_with_and_without(capsys):
  times = ('--pairs=1', '--warmup_seconds=0.5', '--window_seconds=1')
  assert command.main(['monitoring', *times, *_CATCH]) == 0
  captured = capsys.readouterr()
  result = json.loads(captured.out.splitlines()[-1])
  (on,), (off,) = result['with_monitor'], result['without_monitor']
  assert result['ratios'] == [on / off] == [result['median_ratio']]
  assert 0 <= result['monitor_cores_used'] < 0.5
  assert 'pair 1 of 1, monitor on' in captured.err
  assert 'pair 1 of 1, monitor off' in captured.err


@pytest.mark.thorough
def test_inference_compares_runs_with_a_server_and_without(capsys):
  times = ('--pairs=1', '--warmup_seconds=0.5', '--window_seconds=1')
  assert (
    command.main(['inference', *times, '--cases=catch_2x16', *_CATCH[1:]]) == 0
  )
  captured = capsys.readouterr()
  result = json.loads(captured.out.splitlines()[-1])
  (case,) = result['cases'].values()
  (server,), (local,) = case['server'], case['local']
  assert case['ratios'] == [server / local] == [case['median_ratio']]
  assert case['rows_per_pass'] == 16  # One actor's.
  assert case['server_cores_used'] > 0
  assert 'pair 1 of 1, server' in captured.err
  assert 'pair 1 of 1, local' in captured.err
  small, large = (
    result['batcher'][name]['microseconds_per_request']
    for name in ('many_small', 'many_large')
  )
  assert 0 < small < large
  assert set(result['core_state']) == {'1', '16'}


def test_inference_knows_its_cases(capsys):
  with pytest.raises(SystemExit):
    command.main(['inference', '--cases=chess'])
  assert '--cases must be of catch_2x16, ' in capsys.readouterr().err


def test_the_median_pair_counts(measured):
  result, *_ = measured
  fast, slow = (
    {**result, 'agent_steps_per_second': rate} for rate in (200.0, 100.0)
  )
  made = monitoring.summarise([(fast, fast), (fast, slow), (slow, fast)])
  assert made['ratios'] == [1.0, 2.0, 0.5]
  assert made['median_ratio'] == 1.0
  assert made['level_name'] == 'catch'


def test_memory_names_what_is_over_its_limit(measured, capsys):
  facts, readings, _ = measured
  given = memory.make_parser().parse_args(
    [
      '--minutes=0.04',
      '--settle_minutes=0.01',
      '--max_actor_mb=1',
      '--max_slope_mb_per_minute=1e6',
    ]
  )
  result = {**facts, **memory.judge(readings, given)}
  assert list(result['processes']) == _PROCESSES
  smallest, largest = _SIZES
  for figures in result['processes'].values():
    assert smallest < figures['rss_mb_end'] <= figures['rss_mb_peak'] < largest
    assert 0 < figures['pss_mb_end'] <= figures['rss_mb_end']
  (complaint,) = result['complaints']
  assert complaint.startswith('actor/0 reached ')
  commands.finish(result, memory.tables(result))
  stdout = capsys.readouterr().out
  assert f'OVER THE LIMIT: {complaint}' in stdout
  assert json.loads(stdout.splitlines()[-1]) == result


def test_a_run_that_does_not_start_is_told_with_its_words(capsys):
  before = signal.getsignal(signal.SIGTERM)
  assert command.main(['pipeline', '--num_actors=0', '--limit_seconds=0']) == 1
  assert signal.getsignal(signal.SIGTERM) is before
  captured = capsys.readouterr()
  assert captured.out == ''
  assert 'num_actors must be greater than 0, got 0' in captured.err


def test_slope_is_fitted_to_what_comes_after_settling():
  readings = [
    memory.Reading(minute, rss, rss / 2)
    for minute, rss in ((0, 500), (1, 90), (3, 100), (4, 103), (5, 106))
  ]
  assert memory.summarize(readings, settle_minutes=3) == {
    'rss_mb_settled': 100,
    'rss_mb_end': 106,
    'rss_mb_peak': 500,
    'pss_mb_end': 53,
    'slope_mb_per_minute': pytest.approx(3),
  }


def test_limits():
  steady = {'slope_mb_per_minute': 0.9, 'rss_mb_peak': 1500.0}
  growing = {'slope_mb_per_minute': 1.1, 'rss_mb_peak': 100.0}

  def complaints(**processes):
    return memory.find_complaints(processes, 1.0, 900.0)

  assert complaints(learner=steady) == []
  assert complaints(queue=growing) == [
    'queue grows by 1.10 MB a minute, more than 1'
  ]
  assert complaints(actor=steady) == ['actor reached 1500 MB, more than 900']


def test_means_leave_out_what_is_not_known():
  weights = np.array([1.0, 5.0, 3.0])
  assert pipeline._mean([2.0, math.nan, 6.0], weights) == 5.0
  assert pipeline._mean([math.nan] * 3, weights) is None


@pytest.mark.thorough
def test_learning_trains_each_variant_and_seed(tmp_path, capsys):
  status = command.main(
    [
      'learning',
      'catch',
      '--seeds=2',
      f'--output={tmp_path / "out"}',
      f'--logdir={tmp_path / "runs"}',
      '--total_environment_frames=3000',
      '--evaluation_period_frames=0',
      '--test_num_episodes=5',
      '--num_actors=1',
      '--log_period_seconds=0.1',
    ]
  )
  captured = capsys.readouterr()
  assert status == 0, captured.err
  result = json.loads((tmp_path / 'out/catch.json').read_text())
  (variant,) = result['variants'].values()
  assert [run['seed'] for run in variant['runs']] == [1, 2]
  returns = [run['mean_return'] for run in variant['runs']]
  assert variant['mean_return'] == pytest.approx(np.mean(returns))
  for run in variant['runs']:
    assert run['episodes'] == 5
    assert run['frames'] >= 3000
    assert run['curve']
  assert (tmp_path / 'out/catch.png').read_bytes().startswith(b'\x89PNG')
  summary = json.loads(captured.out.splitlines()[-1])
  assert summary['variants']['V-trace']['mean_return'] == pytest.approx(
    np.mean(returns)
  )
  # Another measurement does not take up what is there.
  again = ['learning', 'catch', f'--logdir={tmp_path / "runs"}']
  assert command.main(again) == 1
  assert 'on_existing=fail' in capsys.readouterr().err


def test_learning_tells_of_a_run_that_failed(capsys):
  wrong = ['learning', 'catch', '--seeds=1', '--batch_size=0']
  assert command.main(wrong) == 1
  assert 'batch_size must be greater than 0, got 0' in capsys.readouterr().err


def test_learning_needs_a_seed(capsys):
  with pytest.raises(SystemExit):
    learning.main(['catch', '--seeds=0'])
  assert '--seeds must be at least 1, got 0' in capsys.readouterr().err


def test_a_run_in_which_no_game_ended_is_drawn(tmp_path):
  run = learning.Run(1, 1.0, 10, 0.5, 5, [])
  result = {
    'question': '?',
    'variants': {'a': {'runs': [run._asdict()]}},
  }
  learning.draw(result, tmp_path / 'a.png')
  assert (tmp_path / 'a.png').stat().st_size > 1000


def test_the_interval_is_students():
  runs = [
    learning.Run(seed, 1.0, 10, value, 5, [(1.0, value)])
    for seed, value in enumerate((0.0, 1.0, 2.0))
  ]
  found = learning.summarise(runs)
  assert found['mean_return'] == 1.0
  # t of 2 degrees of freedom is 4.303; the error is 1 / sqrt(3).
  assert found['interval_95'] == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
  assert learning.summarise(runs[:1])['interval_95'] is None


def test_a_curve_is_thinned_out(tmp_path):
  path = tmp_path / 'learner.csv'
  lines = ['episode_return,frames', 'nan,1'] + [f'{i},{i}' for i in range(1000)]
  path.write_text('\n'.join(lines) + '\n')
  curve = learning.read_curve(path)
  assert 100 < len(curve) <= 200
  assert curve[0] == (0.0, 0.0)


def test_it_is_told_where_the_time_goes(measured):
  result, *_ = measured
  assert {'actor', 'learner'} <= set(result['activities'])
  for shares in result['activities'].values():
    assert sum(shares.values()) == pytest.approx(1, abs=0.02)
  assert result['activities']['actor'].keys() >= {'environment', 'writing'}
  assert result['verdict'].endswith('.')
  (_, _, activities, verdict) = pipeline.tables(result)
  assert [line.partition(':')[0] for line in activities.splitlines()] == list(
    result['activities']
  )
  assert verdict == result['verdict']


def test_a_name_is_one_of_those_that_are_listed(capsys):
  assert command.main([]) == 0
  shown = capsys.readouterr().out
  for name in ('pipeline', 'acme', 'components', 'scaling', 'queue', 'memory'):
    assert f'\n  {name} ' in shown
  assert command.main(['--help']) == 0
  assert capsys.readouterr().out == shown
  assert command.main(['throughput']) == 2
  assert 'NAME must be one of pipeline, ' in capsys.readouterr().err
  assert command.main(['--rounds=2', 'pipeline']) == 2
  assert "got '--rounds=2'" in capsys.readouterr().err


@pytest.mark.parametrize(
  ('arguments', 'rule'),
  [
    (['pipeline', 'memory'], 'distinct ones of pipeline, acme, components'),
    (['pipeline', 'pipeline'], 'got pipeline pipeline'),
  ],
)
def test_rounds_are_of_what_can_be_compared(arguments, rule, capsys):
  assert command.main(arguments) == 2
  assert rule in capsys.readouterr().err


@pytest.mark.parametrize(
  ('arguments', 'rule'),
  [
    (['pipeline', '--window_seconds=0'], '--window_seconds must be greater'),
    (['pipeline', 'acme', '--rounds=0'], '--rounds must be at least 1, got 0'),
    (['queue', '--rows=huge'], '--rows must be of tiny, atari, lab, got huge'),
    (['scaling', '--actors=1,x'], '--actors must be positive integers'),
    (['scaling', '--batch_sizes=0'], "commas between, got '0'"),
  ],
)
def test_wrong_values_are_refused(arguments, rule, capsys):
  with pytest.raises(SystemExit) as ended:
    command.main(arguments)
  assert ended.value.code == 2
  assert rule in capsys.readouterr().err


def test_acme_wants_a_network_without_a_core(capsys):
  assert command.main(['acme', *_CATCH, '--lstm=true']) == 1
  assert 'lstm must be false, got True' in capsys.readouterr().err


@pytest.mark.thorough
def test_rounds_on_catch(tmp_path, monkeypatch, capsys):
  # Each part, Acme's program and ours: real ones, for a moment.
  monkeypatch.setattr(components, '_MAX_COPIES', 1)
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  status = command.main(
    [
      *('pipeline', 'acme', 'components'),
      *('--rounds=1', '--warmup_seconds=0.2', '--window_seconds=1'),
      f'--output={tmp_path / "out"}',
      *_CATCH,
    ]
  )
  captured = capsys.readouterr()
  assert status == 0, captured.err
  result = json.loads(captured.out.splitlines()[-1])
  assert result == json.loads((tmp_path / 'out/comparison.json').read_text())
  png = (tmp_path / 'out/comparison.png').read_bytes()
  assert png.startswith(b'\x89PNG')
  assert os.listdir(tmp_path) == ['out']
  (found,) = result['rounds']
  for name in ('pipeline', 'acme'):
    rate = found[name]['agent_steps_per_second']
    assert rate == pytest.approx(640 * found[name]['learner_steps_per_second'])
  ours, theirs = (
    found[name]['agent_steps_per_second'] for name in ('pipeline', 'acme')
  )
  assert result['ratios']['pipeline / acme']['median'] == ours / theirs
  parts = found['components']['parts']
  cpu = [
    parts[name]['cpu_ms_per_agent_step']
    for name in ('environment', 'forward_pass', 'learner')
  ]
  assert all(ms > 0 for ms in cpu)
  limit = 1000 * result['cores'] / sum(cpu)
  assert found['components']['limit'] == pytest.approx(limit)
  assert result['ratios']['pipeline / limit']['values'] == [ours / limit]
  for name in ('unrolls writer', 'unrolls reader', 'new variables actor'):
    assert parts[name]['cpu_ms_per_agent_step'] > 0
  assert list(found['acme']['roles']) == ['queue', 'learner', 'actor']


def test_rounds_are_compared_round_by_round():
  def found(ours, theirs, ms):
    costs = {'environment': ms, 'forward_pass': ms, 'learner': 2 * ms}
    return {
      'pipeline': {'agent_steps_per_second': ours},
      'acme': {'agent_steps_per_second': theirs},
      'components': {'limit': limits.limit(costs, cores=2)},
    }

  names = ('pipeline', 'acme', 'components')
  # Limits of 2000 / 4 ms, 2000 / 2 ms and 2000 / 8 ms.
  made = comparison.summarise(
    names, [found(400, 100, 1), found(900, 300, 0.5), found(200, 20, 2)]
  )
  rates = made['agent_steps_per_second']
  assert rates['limit']['values'] == [500, 1000, 250]
  assert [rates['acme'][key] for key in ('median', 'least', 'most')] == [
    *(100, 20, 300)
  ]
  assert made['ratios']['pipeline / acme']['values'] == [4, 3, 10]
  assert made['ratios']['pipeline / acme']['median'] == 4
  assert made['ratios']['pipeline / limit']['values'] == [0.8, 0.9, 0.8]


def test_the_share_of_the_limit_is_of_the_mean_cost():
  before, after = (
    dict.fromkeys(limits.PARTS, ms) for ms in (0.1, 0.3)
  )  # 0.2 ms for each of three.
  made = limits.compare(1000.0, [before, after])
  cores = commands.machine()['cores']
  assert made['limit'] == pytest.approx(1000 * cores / 0.6)
  assert made['share_of_limit'] == pytest.approx(0.6 / cores)


def test_the_queue_alone(capsys):
  assert command.main(['queue', '--rows=tiny', '--window_seconds=0.6']) == 0
  captured = capsys.readouterr()
  rows = json.loads(captured.out.splitlines()[-1])['rows']['tiny']
  assert rows['unroll_length'] == 20
  # 21 pictures of 10 x 5 floats and more.
  assert 1000 < rows['unroll_bytes'] < 10_000
  assert rows['mb_per_second'] == pytest.approx(
    rows['unrolls_per_second'] * rows['unroll_bytes'] / 1e6
  )
  assert rows['unrolls_per_second'] > 20
  assert set(rows['cpu_ms_per_unroll']) == {'writer', 'queue', 'reader'}
  assert all(ms > 0 for ms in rows['cpu_ms_per_unroll'].values())


def test_figures_of_the_queue_are_of_an_unroll():
  costs = {
    'writer': [works.Cost(400, 0.02, 0.5), works.Cost(400, 0.04, 1.0)],
    'queue': [works.Cost(400, 0.01, 0.5)],
  }
  made = queues.summarise(costs, unroll_length=20, unroll_bytes=1_000_000)
  # 20 unrolls in 0.5 s and in 1 s; 0.05 and 0.1 ms of CPU an agent step.
  assert made['unrolls_per_second'] == pytest.approx(30)
  assert made['mb_per_second'] == pytest.approx(30)
  assert made['cpu_ms_per_unroll'] == pytest.approx(
    {'writer': 1.5, 'queue': 0.5}
  )


def test_a_part_that_cannot_be_measured_says_why():
  configuration = trial.resolve(['--level_name=catch'])
  with stations.Pool() as pool:
    station = pool.station('forward_pass', configuration, sizes=[])
    with pytest.raises(trial.TrialError, match='forward_pass could not be'):
      _ = station.facts


def test_parts_end_with_who_measures():
  configuration = trial.resolve(['--level_name=catch'])
  with stations.Pool() as pool:
    station = pool.station('environment', configuration)
    assert pool.station('environment', configuration) is station
    assert station.facts == {'agent_steps': 16}
    station.begin(count=3)
    answer = station.end()
    assert answer['count'] == 3
    assert 0 < answer['cpu_seconds'] <= answer['cpu_total']
    pid = station._process.pid
  assert not psutil.pid_exists(pid)


def test_slices_are_shared_and_turned():
  asked = []

  class Work:
    def __init__(self, name):
      self.name = name

    def run(self, seconds):
      asked.append((self.name, seconds))
      return {'': works.Cost(10, 0.01 * len(asked), 1.0)}

  costs = works.slices([Work('a'), Work('b')], seconds=12)
  assert [name for name, _ in asked] == ['a', 'b', 'b', 'a', 'a', 'b']
  assert {seconds for _, seconds in asked} == {2}
  # The first, the fourth and the fifth slice.
  assert works.cpu_ms(costs['a']['']) == pytest.approx(4)


def given_sizes(*arguments):
  return scaling._make_parser().parse_args(arguments)


def test_sizes_are_the_runs_but_for_what_is_varied():
  made = sizes.make_sweeps(
    given_sizes('--environments=1,6,9', '--batch_sizes='), ['--num_actors=2']
  )
  assert list(made) == ['environments', 'actors', 'unroll_lengths']
  assert made['environments'] == {
    1: (1, 1, 32, 20),
    6: (1, 6, 32, 20),
    9: (1, 9, 32, 20),
  }
  assert made['actors'][8] == (8, 8, 32, 20)
  assert made['unroll_lengths'][100] == (2, 48, 32, 100)
  flags = made['unroll_lengths'][100].flags()
  run = trial.resolve(flags)
  assert run.run.num_actors == 2
  assert (run.agent.unroll_length, run.agent.queue_capacity) == (100, 32)


def test_atari_games_are_measured_at_their_fastest_unless_told():
  assert trial.resolve([]).run.num_envs_per_actor == 48
  given = trial.resolve(['--num_envs_per_actor=3'])
  assert given.run.num_envs_per_actor == 3
  # A simulator of its own for each would not fit.
  doom = trial.resolve(['--level_name=doom_basic'])
  assert doom.run.num_envs_per_actor == 8


def test_scaling_measures_a_size_once(tmp_path, monkeypatch, capsys):
  asked = []

  def run(train_flags, warmup_seconds, window_seconds):
    asked.append(train_flags)
    configuration = trial.resolve(train_flags)
    cost = 0.5 if configuration.run.num_envs_per_actor == 64 else 0.25
    figures = {
      'cpu_ms_per_agent_step': cost,
      'rss_mb_largest': 100.0,
    }
    return {
      'agent_steps_per_second': 1.0,
      'roles': dict.fromkeys(('queue', 'learner', 'actor'), figures),
    }

  # What it measures with has a test of its own.
  monkeypatch.setattr(pipeline, 'run', run)
  status = command.main(
    [
      'scaling',
      '--level_name=catch',
      '--environments=1,8,32,64',
      '--actors=',
      '--batch_sizes=32,64',
      '--unroll_lengths=20',
      f'--output={tmp_path}',
    ]
  )
  captured = capsys.readouterr()
  assert len(asked) == 6
  result = json.loads(captured.out.splitlines()[-1])
  # 1.5 ms with 64 environments, 0.75 ms with fewer.
  assert result['flatness'] == {'environments': {'growth': 2, 'spread': 2}}
  assert status == 1
  assert 'grows by a factor of 2.00, more than 1.2' in captured.out
  assert [row['size'] for row in result['sweeps']['batch_sizes']] == [32, 64]
  assert (tmp_path / 'scaling.png').read_bytes().startswith(b'\x89PNG')
  assert json.loads((tmp_path / 'scaling.json').read_text()) == result


def cost_rows(*costs_by_size):
  return [
    {
      'num_actors': actors,
      'num_envs_per_actor': envs,
      'cpu_ms_per_agent_step': cost,
    }
    for actors, envs, cost in costs_by_size
  ]


def test_costs_may_not_grow_where_it_matters():
  sweeps = {
    # In 8 to 64 environments they fall, and rise again, but less.
    'environments': cost_rows(
      (1, 4, 0.1), (1, 8, 1.6), (1, 16, 1.0), (1, 64, 1.15), (1, 128, 9.0)
    ),
    'actors': cost_rows((1, 8, 1.0), (8, 8, 1.2), (16, 8, 9.0)),
    'batch_sizes': cost_rows((1, 8, 1.0), (1, 8, 9.0)),
  }
  found = scaling.judge(sweeps, 1.2)
  assert found['flatness'] == {
    'environments': {
      'growth': pytest.approx(1.15),
      'spread': pytest.approx(1.6),
    },
    'actors': {'growth': pytest.approx(1.2), 'spread': pytest.approx(1.2)},
  }
  assert found['complaints'] == []
  assert len(scaling.judge(sweeps, 1.19)['complaints']) == 1
  assert len(scaling.judge(sweeps, 1.1)['complaints']) == 2
  few = {'actors': sweeps['actors'][:1]}
  assert scaling.judge(few, 1.0) == {'flatness': {}, 'complaints': []}


def test_flags_of_a_run_are_those_of_train():
  configuration = trial.resolve(['--level_name=catch', '--num_actors=3'])
  assert isinstance(configuration, runs.Configuration)
  assert configuration.run.num_actors == 3
  assert configuration.run.evaluation_period_frames == 0
  with pytest.raises(trial.TrialError, match='batch_size must be greater'):
    trial.resolve(['--batch_size=0'])
