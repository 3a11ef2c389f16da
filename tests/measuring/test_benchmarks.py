"""The benchmarks, on real runs of Catch."""

import contextlib
import io
import json
import os
import tempfile

import numpy as np
import psutil
import pytest

from benchmarks import __main__ as command
from benchmarks import isolated, measurement, trial

_CATCH = ('--level_name=catch', '--num_actors=1', '--log_period_seconds=0.5')
_TIMES = ('--rounds=1', '--warmup_seconds=0.5', '--window_seconds=2')
_PROCESSES = [
  *('launcher', 'monitor/0', 'queue/0', 'learner/0', 'actor/0', 'evaluator/0')
]


def run(*arguments):
  """Run a benchmark; return status, text and JSON object."""
  with contextlib.redirect_stdout(io.StringIO()) as stdout:
    status = command.main(arguments)
  text, _, last = stdout.getvalue().strip().rpartition('\n')
  return status, text, json.loads(last)


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
  """Text and result of `pipeline`, which leaves no files or processes."""
  folder = tmp_path_factory.mktemp('benchmarks')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tempfile, 'tempdir', str(folder))
    status, text, result = run('pipeline', *_TIMES, *_CATCH)
  assert status == 0
  assert os.listdir(folder) == []
  assert not any(
    str(folder) in argument
    for process in psutil.process_iter(['cmdline'])
    for argument in process.info['cmdline'] or ()
  )
  return text, result


def test_the_rate_is_that_of_the_metrics(measured):
  text, result = measured
  (found,) = result['rounds']
  figures = found['pipeline']
  assert figures['window_seconds'] >= 2
  rate = figures['agent_steps_per_second']
  assert rate == figures['frames_per_second'] > 100  # No action is repeated.
  # A learner step of the preset takes 32 unrolls of 20 rows.
  assert rate == pytest.approx(640 * figures['learner_steps_per_second'])
  assert 0 <= figures['learner_wait_share'] <= 1
  lags = [figures[f'policy_lag_{name}'] for name in ('min', 'mean', 'max')]
  assert lags == sorted(lags)
  assert result['agent_steps_per_second']['pipeline']['median'] == rate
  assert 'catch, 1 actors x 16 environments' in text


def test_time_is_broken_down_by_role(measured):
  text, result = measured
  figures = result['rounds'][0]['pipeline']
  roles = figures['roles']
  assert list(roles) == [measurement.role_of(name) for name in _PROCESSES]
  for each in roles.values():
    assert each['processes'] == 1
    assert 50 < each['rss_mb_largest'] < 5000
  assert roles['actor']['cores_used'] > 0.1 > roles['evaluator']['cores_used']
  for shares in figures['activities'].values():
    assert sum(shares.values()) == pytest.approx(1, abs=0.02)
  assert figures['activities']['actor'].keys() >= {'environment', 'writing'}
  assert figures['verdict'].endswith('.')
  assert 'actor: ' in text and figures['verdict'] in text


@pytest.mark.thorough
def test_a_flag_is_varied():
  flags = ('--vary=monitor=true,false', *_TIMES, *_CATCH)
  status, _, result = run('pipeline', *flags)
  assert status == 0
  (found,) = result['rounds']
  with_, without = found['monitor=true'], found['monitor=false']
  assert 'monitor' in with_['roles'] and 'monitor' not in without['roles']
  assert result['ratios']['monitor=true / monitor=false']['values'] == [
    with_['agent_steps_per_second'] / without['agent_steps_per_second']
  ]


@pytest.mark.thorough
def test_rounds_on_catch(tmp_path):
  names = ('pipeline', 'acme', 'components')
  status, text, result = run(*names, *_TIMES, *_CATCH, f'--output={tmp_path}')
  assert status == 0
  assert result == json.loads((tmp_path / 'comparison.json').read_text())
  (found,) = result['rounds']
  ours, theirs, limit = (
    found['pipeline']['agent_steps_per_second'],
    found['acme']['agent_steps_per_second'],
    found['limit']['limit'],
  )
  assert list(found['acme']['roles']) == [
    *('launcher', 'queue', 'learner', 'actor')
  ]
  assert theirs == pytest.approx(
    640 * found['acme']['learner_steps_per_second']
  )
  assert result['ratios']['pipeline / acme']['median'] == ours / theirs
  assert result['ratios']['pipeline / limit']['median'] == ours / limit
  parts = found['limit']['parts']
  cpu = {name: each['cpu_ms_per_agent_step'] for name, each in parts.items()}
  kinds = ('environment', 'forward_pass', 'learner')
  alone = sum(cpu[kind] for kind in kinds)
  assert limit == pytest.approx(1000 * result['cores'] / alone)
  assert set(cpu) == {
    *('unrolls', 'variables', *kinds, *(f'{kind} together' for kind in kinds))
  }
  assert all(ms > 0 for ms in cpu.values())
  assert f'limit: {limit:,.0f} agent steps/s' in text


def test_a_run_that_does_not_start_is_shown_with_its_output(capsys):
  assert command.main(['memory', '--num_actors=0']) == 1
  captured = capsys.readouterr()
  assert captured.out == ''
  assert 'num_actors must be greater than 0, got 0' in captured.err
  with (
    pytest.raises(trial.TrialError, match=r'exit status 1.*\n(.*\n)*.*no_such'),
    trial.start(_CATCH, 'benchmarks.no_such') as started,
  ):
    started.records_until(0)


