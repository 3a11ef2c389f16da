"""The benchmarks, on real runs of Catch, and what they compute."""

import json
import math
import os
import signal
import tempfile

import numpy as np
import psutil
import pytest

from benchmarks import (
  inference,
  learning,
  memory,
  monitoring,
  throughput,
  trial,
)

_PROCESSES = [
  'launcher',
  'queue/0',
  'monitor/0',
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
      result = throughput.measure(run, warmup_seconds=0.5, window_seconds=2)
      readings = memory.watch(run, minutes=0.04, period_seconds=0.5)
      pids = [process.pid for process in run.processes().values()]
  assert not any(psutil.pid_exists(pid) for pid in pids)
  assert os.listdir(folder) == []
  return result, readings


def test_throughput_is_that_of_the_metrics(measured):
  result, _ = measured
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


def test_throughput_tells_where_cpu_time_goes(measured):
  result, _ = measured
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
  result, _ = measured
  throughput.show(result)
  stdout = capsys.readouterr().out
  assert json.loads(stdout.splitlines()[-1]) == result
  assert 'catch, 1 actors x 16 environments' in stdout


def test_monitoring_compares_runs_with_and_without(capsys):
  times = ('--pairs=1', '--warmup_seconds=0.5', '--window_seconds=1')
  assert monitoring.main([*times, *_CATCH]) == 0
  captured = capsys.readouterr()
  result = json.loads(captured.out.splitlines()[-1])
  (on,), (off,) = result['with_monitor'], result['without_monitor']
  assert result['ratios'] == [on / off] == [result['median_ratio']]
  assert 0 <= result['monitor_cores_used'] < 0.5
  assert 'pair 1 of 1, monitor on' in captured.err
  assert 'pair 1 of 1, monitor off' in captured.err


def test_inference_compares_runs_with_a_server_and_without(capsys):
  times = ('--pairs=1', '--warmup_seconds=0.5', '--window_seconds=1')
  assert inference.main([*times, '--cases=catch_2x16', *_CATCH[1:]]) == 0
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
    inference.main(['--cases=chess'])
  assert '--cases must be of catch_2x16, ' in capsys.readouterr().err


def test_the_median_pair_counts(measured):
  result, _ = measured
  fast, slow = (
    {**result, 'agent_steps_per_second': rate} for rate in (200.0, 100.0)
  )
  made = monitoring.summarise([(fast, fast), (fast, slow), (slow, fast)])
  assert made['ratios'] == [1.0, 2.0, 0.5]
  assert made['median_ratio'] == 1.0
  assert made['level_name'] == 'catch'


def test_memory_names_what_is_over_its_limit(measured, capsys):
  facts, readings = measured
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
  memory.show(result)
  stdout = capsys.readouterr().out
  assert f'OVER THE LIMIT: {complaint}' in stdout
  assert json.loads(stdout.splitlines()[-1]) == result


def test_a_run_that_does_not_start_is_told_with_its_words(capsys):
  before = signal.getsignal(signal.SIGTERM)
  assert throughput.main(['--num_actors=0']) == 1
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
  assert throughput._mean([2.0, math.nan, 6.0], weights) == 5.0
  assert throughput._mean([math.nan] * 3, weights) is None


def test_learning_trains_each_variant_and_seed(tmp_path, capsys):
  status = learning.main(
    [
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
  assert learning.main(['catch', f'--logdir={tmp_path / "runs"}']) == 1
  assert 'on_existing=fail' in capsys.readouterr().err


def test_learning_tells_of_a_run_that_failed(capsys):
  assert learning.main(['catch', '--seeds=1', '--batch_size=0']) == 1
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
