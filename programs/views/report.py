"""Write a report: one page of one or more runs, with curves and scores."""

import base64
import hashlib
import os
import pathlib
import re
import tempfile
from collections.abc import Sequence
from typing import Any

from programs.runs import flags, run_directory
from programs.views import comparison, plots, reading, scores, view

PAGE = 'index.html'

_STYLE = re.compile(r'<link rel="stylesheet" href="(.*)">')
_SCRIPT = re.compile(r'<script src="(.*)"></script>')


def write(
  paths: Sequence[pathlib.Path], output: pathlib.Path
) -> dict[str, str]:
  """Write the report; returns each run's verdict, or why it has none.

  Args:
    paths: Distinct, absolute paths of run directories.
    output: Absolute path of the report's folder, made if necessary. Replaces
      the files of an earlier report once the new ones are complete.

  Raises:
    run_directory.RunError: A path is no run directory, or the folder is not
      writable.
  """
  found, pages = {}, {}
  for path, name in zip(paths, comparison.names(paths), strict=True):
    run_directory.RunDirectory(path).read_config()  # Raises if it is none.
    found[name] = reading.Run(path)
    pages[name] = view.View(found[name], flags.describe).export()
  compared = comparison.compare(found)
  content = {'made': run_directory.now(), 'runs': pages, 'comparison': compared}
  try:
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.new-', dir=output) as name:
      folder = pathlib.Path(name)
      plots.save(plots.draw_curves(compared['curves']), folder / 'curves.png')
      table = scores.to_csv(compared['scores'])
      run_directory.write_text(folder / 'scores.csv', table)
      run_directory.write_text(folder / PAGE, make_page(content))
      # The page comes last: it marks a complete report.
      for new in sorted(folder.iterdir(), key=lambda path: path.name == PAGE):
        os.replace(new, output / new.name)
  except OSError as error:
    raise run_directory.RunError(
      f'output must be a writable directory, got {output} ({error.strerror})'
    ) from error
  return {name: comparison.sentence(run) for name, run in found.items()}


def make_page(content: Any) -> str:
  """Inline the page's files and `content`, which `format.js` reads."""
  files = view.read_page()
  page = files[PAGE]
  # Escaped, so that no text of a run closes its script element.
  data = view.to_json(content).replace('<', '\\u003c')
  style = files[_STYLE.findall(page)[0]]
  scripts = [files[name] for name in _SCRIPT.findall(page)]
  policy = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    f'style-src {_hash(style)}; script-src {" ".join(map(_hash, scripts))}'
  )
  page = page.replace(
    '<head>\n',
    f'<head>\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
  )
  page = _STYLE.sub(lambda _: f'<style>{style}</style>', page)
  page = _SCRIPT.sub(lambda m: f'<script>{files[m[1]]}</script>', page)
  element = f'<script type="application/json" id="exported">{data}</script>'
  return page.replace('<script>', f'{element}\n<script>', 1)


def _hash(text: str) -> str:
  """Return the Content-Security-Policy source that permits `text`."""
  digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
  return f"'sha256-{digest}'"
