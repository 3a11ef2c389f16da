"""Launches two nodes on Ray, with `ask` a third that stops the program."""

import pathlib
import sys

import launch_nodes
import launchpad as lp
from absl import flags

from programs.launching import cluster


def main():
  directory, folder, address, *arguments = sys.argv[1:]
  flags.FLAGS(sys.argv[:1])
  program = lp.Program('test')
  service = program.add_node(lp.CourierNode(launch_nodes.Service), 'service')
  program.add_node(
    lp.PyNode(launch_nodes.keep_child, folder, 'listener'), 'listener'
  )
  if 'ask' in arguments:
    program.add_node(
      lp.PyNode(launch_nodes.ask_and_stop, service, folder), 'asker'
    )
  outcome = cluster.launch(
    program,
    {},
    pathlib.Path(directory),
    cluster.Options(
      address=address,
      requirements={},
      colocated=[['service']],
      max_restarts_per_hour=2,
    ),
    lambda *_: None,
  )
  print(outcome.describe())
  sys.exit(outcome.exit_status)


if __name__ == '__main__':
  main()