@pytest.mark.thorough
def test_memory_names_what_is_over_its_limit():
  times = ('--minutes=0.05', '--settle_minutes=0.01', '--period_seconds=0.5')
  limits = ('--max_actor_mb=1', '--max_slope_mb_per_minute=1e6')
  status, text, result = run('memory', *times, *limits, *_CATCH)
  assert status == 1
  assert list(result['processes']) == _PROCESSES
  for figures in result['processes'].values():
    assert 50 < figures['rss_mb_end'] <= figures['rss_mb_peak'] < 5000
    assert 0 < figures['pss_mb_end'] <= figures['rss_mb_end']
  (complaint,) = result['complaints']
  assert complaint.startswith('actor/0 reached ')
  assert f'OVER THE LIMIT: {complaint}' in text


@pytest.mark.thorough
def test_learning_trains_each_variant_and_seed(tmp_path, capsys):
  logdir = f'--logdir={tmp_path / "runs"}'
  status, _, result = run(
    *('learning', 'catch', '--seeds=2', f'--output={tmp_path / "out"}', logdir),
    *('--total_environment_frames=3000', '--evaluation_period_frames=0'),
    *('--test_num_episodes=5', '--num_actors=1', '--log_period_seconds=0.1'),
  )
  assert status == 0
  assert result == json.loads((tmp_path / 'out/catch.json').read_text())
  assert (tmp_path / 'out/catch.png').read_bytes().startswith(b'\x89PNG')
  both, *each = result['scores']
  returns = [score['mean_return'] for score in each]
  assert len(returns) == len(result['minutes']) == 2
  assert both['mean_return'] == pytest.approx(np.mean(returns))
  for score in each:
    assert score['episodes'] == 5
    assert score['frames'] >= 3000
  # Another start does not resume these runs.
  assert command.main(['learning', 'catch', logdir]) == 1
  assert 'on_existing=fail' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('arguments', 'rule'),
  [
    (['throughput'], 'NAME must be one of pipeline, '),
    (['--rounds=2', 'pipeline'], "got '--rounds=2'"),
    (['pipeline', 'memory'], 'distinct ones of pipeline, acme, comp'),
    (['pipeline', 'pipeline'], 'got pipeline pipeline'),
    (['pipeline', '--window_seconds=0'], '--window_seconds must be greater'),
    (['pipeline', 'acme', '--rounds=0'], '--rounds must be greater than 0'),
    (['pipeline', '--vary=monitor'], 'distinct values, such as monitor=true,f'),
    (['queue', '--rows=huge'], '--rows must be of tiny, atari, doom, got huge'),
    (['scaling', '--actors=1,x'], '--actors must be'),
    (['scaling', '--batch_sizes=0'], '--batch_sizes must be'),
    (['learning', 'catch', '--seeds=0'], '--seeds must be at least 1, got 0'),
    (['acme', *_CATCH, '--lstm=true'], 'lstm must be false for acme, got True'),
    (
      ['learning', 'catch', '--seeds=1', '--batch_size=0'],
      'batch_size must be',
    ),
  ],
)
def test_wrong_arguments_are_refused(arguments, rule, capsys):
  with contextlib.suppress(SystemExit):
    assert command.main(arguments) in (1, 2)
  captured = capsys.readouterr()
  assert captured.out == ''
  assert rule in captured.err


def test_the_queue_alone():
  status, _, result = run('queue', '--rows=tiny', '--window_seconds=0.6')
  assert status == 0
  rows = result['rows']['tiny']
  assert rows['unroll_length'] == 20
  # 21 images of 10 x 5 floats and more.
  assert 1000 < rows['unroll_bytes'] < 10_000
  assert rows['mb_per_second'] == pytest.approx(
    rows['unrolls_per_second'] * rows['unroll_bytes'] / 1e6
  )
  assert rows['unrolls_per_second'] > 20
  assert rows['cpu_ms_per_unroll'] > 0


def test_a_component_is_measured_or_says_why_not(tmp_path, monkeypatch):
  configuration = trial.resolve(['--level_name=catch'])
  with isolated.Component('environment', configuration) as environment:
    assert environment.facts() == {'agent_steps': 16}
    cost = isolated.Component.work([environment], 0.1)
    assert cost.agent_steps % 16 == 0
    assert cost.wall_seconds >= 0.1
    assert cost.cpu_seconds > 0
  monkeypatch.setenv('IMPALA_SCENARIOS_DIR', str(tmp_path))
  broken = trial.resolve(['--level_name=doom_battle'])
  with (
    isolated.Component('environment', broken) as environment,
    pytest.raises(trial.TrialError, match='environment could not be measured'),
  ):
    environment.facts()
  assert not [
    child
    for child in psutil.Process().children()
    if 'spawn_main' in ' '.join(child.cmdline())
  ]


@pytest.mark.thorough
def test_scaling_measures_each_size(tmp_path):
  sizes = ('--environments=', '--actors=', '--batch_sizes=8,32')
  flags = (*sizes, '--unroll_lengths=', f'--output={tmp_path}')
  status, _, result = run('scaling', *flags, *_TIMES, *_CATCH)
  assert status == 0
  assert result == json.loads((tmp_path / 'scaling.json').read_text())
  assert list(result['sweeps']) == ['batch_sizes']
  assert list(result['sweeps']['batch_sizes']) == ['8', '32']
  for row in result['sweeps']['batch_sizes'].values():
    roles = [row[f'{role}_cpu_ms'] for role in ('actor', 'learner', 'queue')]
    assert 0 < sum(roles) < row['cpu_ms_per_agent_step']
