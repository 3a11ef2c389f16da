"""What runs once on a machine, for all jobs there that run nodes of a program.

`python -m programs.launching.worker CLUSTER MACHINE` makes the machine one
of the cluster, if it is none yet, and offers the nodes that jobs have locked
(see `slots`) to the program's coordinator, which starts them here as it starts
others elsewhere. It ends with the last job, or with the cluster's head; jobs
that are still there start another.
"""

import contextlib
import os
import sys
import threading
import time

import ray
from ray import _raylet
from ray._private import state as ray_state

from programs.launching import children, ports, ray_node, roster, slots

_POLL_SECONDS = 0.5
# The head is gone when it refuses twice; when it only does not answer, a link
# may be down, and after that time all that ran here has ended.
_REFUSED_TIMES = 2
_SILENT_SECONDS = 15.0
_IDLE_SECONDS = 5.0  # Without a job.
_LEAVING_SECONDS = 2.0


def main(cluster: str, machine: str) -> None:
  """Runs the worker to its end; arguments as of `jobs.run`."""
  folder = slots.Folder(cluster, machine)
  folder.write(slots.State('this machine is joining'))
  threading.Thread(target=_watch, args=(cluster, folder), daemon=True).start()
  is_head = cluster.rpartition(':')[0] == machine
  with contextlib.ExitStack() as held:
    held.callback(folder.close)
    given, node = {}, None
    try:
      while is_head and not _has_node(cluster, machine):
        time.sleep(_POLL_SECONDS)  # It is starting; see `_watch`.
      if not _has_node(cluster, machine):
        arguments = ray_node.worker(machine, cluster)
        node, given['_temp_dir'] = held.enter_context(
          ray_node.running(arguments, folder.path)
        )
      ray.init(
        cluster,
        _node_ip_address=machine,
        namespace=roster.NAMESPACE,
        log_to_driver=False,
        **given,
      )
      held.callback(ray.shutdown)
      _offer(folder, machine, node)
    except (ConnectionError, RuntimeError) as error:
      folder.write(slots.State(str(error)))


def _offer(
  folder: slots.Folder, machine: str, node: children.Child | None
) -> None:
  """Offers what jobs have locked until there is none, or the run is over."""
  own_id = ray.get_runtime_context().get_node_id()
  coordinator = None
  state = slots.State()
  needed_at = time.monotonic()
  try:
    while node is None or not node.poll():
      found = folder.find()
      now = time.monotonic()
      if found:
        needed_at = now
      if now - needed_at > _IDLE_SECONDS or (state.over and not found):
        break
      if not state.over:
        try:
          coordinator = coordinator or ray.get_actor(roster.NAME)
          offered = {
            name: said['environment']
            for name, said in found.items()
            if said.get('run', '') == state.run != ''
          }
          answer = coordinator.offer.remote(own_id, machine, offered)
          state = ray.get(answer, timeout=_SILENT_SECONDS)
          if state.over:
            coordinator.leave.remote(own_id)
        except ValueError:
          state = slots.State('no run has begun there yet')
        except ray.exceptions.GetTimeoutError:
          pass  # Of a link that is down `_watch` knows more.
        except ray.exceptions.RayActorError:
          coordinator = None
          state = slots.State('the run there has broken off')
        folder.write(state)
      time.sleep(_POLL_SECONDS)
  finally:
    if coordinator is not None:
      with contextlib.suppress(ray.exceptions.RayError):
        ray.get(coordinator.leave.remote(own_id), timeout=_LEAVING_SECONDS)


def _watch(cluster: str, folder: slots.Folder) -> None:
  """Ends this process, and all that it has started, with the head."""
  refused, reached_at = 0, time.monotonic()
  while True:
    trouble = ports.connection_error(cluster)
    if trouble is None:
      refused, reached_at = 0, time.monotonic()
    elif isinstance(trouble, ConnectionRefusedError):
      refused += 1
    silent = time.monotonic() - reached_at
    if refused >= _REFUSED_TIMES or silent > _SILENT_SECONDS:
      folder.write(slots.State(str(trouble)))
      os._exit(1)  # Ray would wait for the head.
    time.sleep(_POLL_SECONDS)


def _has_node(cluster: str, machine: str) -> bool:
  known = ray_state.GlobalState()
  known._initialize_global_state(
    _raylet.GcsClientOptions.create(  # type: ignore[attr-defined]
      cluster, None, True, False
    )
  )
  try:
    return any(
      found['Alive'] and found['NodeManagerAddress'] == machine
      for found in known.node_table()
    )
  finally:
    known.disconnect()


if __name__ == '__main__':
  main(*sys.argv[1:])
