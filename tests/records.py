"""Make records of a monitor for tests."""

KINDS = {
  'starting': 'busy',
  'environment': 'busy',
  'forward_pass': 'busy',
  'fetching_variables': 'waiting',
  'waiting_for_inference': 'waiting',
  'waiting_for_queue': 'blocked',
  'waiting_for_data': 'waiting',
  'learner_step': 'busy',
  'nothing_to_do': 'idle',
}


def make_node(activity='environment', lasting=0.0, age=0.5, **more):
  """Make the push of a node."""
  node = {
    'activity': activity,
    'activity_seconds': lasting,
    'seconds': {activity: lasting},
    'calls': {},
    'counts': {},
    'age_seconds': age,
    'host': 'here',
    **more,
  }
  return {**node, 'kinds': {name: KINDS[name] for name in node['seconds']}}


def make_table(size=0, capacity=32, inserts=0, samples=0, **more):
  return {
    'size': size,
    'capacity': capacity,
    'insert_headroom': capacity - size,
    'inserts': inserts,
    'samples': samples,
    'waiting_for_samples_seconds': 0.0,
    'waiting_for_inserts_seconds': 0.0,
    **more,
  }


def make_record(time, nodes=None, tables=None, processes=None, **more):
  """Make a record; without `tables` the server did not answer."""
  return {
    'time': time,
    'start': 1000.0,
    'nodes': nodes or {},
    'tables': tables,
    'processes': processes or {},
    'machine': {
      'cores': 4,
      'busy_seconds': 0.0,
      'total_seconds': 0.0,
      'memory_used_bytes': 1,
      'memory_bytes': 2,
    },
    'warnings': [],
    **more,
  }
