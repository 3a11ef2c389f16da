"""The dashboard's server, and its page in a browser."""

import contextlib
import re
import threading
import urllib.parse

import processes
from playwright import sync_api

from programs.runs import flags
from programs.views import reading, server, view

WAIT_SECONDS = 120  # Six imports of TensorFlow; quiet machines need 10.


@contextlib.contextmanager
def served(directory, port=0):
  """Serve a run directory; yields the port."""
  shown = view.View(reading.Run(directory), flags.describe)
  listening = server.make_server(shown, port)
  thread = threading.Thread(target=listening.serve_forever)
  thread.start()
  try:
    yield listening.port
  finally:
    listening.shutdown()
    thread.join()
    listening.server_close()


class Page:
  """The open page, with its console messages, requests and refusals."""

  def __init__(self, browser, address):
    self.address = address
    self.complaints, self.requests, self.refusals = [], [], []
    view = {'width': 1280, 'height': 900}
    self.page = browser.new_page(viewport=view)
    self.page.set_default_timeout(WAIT_SECONDS * 1000)
    self.page.on('console', lambda said: self.complaints.append(said.text))
    self.page.on('pageerror', lambda error: self.complaints.append(str(error)))
    self.page.on('request', lambda request: self.requests.append(request.url))
    self.page.on(
      'response',
      lambda answer: (
        self.refusals.append(answer.url) if answer.status >= 400 else None
      ),
    )
    self.page.goto(address)

  def wait(self, selector, text):
    """Wait for an element whose text has a match."""
    found = self.page.locator(selector)
    sync_api.expect(found.first).to_have_text(
      re.compile(text), timeout=WAIT_SECONDS * 1000
    )

  def frames(self):
    text = self.page.locator('#numbers dd').first.inner_text()
    return int(text.split(' of ')[0].replace(',', ''))

  def wait_for_frames(self, more_than):
    """Wait until the page shows more frames."""

    def is_there():
      self.page.wait_for_timeout(100)
      return self.frames() > more_than

    processes.wait_until(is_there, WAIT_SECONDS)

  def check(self):
    """Assert that it requested this server alone, without errors."""
    assert self.complaints == []
    assert self.refusals == []
    host = urllib.parse.urlsplit(self.address).netloc
    assert self.requests
    assert {
      urllib.parse.urlsplit(url).netloc
      for url in self.requests
      if not url.startswith('data:')
    } == {host}
