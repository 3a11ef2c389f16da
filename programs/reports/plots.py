"""Learning curves and the figures of learning, drawn as PNG."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from programs.reports import curves as curves_lib
from programs.reports import histories as histories_lib
from programs.reports import rows as rows_lib

_NUM_COLUMNS = 3
_DPI = 110
_MOST_POINTS = 600


def draw_returns(
  curves: Mapping[str, Sequence[curves_lib.Curve]],
) -> matplotlib.figure.Figure:
  """Returns over frames, an axes for each level and a color for each group.

  Args:
    curves: By level, at least one.
  """
  groups = dict.fromkeys(c.group for each in curves.values() for c in each)
  colors = {group: f'C{index % 10}' for index, group in enumerate(groups)}
  columns = min(_NUM_COLUMNS, len(curves))
  rows = math.ceil(len(curves) / columns)
  size = (7.6, 4.2) if len(curves) == 1 else (4 * columns, 2.9 * rows + 0.5)
  figure = matplotlib.figure.Figure(figsize=size, layout='constrained')
  handles: dict[str, Any] = {}
  for index, (level, each) in enumerate(curves.items()):
    axes = figure.add_subplot(rows, columns, index + 1)
    for curve in each:
      _draw_curve(axes, curve, colors[curve.group])
    limits = axes.get_ylim()  # Intervals of two runs are wide: cut them off.
    for curve in each:
      if curve.low is not None and curve.high is not None:
        axes.fill_between(
          curve.grid,
          curve.low,
          curve.high,
          color=colors[curve.group],
          alpha=0.15,
          linewidth=0,
        )
    axes.set_ylim(limits)
    _finish(axes, level, 'frames', 'return' if index % columns == 0 else '')
    if len(curves) > 1:
      axes.locator_params(nbins=4)
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  if handles:
    figure.legend(
      handles.values(),
      handles,
      loc='outside upper left',
      ncols=min(len(handles), 3),
      frameon=False,
      fontsize='small',
    )
  return figure


def _draw_curve(
  axes: matplotlib.axes.Axes, curve: curves_lib.Curve, color: str
) -> None:
  lines = [line for line in curve.lines if line.frames.size]
  for line in lines:
    frames, returns = _thinned(line.frames, line.returns)
    axes.plot(frames, returns, color=color, alpha=0.3, linewidth=0.8)
  many = f', {len(lines)} runs' if len(lines) > 1 else ''
  if lines:
    axes.plot(curve.grid, curve.mean, color=color, label=curve.group + many)
  points = [point for line in curve.lines for point in line.evaluations]
  if points:
    ends = [
      (
        p.mean_return - (p.mean_return if p.low is None else p.low),
        (p.mean_return if p.high is None else p.high) - p.mean_return,
      )
      for p in points
    ]
    axes.errorbar(
      [point.frames for point in points],
      [point.mean_return for point in points],
      np.maximum(np.array(ends).T, 0),
      fmt='o',
      color=color,
      markerfacecolor='white',
      markersize=4,
      linewidth=1,
      label='evaluations',
    )


def draw_training(
  groups: Mapping[str, Sequence[histories_lib.History]],
) -> matplotlib.figure.Figure:
  """Speed, policy lag, loss and entropy, a line for each run."""
  figure = matplotlib.figure.Figure(figsize=(7.6, 5), layout='constrained')
  panels: list[tuple[str, str, Callable[[histories_lib.History], np.ndarray]]]
  panels = [
    ('frames a second', 'minutes', lambda run: curves_lib.speeds(run.learner)),
    ('policy lag, learner steps', 'frames', _column('policy_lag_mean')),
    ('loss', 'frames', _column('loss')),
    ('entropy of the policy, nats', 'frames', _column('entropy')),
  ]
  for number, (title, x_name, points) in enumerate(panels, start=1):
    axes = figure.add_subplot(2, 2, number)
    for index, (group, runs) in enumerate(groups.items()):
      for count, run in enumerate(runs):
        axes.plot(
          *_thinned(*points(run)),
          color=f'C{index % 10}',
          linewidth=1,
          label=group if number == 1 and count == 0 else None,
        )
    _finish(axes, title, x_name, '')
    if number == 1:
      axes.set_ylim(bottom=0)
  if len(groups) > 1:
    figure.legend(
      loc='outside upper left', ncols=3, frameon=False, fontsize='small'
    )
  return figure


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Points that are as many as can be seen: more take seconds to draw."""
  every = math.ceil(len(x) / _MOST_POINTS) or 1
  return x[::every], y[::every]


def _column(name: str) -> Callable[[histories_lib.History], np.ndarray]:
  """`[2, N]` of a run: frames and a column of `learner.csv`."""

  def read(run: histories_lib.History) -> np.ndarray:
    points = [
      (row['frames'], row[name])
      for row in rows_lib.ascending(run.learner)
      if isinstance(row.get(name), float) and math.isfinite(row[name])
    ]
    return np.array(points, np.float64).reshape(-1, 2).T

  return read


def _finish(
  axes: matplotlib.axes.Axes, title: str, x_name: str, y_name: str
) -> None:
  axes.set_title(title, fontsize='medium', loc='left')
  axes.set_xlabel(x_name, fontsize='small')
  axes.set_ylabel(y_name, fontsize='small')
  axes.tick_params(labelsize='small')
  if not any(len(line.get_xdata()) for line in axes.lines):
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, 'nothing yet', ha='center', transform=axes.transAxes)
  if x_name == 'frames':
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
  if axes.get_ylim()[1] >= 10_000:
    axes.yaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
  axes.grid(alpha=0.25)
  axes.spines[['top', 'right']].set_visible(False)


def save(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
  """Writes a PNG."""
  figure.savefig(path, dpi=_DPI, metadata={'Software': None})
