"""What boxes, edges and nodes of the drawing show, as plain data."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from programs.inspection import figures as figures_lib
from programs.inspection import graph as graph_lib
from programs.inspection import live


def roles(
  graph: graph_lib.ProgramGraph, figures: figures_lib.Figures
) -> dict[str, Any]:
  """Role -> what its box shows."""
  shown = {}
  for role, of_role in graph.roles.items():
    found = [figures.nodes[n.name] for n in of_role if n.name in figures.nodes]
    spreads = figures.spreads(node.name for node in of_role)
    cores = [node.cores for node in found if node.cores is not None]
    memory = [n.rss_bytes for n in found if n.rss_bytes is not None]
    shown[role] = {
      'states': _mean([node.states for node in found]),
      'spreads': {
        name: dataclasses.asdict(spread)
        for name, spread in spreads.get('states', {}).items()
      },
      'activities': _mean([node.activities for node in found]),
      'cores': sum(cores) if cores else None,
      'rss_bytes': sum(memory) if memory else None,
      'silent': sum(node.is_silent for node in found),
      'tables': {
        name: dataclasses.asdict(table)
        for name, table in figures.tables.items()
        if graph.has_tables(role)
      },
    }
  return shown


def _mean(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
  """Name -> mean share, over those that told any."""
  told = [each for each in shares if each]
  sums: dict[str, float] = collections.defaultdict(float)
  for each in told:
    for name, share in each.items():
      sums[name] += share / len(told)
  return sums


def edges(
  graph: graph_lib.ProgramGraph, figures: figures_lib.Figures
) -> dict[str, float]:
  """'<source> <kind> <target>' -> how much flows, where that is known."""
  rates = {
    f'{edge.source} {edge.kind} {edge.target}': figures.edge_rate(graph, edge)
    for edge in graph.role_edges
  }
  return {name: rate for name, rate in rates.items() if rate is not None}


def nodes(snapshot: live.Snapshot, role: str) -> dict[str, Any]:
  """The nodes of a role, with their processes; none of an unknown role."""
  processes = snapshot.meta.get('processes') or {}
  shown = {}
  for node in snapshot.graph.roles.get(role, ()):
    figures = figures_lib.NodeFigures()
    if snapshot.figures:
      figures = snapshot.figures.nodes.get(node.name, figures)
    shown[node.name] = {
      **dataclasses.asdict(figures),
      'state': figures.state,
      'process': processes.get(node.name),
    }
  return shown
