"""The report as one page of HTML that needs nothing but itself."""

import base64
import datetime
import html
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from programs.inspection import drawing
from programs.reports import comparisons, labels, scores
from programs.reports import histories as histories_lib

_CURVES = (
  'Thin lines: single runs. Thick line: over runs that differ in their seed '
  'alone the mean, as far as all of them have come, in its 95% interval '
  "(Student's t over runs); of one run its games, smoothed over a fortieth of "
  'the frames. Circles: evaluations with 95% intervals over episodes. Frames '
  'that were learned again after a crash are shown once.'
)

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; color: #24292f;
  max-width: 62em; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.25em; margin-top: 2em;
  border-bottom: 1px solid #d0d7de; padding-bottom: .2em }
h3 { font-size: 1em; margin-bottom: .3em }
img { max-width: 100%; height: auto; display: block; margin: 1em 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .93em; margin: .6em 0 1.2em }
th, td { padding: .25em .9em .25em 0; border-bottom: 1px solid #eaeef2;
  vertical-align: top; text-align: left; font-variant-numeric: tabular-nums }
th { font-weight: 600; border-bottom-color: #afb8c1 }
.figure { text-align: right; white-space: nowrap }
.long { overflow-wrap: anywhere; min-width: 12em }
.note { color: #57606a; font-size: .93em }
.verdict { border-left: 4px solid #1f6feb; padding: .3em 0 .3em .8em }
details { border: 1px solid #d0d7de; border-radius: 6px; margin: .6em 0;
  padding: .4em 1em }
summary { cursor: pointer; font-weight: 600 }
@media print { body { max-width: none; margin: 0; font-size: 11px }
  h2, h3 { break-after: avoid } img, tr { break-inside: avoid } }
"""


def make_page(
  groups: Mapping[str, Sequence[histories_lib.History]],
  of_runs: Sequence[scores.Score],
  of_groups: Sequence[scores.Score],
  pictures: Mapping[str, bytes],
) -> str:
  """The page.

  Args:
    groups: The runs, by what tells them from others.
    of_runs: Their scores.
    of_groups: Over those of a group.
    pictures: Title -> PNG.

  Returns:
    HTML, with all that it shows inside.
  """
  runs = [run for each in groups.values() for run in each]
  levels = ', '.join(dict.fromkeys(run.fields['level_name'] for run in runs))
  title = runs[0].name if len(runs) == 1 else f'{len(runs)} runs'
  made = datetime.datetime.now().astimezone().isoformat(' ', 'seconds')
  parts = [
    f'<h1>{escape(title)}: {escape(levels)}</h1>',
    f'<p class="note">IMPALA, report of {escape(made)}</p>',
    _summary(groups),
    *(
      f'<h2>{escape(name)}</h2>{_picture(name, "png", png)}'
      for name, png in pictures.items()
    ),
    f'<p class="note">{escape(_CURVES)}</p>' if pictures else '',
    '<h2>Scores</h2>',
    _scores('runs', of_groups),
    _scores('run', of_runs),
    f'<p class="note">{escape(scores.METHOD)}</p>'
    if of_runs
    else '<p>Nothing was evaluated yet.</p>',
    '<h2>Where the time goes</h2>',
    *(_time(run, is_open=len(runs) == 1) for run in runs),
    '<h2>Configuration</h2>',
    _configuration(runs),
    '<h2>Where the runs come from</h2>',
    _provenance(runs),
  ]
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    f'<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n'
    + '\n'.join(part for part in parts if part)
    + '\n</body></html>\n'
  )


def escape(text: Any) -> str:
  """Of any value, for text and attributes."""
  return html.escape(str(text), quote=True)


def _table(
  headings: Sequence[str],
  rows: Iterable[Sequence[Any]],
  figures: Sequence[str] = (),
) -> str:
  """A table; columns of the headings in `figures` stand to the right."""
  kinds = [' class="figure"' if h in figures else '' for h in headings]
  head = ''.join(
    f'<th{kind}>{escape(heading)}</th>'
    for kind, heading in zip(kinds, headings, strict=True)
  )
  body = ''.join(
    '<tr>'
    + ''.join(
      f'<td{kind or _long(cell)}>{escape(cell)}</td>'
      for kind, cell in zip(kinds, row, strict=True)
    )
    + '</tr>\n'
    for row in rows
  )
  return (
    f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
    f'<tbody>{body}</tbody></table></div>'
  )


def _long(cell: Any) -> str:
  return ' class="long"' if len(str(cell)) > 40 else ''


def _picture(name: str, kind: str, content: bytes) -> str:
  text = base64.b64encode(content).decode()
  return f'<img alt="{escape(name)}" src="data:image/{kind};base64,{text}">'


def _summary(
  groups: Mapping[str, Sequence[histories_lib.History]],
) -> str:
  """A row for each run."""
  rows = []
  for group, runs in groups.items():
    for run in runs:
      last = run.learner[-1] if run.learner else {}
      total = run.fields['total_environment_frames']
      rows.append(
        (
          run.name,
          group,
          run.fields['seed'],
          run.state,
          f'{last.get("frames", 0):,.0f} of {total:,}',
        )
      )
  return _table(
    ('run', 'group', 'seed', 'state', 'frames'), rows, ('seed', 'frames')
  )


def _scores(heading: str, rows: Sequence[scores.Score]) -> str:
  if not rows:
    return ''
  headings, *lines = scores.to_cells(heading, rows)
  return _table(headings, lines, scores.HEADINGS[2:])


def _time(run: histories_lib.History, is_open: bool) -> str:
  """The verdict, the graph with its rates, and the figures of each role."""
  said = labels.sentence(run)
  parts = [
    f'<h3>{escape(run.name)}</h3><p class="verdict">{escape(said)}</p>',
  ]
  shown = []
  if run.graph:
    drawn = drawing.svg(run.graph, labels.make_labels(run.graph, run.figures))
    name = f'the nodes of {run.name} and what flows between them'
    shown.append(_picture(name, 'svg+xml', drawn.encode()))
  if run.graph and run.figures:
    activities, processes = labels.make_rows(run.graph, run.figures)
    shown += [
      f'<p class="note">Means over {run.figures.seconds:,.0f} s; of several '
      'nodes the least / median / most.</p>',
      _table(labels.ACTIVITIES, activities, labels.ACTIVITIES[2:]),
      _table(labels.PROCESSES, processes, labels.PROCESSES[1:-1]),
    ]
  if shown:
    opened = ' open' if is_open else ''
    parts.append(
      f'<details{opened}><summary>graph and figures</summary>'
      f'{"".join(shown)}</details>'
    )
  return '\n'.join(parts)


def _configuration(runs: Sequence[histories_lib.History]) -> str:
  names = [run.name for run in runs]
  fields = dict.fromkeys(name for run in runs for name in run.fields)

  def rows(wanted: Iterable[str]) -> list[Sequence[Any]]:
    return [
      (name, *(run.fields.get(name, '') for run in runs)) for name in wanted
    ]

  parts = []
  if len(runs) > 1:
    differing = comparisons.differing(runs)
    parts.append(
      '<h3>What differs</h3>' + _table(('field', *names), rows(differing))
      if differing
      else '<p>The runs do not differ, not even in their seed.</p>'
    )
  parts.append(
    '<details><summary>the whole configuration</summary>'
    f'{_table(("field", *names), rows(fields))}</details>'
  )
  return '\n'.join(parts)


def _provenance(runs: Sequence[histories_lib.History]) -> str:
  """Command line, commit, host, versions, and how each run ended."""
  facts = [_facts(run) for run in runs]
  names = dict.fromkeys(name for each in facts for name in each)
  return _table(
    ('', *(run.name for run in runs)),
    [(name, *(each.get(name, '') for each in facts)) for name in names],
  )


def _facts(run: histories_lib.History) -> dict[str, str]:
  meta = run.meta
  ended = meta.get('ended') or {}
  told = {
    'running': 'still running',
    'lost': 'without a word: killed, or its machine went down',
  }
  facts = {
    'directory': run.directory.path,
    'command line': shlex.join(map(str, meta.get('command_line', ()))),
    'commit': meta.get('git_revision'),
    'host': meta.get('host'),
    'cores': meta.get('cores'),
    'started (last time)': meta.get('started'),
    'ended': ended.get('time'),
    'how it ended': ended.get('description') or told.get(run.state, run.state),
    'exit status': ended.get('exit_status'),
    'python': meta.get('python'),
    **(meta.get('versions') or {}),
  }
  return {
    name: str(value) for name, value in facts.items() if value not in (None, '')
  }
