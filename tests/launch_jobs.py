"""One of two launchers of a small program: `lead`, or `follow`."""

import pathlib
import sys

import launch_nodes
import launchpad as lp
from absl import flags

from programs.launching import jobs


def main():
  role, directory, folder, port, what = sys.argv[1:]
  flags.FLAGS(sys.argv[:1])
  address = ('127.0.0.1', int(port))
  directory = pathlib.Path(directory)
  program = lp.Program('test')
  service = program.add_node(lp.CourierNode(launch_nodes.Service), 'service')
  nodes = {
    'ask': lp.PyNode(launch_nodes.ask_and_stop, service, folder),
    'fail': lp.PyNode(launch_nodes.fail, folder, []),
  }
  program.add_node(nodes[what], 'member')
  if role == 'lead':
    outcome = jobs.lead(
      *(program, None, directory, ['member'], address, {'greeting': 'hello'}),
      max_restarts_per_hour=2,
      on_poll=lambda runner, there: None,
      on_ports=lambda ports: print(f'ports {ports}', flush=True),
    )
  else:
    link, told = jobs.join(address, ['member/0'], 30.0, lambda *_: None)
    print(told['greeting'])
    outcome = jobs.follow(program, None, link, directory, 2)
  print(outcome.describe())
  sys.exit(outcome.exit_status)


if __name__ == '__main__':
  main()
