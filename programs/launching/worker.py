"""Worker: joins its machine to a cluster, for all jobs of the machine.

`python -m programs.launching.worker HEAD ADDRESS` starts Ray on the machine, if
it is not in the cluster yet, and offers the nodes that jobs have locked (see
`job_folder`) to the launcher of the program, which starts them through Ray. The
worker ends with the last job or with the cluster's head. Jobs that remain start
another.
"""

import contextlib
import os
import sys
import threading
import time
from typing import Any

import ray
from ray import _raylet
from ray._private import state as ray_state

from programs.launching import children, job_folder, ports, ray_node, registry

_POLL_SECONDS = 0.5
# The head has ended when it refuses two connections. When it does not answer, a
# link may be down; after that time all nodes here have ended.
_MAX_REFUSALS = 2
_SILENT_SECONDS = 15.0
_IDLE_SECONDS = 5.0  # Without a job.
_CLOSING_SECONDS = 2.0


def main(head: str, address: str) -> None:
  """Run the worker to its end; the arguments are those of `jobs.run`."""
  folder = job_folder.JobFolder(head, address)
  folder.write_run(job_folder.RunInfo('this machine is joining'))
  threading.Thread(target=_watch_head, args=(head, folder), daemon=True).start()
  with contextlib.ExitStack() as stack:
    stack.callback(folder.remove_if_unused)
    options, ray_process = {}, None
    try:
      if ports.split_address(head)[0] == address:
        while not _is_in_cluster(head, address):
          time.sleep(_POLL_SECONDS)  # Ray is starting; see `_watch_head`.
      if not _is_in_cluster(head, address):
        ray_process, options['_temp_dir'] = stack.enter_context(
          ray_node.running(ray_node.join_arguments(address, head), folder.path)
        )
      ray.init(
        head,
        _node_ip_address=address,
        namespace=registry.NAMESPACE,
        log_to_driver=False,
        **options,
      )
      stack.callback(ray.shutdown)
      _offer_nodes(folder, address, ray_process)
    except (ConnectionError, RuntimeError) as error:
      folder.write_run(job_folder.RunInfo(str(error)))


def _offer_nodes(
  folder: job_folder.JobFolder,
  address: str,
  ray_process: children.Child | None,
) -> None:
  """Offer what jobs have locked until no job is left."""
  machine = ray.get_runtime_context().get_node_id()
  workers: Any = None
  run = job_folder.RunInfo()
  used_at = time.monotonic()
  try:
    while ray_process is None or not ray_process.poll():
      offers = folder.read_offers()
      now = time.monotonic()
      if offers:
        used_at = now
      if now - used_at > _IDLE_SECONDS or (run.outcome and not offers):
        break
      if not run.outcome:
        try:
          workers = workers or ray.get_actor(registry.NAME)
          environments = {
            node: offer['environment']
            for node, offer in offers.items()
            if offer.get('run_id', '') == run.run_id != ''
          }
          answer = workers.heartbeat.remote(machine, address, environments)
          run = ray.get(answer, timeout=_SILENT_SECONDS)
          if run.outcome:
            workers.remove.remote(machine)
        except ValueError:
          run = job_folder.RunInfo('no run has begun there yet')
        except ray.exceptions.GetTimeoutError:
          pass  # The link may be down: see `_watch_head`.
        except ray.exceptions.RayActorError:
          workers = None
          run = job_folder.RunInfo('the run there was aborted')
        folder.write_run(run)
      time.sleep(_POLL_SECONDS)
  finally:
    if workers is not None:
      with contextlib.suppress(ray.exceptions.RayError):
        ray.get(workers.remove.remote(machine), timeout=_CLOSING_SECONDS)


def _watch_head(head: str, folder: job_folder.JobFolder) -> None:
  """End this process, and with it all that it started, with the head."""
  num_refusals, reached_at = 0, time.monotonic()
  while True:
    error = ports.connection_error(head)
    if error is None:
      num_refusals, reached_at = 0, time.monotonic()
    elif isinstance(error, ConnectionRefusedError):
      num_refusals += 1
    silent_seconds = time.monotonic() - reached_at
    if num_refusals >= _MAX_REFUSALS or silent_seconds > _SILENT_SECONDS:
      folder.write_run(job_folder.RunInfo(str(error)))
      os._exit(1)  # Ray would wait for the head.
    time.sleep(_POLL_SECONDS)


def _is_in_cluster(head: str, address: str) -> bool:
  state = ray_state.GlobalState()
  state._initialize_global_state(
    _raylet.GcsClientOptions.create(  # type: ignore[attr-defined]
      head, None, True, False
    )
  )
  try:
    return any(
      node['Alive'] and node['NodeManagerAddress'] == address
      for node in state.node_table()
    )
  finally:
    state.disconnect()


if __name__ == '__main__':
  main(*sys.argv[1:])
