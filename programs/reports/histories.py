"""What a run left behind, whole or not: its metrics, evaluations, records."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from environments import suites
from programs import flags, runs
from programs.inspection import (
  evaluations,
  live,
  recording,
  verdict,
)
from programs.inspection import figures as figures_lib
from programs.inspection import graph as graph_lib
from programs.reports import rows as rows_lib


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """One `results.json`.

  Attributes:
    name: Of its folder.
    frames: Learned by the variables that played.
    levels: A row each.
    summary: Over the levels.
  """

  name: str
  frames: int
  levels: Sequence[rows_lib.Row]
  summary: rows_lib.Row

  @property
  def is_of_training(self) -> bool:
    """Whether it was played as those while training."""
    return self.name.isdigit()

  @property
  def score(self) -> float:
    """What evaluations of a run are compared by, as for its best checkpoint."""
    is_suite = len(self.levels) > 1 and 'cap_100' in self.summary
    return self.summary['cap_100' if is_suite else 'mean_return']


@dataclasses.dataclass(frozen=True)
class History:
  """A run as a report needs it.

  Attributes:
    name: Tells it from the others of the report.
    directory: Where it is.
    fields: Field -> value of its configuration; those that an older version
      did not have are at their default.
    meta: How it was started, and how it ended.
    state: 'running', how it ended, or 'lost' where it did not say.
    learner: Rows of `learner.csv`, in the order they were written.
    levels: Level -> rows of `levels.csv`, frames ascending.
    suite: Rows of the suite's own file, frames ascending; empty without one.
    evaluations: By frames.
    graph: Of its program; None where it left none.
    figures: Of all its time; None where nothing was recorded.
    verdict: What these come to.
  """

  name: str
  directory: runs.RunDirectory
  fields: Mapping[str, Any]
  meta: Mapping[str, Any]
  state: str
  learner: Sequence[rows_lib.Row]
  levels: Mapping[str, Sequence[rows_lib.Row]]
  suite: Sequence[rows_lib.Row]
  evaluations: Sequence[Evaluation]
  graph: graph_lib.ProgramGraph | None
  figures: figures_lib.Figures | None
  verdict: verdict.Verdict | None


def read(directory: runs.RunDirectory, name: str) -> History:
  """Reads what is there, of a run that may be going on.

  Args:
    directory: Of the run.
    name: What the report calls it.

  Raises:
    runs.RunError: It is no run directory, or its configuration is damaged.
  """
  stored, meta = directory.read_config(), directory.read_meta()
  fields = {
    **_defaults(),
    **{name: v for group in stored.values() for name, v in group.items()},
  }
  trained = rows_lib.read(directory.metrics, 'learner')
  graph, figures, is_judged = _read_monitor(directory)
  return History(
    name=name,
    directory=directory,
    fields=fields,
    meta=meta,
    state=_state(directory, meta),
    learner=trained,
    levels=_by_level(
      rows_lib.read(directory.metrics, 'levels'), trained, fields['level_name']
    ),
    suite=rows_lib.ascending(
      rows_lib.read(directory.metrics, fields['level_name'])
    )
    if fields['level_name'] in suites.suites()
    else [],
    evaluations=_read_evaluations(directory.evaluations),
    graph=graph,
    figures=figures,
    verdict=verdict.judge(graph, figures)
    if graph and figures and is_judged
    else None,
  )


def _defaults() -> dict[str, Any]:
  return {
    field.name: field.default
    for each in flags.GROUPS.values()
    for field in dataclasses.fields(each)
  }


def _state(directory: runs.RunDirectory, meta: Mapping[str, Any]) -> str:
  ended = meta.get('ended') or {}
  if 'kind' in ended:
    return ended['kind']
  return 'running' if live.is_in_use(directory.path) else 'lost'


def _by_level(
  rows: Sequence[rows_lib.Row], trained: Sequence[rows_lib.Row], level_name: str
) -> dict[str, list[rows_lib.Row]]:
  """Level -> rows, in the order of the configuration."""
  levels: dict[str, list[rows_lib.Row]] = {
    name: [] for name in suites.split(level_name)
  }
  for row in rows_lib.ascending(rows):
    levels.setdefault(str(row.get('level_name')), []).append(row)
  if not any(levels.values()) and len(levels) == 1:
    # An older run: means of the last 100 games, of which each row has its own.
    levels[level_name] = [
      {**row, 'episodes': 1.0} for row in rows_lib.ascending(trained)
    ]
  return levels


def _read_evaluations(folder: pathlib.Path) -> list[Evaluation]:
  found = []
  for path in folder.glob('[!.]*/results.json'):
    if content := evaluations.read_results(path):
      found.append(
        Evaluation(
          path.parent.name,
          content['trained_frames'],
          content['levels'],
          content['summary'],
        )
      )
  return sorted(found, key=lambda each: (each.frames, each.name))


def _read_monitor(
  directory: runs.RunDirectory,
) -> tuple[graph_lib.ProgramGraph | None, figures_lib.Figures | None, bool]:
  """The graph, figures while it learned, and whether these can be judged."""
  graph = live.read_graph(directory.path)
  ends = recording.Ends(
    recording.Reader(directory.metrics / 'graph.jsonl').read()
  )
  figures = figures_lib.make_figures(ends.records())
  return graph, figures, ends.are_under_way
