"""The HTTP server of the dashboard: serves the page, and its data as JSON.

Listens on the loopback interface only, and refuses requests with a foreign
`Host` header (DNS rebinding). Requests name nodes, levels and evaluations,
which are looked up among those of the run; no request names a path.
"""

import re
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import werkzeug.exceptions
import werkzeug.serving
import werkzeug.wrappers

from programs.views import view as view_lib

HOST = '127.0.0.1'

_TYPES = {'html': 'text/html', 'css': 'text/css', 'js': 'text/javascript'}
_HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy': "default-src 'none'; script-src 'self'; "
  "style-src 'self'; connect-src 'self'; img-src data:; "
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
}
_OUR_NAMES = re.compile(r'(localhost|127\.0\.0\.1)(:\d{1,5})?', re.IGNORECASE)

_Request = werkzeug.wrappers.Request
_Response = werkzeug.wrappers.Response


class App:
  """The WSGI application of the dashboard."""

  def __init__(self, view: view_lib.View) -> None:
    self._view = view
    self._files = view_lib.read_page()

  def __call__(
    self, environ: Mapping[str, Any], start_response: Callable[..., Any]
  ) -> Iterable[bytes]:
    """Answer a request, or refuse it with the reason."""
    request = _Request(dict(environ))
    try:
      response = self._answer(request)
    except werkzeug.exceptions.HTTPException as refusal:
      response = refusal.get_response()
    for name, value in _HEADERS.items():
      response.headers[name] = value
    return response(dict(environ), start_response)

  def _answer(self, request: _Request) -> _Response:
    if not _OUR_NAMES.fullmatch(request.environ.get('HTTP_HOST', '')):
      raise werkzeug.exceptions.Forbidden(
        'Host must be localhost or 127.0.0.1: this server answers only '
        'browsers of its own machine.'
      )
    if request.method not in ('GET', 'HEAD'):
      raise werkzeug.exceptions.MethodNotAllowed(
        ['GET', 'HEAD'], 'The method must be GET or HEAD.'
      )
    name = request.path.removeprefix('/') or 'index.html'
    if name in self._files:
      kind = _TYPES[name.rpartition('.')[2]]
      return _Response(self._files[name], content_type=f'{kind}; charset=utf-8')
    content = self._view.read(name, request.args.get('name', ''))
    if content is None:
      raise werkzeug.exceptions.NotFound('There is no such page.')
    return _Response(view_lib.to_json(content), content_type='application/json')


class _QuietHandler(werkzeug.serving.WSGIRequestHandler):
  """A handler that logs no requests."""

  def log_request(self, *unused: object) -> None:
    pass


def make_server(
  view: view_lib.View, port: int
) -> werkzeug.serving.BaseWSGIServer:
  """Listen on a port, 0 for any free one; `serve_forever` answers requests.

  Raises:
    OSError: The port is taken or not permitted.
  """
  # werkzeug would end the process if it found the port taken.
  with socket.create_server((HOST, port)) as listening:
    return werkzeug.serving.make_server(
      HOST,
      listening.getsockname()[1],
      App(view),
      threaded=True,
      request_handler=_QuietHandler,
      fd=listening.fileno(),
    )
