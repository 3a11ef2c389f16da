"""Write run directories for tests, with the writers of real runs."""

import csv
import datetime
import time

from records import make_node, make_record, make_table

from programs import program as impala
from programs.evaluation import results
from programs.monitoring import recording, wiring
from programs.runs import flags, run_directory

LEARNER = {
  'time': 1000.0,
  'frames': 640,
  'learner_steps': 1,
  'learner_steps_per_second': 10.0,
  'learner_wait_share': 0.25,
  'episode_return': 0.25,
  'loss': 1.5,
  'entropy': 1.0,
  'queue_size': 12,
  'policy_lag_min': 1,
  'policy_lag_mean': 2.0,
  'policy_lag_max': 7,
  'environment_restarts': 0,
}
LEVEL = {'time': 1.0, 'frames': 640, 'level_name': 'catch', 'episode_return': 1}
RESULTS = {
  'trained_frames': 640,
  'greedy': False,
  'evaluated': '2020-01-01T00:00:00+00:00',
  'summary': {'mean_return': 0.5, 'episodes': 2, 'standard_error': 0.125},
  'levels': [
    {
      'level_name': 'catch',
      'episodes': 2,
      'mean_return': 0.5,
      'mean_return_low': None,
      'mean_return_high': None,
      'returns': [0.0, 1.0],
      'steps': [9, 9],
    }
  ],
}
ENDED = {
  'kind': 'finished',
  'time': '2999-01-01T00:00:00+00:00',
  'description': 'finished',
  'exit_status': 0,
}


def make_graph(**given):
  return wiring.make_graph(
    impala.make_program(flags.resolve({'logdir': 'runs/x', **given}))
  )


def write_run(path, age=1.0, ended=None, **given):
  """Write a run that started `age` seconds ago and has no metrics yet."""
  configuration = flags.resolve({'logdir': str(path), **given})
  directory = run_directory.RunDirectory(path)
  directory.write_config(configuration.to_dict())
  started = datetime.datetime.fromtimestamp(time.time() - age).astimezone()
  directory.update_meta(
    command_line=[
      'python',
      '-m',
      'programs.commands.train',
      '--level_name=a b',
    ],
    started=started.isoformat(),
    ended=ended,
    processes={'actor/0': 4711},
    versions={'numpy': '1.2.3'},
  )
  graph = wiring.make_graph(impala.make_program(configuration))
  run_directory.write_text(path / 'graph.json', graph.to_json())
  return directory


def make_records(begin, waiting=0.8, blocked=0.2, num_actors=3, **more):
  """Yield the first and last record of ten seconds of a monitor."""
  for seconds in (0.0, 10.0):
    learner = make_node(
      'waiting_for_data',
      seconds={
        'waiting_for_data': waiting * seconds,
        'learner_step': (1 - waiting) * seconds,
      },
      calls={'waiting_for_data': 9, 'learner_step': int(seconds * 4)},
      gauges={'policy_lag_mean': 2.5},
    )
    actors = {
      f'actor/{index}': make_node(
        'environment',
        seconds={
          'environment': (1 - blocked) * seconds,
          'waiting_for_queue': blocked * seconds,
        },
        calls={
          'environment': int(seconds * 50),
          'fetching_variables': int(2 * seconds),
        },
        counts={
          'agent_steps': 100 * (index + 1) * seconds,
          'environment_restarts': 3,
        },
      )
      for index in range(num_actors)
    }
    yield make_record(
      begin + seconds,
      {'learner/0': learner, **actors},
      {
        'queue': make_table(
          size=8, inserts=int(40 * seconds), samples=int(30 * seconds)
        )
      },
      {'actor/0': {'cpu_seconds': 0.5 * seconds, 'rss_bytes': 100_000_000}},
      start=begin,
      **more,
    )


def record(path, records):
  recorder = recording.Recorder(path / 'metrics/graph.jsonl')
  for each in records:
    recorder.write(each)


def write_csv(path, *records):
  """Append records as the loggers do, the header first."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path, 'a', encoding='utf-8') as file:
    writer = csv.DictWriter(file, sorted(records[0]))
    if not file.tell():
      writer.writeheader()
    writer.writerows(records)


def write_results_run(
  path, returns=(), evaluations=(), ended='finished', **given
):
  """Write a run with results.

  Args:
    path: Its directory.
    returns: (frames, level, return) of records of `levels.csv`.
    evaluations: (folder, frames, level -> returns).
    ended: Kind of its end; None if it has not ended.
    **given: Flags.
  """
  end = {**ENDED, 'kind': ended} if ended else None
  directory = write_run(path, ended=end, **given)
  for frames, level, mean in returns:
    write_csv(
      directory.metrics / 'levels.csv',
      {**LEVEL, 'frames': frames, 'level_name': level, 'episode_return': mean},
    )
  for folder, frames, found in evaluations:
    results.write_results(
      directory.evaluations / folder,
      [
        results.LevelResult(level, each, [9] * len(each), 9 * len(each))
        for level, each in found.items()
      ],
      trained_frames=frames,
      seed=1,
      greedy=False,
    )
  return directory
