"""The page's files, to be served; or all in one, to be opened from a disk."""

import base64
import hashlib
import pathlib
import re
from typing import Any

from programs.views import view

_FOLDER = pathlib.Path(__file__).with_name('page')
_STYLE = re.compile(r'<link rel="stylesheet" href="(.*)">')
_SCRIPT = re.compile(r'<script src="(.*)"></script>')


def read() -> dict[str, str]:
  """Name -> content."""
  return {
    path.name: path.read_text(encoding='utf-8')
    for path in _FOLDER.iterdir()
    if path.suffix in ('.html', '.css', '.js')
  }


def make_one(content: Any) -> str:
  """A page that needs nothing but itself; see `exported` in `format.js`."""
  files = read()
  page = files['index.html']
  # No text of a run ends the element that it stands in.
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
  """By which a policy lets a style or script in the page pass."""
  digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
  return f"'sha256-{digest}'"
