"""Plot learning curves as PNG."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import matplotlib.ticker

_NUM_COLUMNS = 3
_DPI = 110


def draw_curves(
  curves: Mapping[str, Sequence[Mapping[str, Any]]],
) -> matplotlib.figure.Figure:
  """Plot returns over frames: axes by level, colours by group of runs.

  Takes the result of `comparison.make_curves`; no level leaves it empty.
  """
  groups = dict.fromkeys(c['group'] for each in curves.values() for c in each)
  colors = {group: f'C{index % 10}' for index, group in enumerate(groups)}
  columns = max(1, min(_NUM_COLUMNS, len(curves)))
  rows = math.ceil(len(curves) / columns)
  size = (7.6, 4.2) if len(curves) == 1 else (4 * columns, 2.9 * rows + 0.5)
  figure = matplotlib.figure.Figure(figsize=size, layout='constrained')
  handles: dict[str, Any] = {}
  for index, (level, each) in enumerate(curves.items()):
    axes = figure.add_subplot(rows, columns, index + 1)
    for curve in each:
      color, group = colors[curve['group']], curve['group']
      for line in curve['lines']:
        axes.plot(line['x'], line['y'], color=color, alpha=0.3, linewidth=0.8)
      (handle,) = axes.plot(curve['x'], curve['y'], color=color)
      handles.setdefault(group, handle)
      for frames, mean, low, high in curve['points']:
        if low is not None and high is not None:
          axes.plot([frames, frames], [low, high], color=color, linewidth=1)
        axes.plot(frames, mean, 'o', color=color, mfc='white', ms=4)
    limits = axes.get_ylim()  # Wide intervals, as of two runs, are cut off.
    for curve in each:
      if 'low' in curve:
        ends = curve['low'], curve['high']
        color = colors[curve['group']]
        axes.fill_between(curve['x'], *ends, color=color, alpha=0.15, lw=0)
    axes.set_ylim(limits)
    axes.set_title(level, fontsize='medium', loc='left')
    axes.set_xlabel('frames')
    axes.set_ylabel('return' if index % columns == 0 else '')
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
    axes.locator_params(nbins=8 if len(curves) == 1 else 4)
    axes.grid(alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
  figure.legend(
    handles.values(), handles, loc='outside upper left', ncols=3, frameon=False
  )
  return figure


def save(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
  """Write a PNG."""
  figure.savefig(path, dpi=_DPI, metadata={'Software': None})
