"""Launches a node, with `block` a second one that ignores signals."""

import pathlib
import signal
import sys

import launch_nodes
import launchpad as lp

from programs.launching import local


def main():
  directory, folder = map(pathlib.Path, sys.argv[1:3])
  program = lp.Program('test')
  program.add_node(
    lp.PyNode(launch_nodes.keep_child, str(folder), 'listener'), 'listener'
  )
  if 'block' in sys.argv:
    program.add_node(
      lp.PyNode(launch_nodes.block, str(folder), 'blocked'), 'blocked'
    )
  outcome = local.launch(program, None, directory)
  print(outcome.describe())
  is_restored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
  print('SIGINT ignored as before' if is_restored else 'SIGINT not ignored')
  sys.exit(outcome.exit_status)


if __name__ == '__main__':
  # As in a background job of a shell.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  main()
