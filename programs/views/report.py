"""The report: one page of one or more runs, with curves and scores."""

import os
import pathlib
import tempfile
from collections.abc import Sequence

from programs.runs import flags, run_directory
from programs.views import comparison, page_files, plots, reading, scores, view

PAGE = 'index.html'


def write(
  paths: Sequence[pathlib.Path], output: pathlib.Path
) -> dict[str, str]:
  """Writes the report; a run's name -> the verdict on its speed, or why none.

  Args:
    paths: Of run directories, absolute, each another one.
    output: Folder of the report, absolute; made if it is not there. A report
      that is there is replaced when the new one is whole.

  Raises:
    run_directory.RunError: One is no run directory, or the folder cannot be
      written to.
  """
  found, pages = {}, {}
  for path, name in zip(paths, comparison.names(paths), strict=True):
    run_directory.RunDirectory(path).read_config()  # Or says what is wrong.
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
      run_directory.write_text(folder / PAGE, page_files.make_one(content))
      # The page last: it is what there is a report by.
      for new in sorted(folder.iterdir(), key=lambda path: path.name == PAGE):
        os.replace(new, output / new.name)
  except OSError as error:
    raise run_directory.RunError(
      f'output must be a directory that can be written to, got {output} '
      f'({error.strerror})'
    ) from error
  return {name: comparison.sentence(run) for name, run in found.items()}
