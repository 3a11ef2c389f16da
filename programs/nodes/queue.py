"""The queue node of a training run."""

import functools

import courier
import launchpad as lp
import reverb

from agents.impala import unrolls as unrolls_lib
from programs import nodes
from programs.monitoring import monitor
from programs.nodes import models
from programs.runs import run_config


class QueueServer:
  """Serves the tables and reports their sizes to the monitor."""

  def __init__(
    self,
    configuration: run_config.Configuration,
    monitoring: courier.Client | None = None,
  ) -> None:
    _, signature = models.make_model(configuration)
    self._tables = unrolls_lib.make_tables(configuration.agent, signature)
    self._monitoring = monitoring

  def serve(self, port: int) -> None:
    """Serve all network interfaces until the program stops."""
    # A reference, so that the server outlives writers while all stop.
    self._server = reverb.Server(self._tables, port)
    read = functools.partial(
      monitor.read_tables, reverb.Client(f'localhost:{port}')
    )
    with monitor.reporting(self._monitoring, f'{nodes.QUEUE}/0', read):
      lp.wait_for_stop()
