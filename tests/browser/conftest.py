"""A real browser, and the pages over the real engine."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2
import pytest
import uvicorn
from playwright.sync_api import sync_playwright

from deploy.local.addresses import free_port
from tests.api import api_with_data, token_of
from tests.browser import chromium
from tests.system import wait_for

_QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update",
          "--no-first-run"]  # fmt: skip


# For this package only: as long as it exists, its event loop runs in this thread.
@pytest.fixture(scope="package")
def browser():
    path = chromium.find()
    assert path, "there is no Chromium: make setup-browser"
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_QUIET, *as_root])
        yield browser
        browser.close()


@contextmanager
def serve(app):
    """Serve an application; yield its URL."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, "the pages to be served", 30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="package")
def api(engine):
    return api_with_data(engine.url, "pages", outcome_seconds=1)


@pytest.fixture(scope="package")
def site(api):
    with serve(api.app) as address:
        yield address


class Reader:
    """A person with a browser; `wrong` collects what their pages must not do.

    `hosts` are those that may be asked: the site's alone, unless a test adds others.
    """

    def __init__(self, browser, site, wrong, **options):
        self.site, self.wrong = site, wrong
        self.hosts = {urlsplit(site).netloc}
        options = {"locale": "en-GB", "timezone_id": "UTC", **options}
        self.context = browser.new_context(base_url=site, **options)
        self.context.set_default_timeout(20_000)
        self.context.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        self.context.on("weberror", lambda error: wrong.append(str(error.error)))
        self.context.on("request", self._check_request)
        self.context.on("console", self._check_console)
        self.page = self.context.new_page()

    def _check_request(self, request):
        if urlsplit(request.url).netloc not in self.hosts:
            self.wrong.append(f"a request to {request.url}")

    def _check_console(self, message):
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def sign_in(self, key, path="/"):
        self.page.goto(path)
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()
        return self.page

    def open(self, path):
        """Go to a page and return the answer."""
        return self.page.goto(path)

    def rows(self):
        """Return the texts of the rows of the page's log, cell by cell."""
        return self.page.locator("table.log tbody tr").evaluate_all(
            "all => all.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )

    def links(self):
        """Return (message_id, recipient) of each row of the log."""
        pairs = self.page.locator("table.log tbody tr td.state a.badge").evaluate_all(
            "all => all.map(a => [...new URL(a.href).searchParams].filter("
            "([name]) => name != 'tenant').map(([, value]) => value))"
        )
        return [tuple(pair) for pair in pairs]


def session_cookie(site, key):
    """Sign in without a browser, and return the cookie."""
    with httpx2.Client(base_url=site) as client:
        token = token_of(client.get("/sign-in").text)
        reply = client.post("/sign-in", data={"token": token, "key": key})
        assert reply.status_code == 303, reply.text
        [(name, value)] = client.cookies.items()
        return {"name": name, "value": value}


@pytest.fixture(scope="package")
def cookies():
    """Session cookies by key, so that a test that is not about signing in can skip it."""
    return {}


@pytest.fixture
def readers(browser, site, cookies):
    """Yield a function that makes readers; check at the end that their pages did nothing wrong."""
    wrong, all_readers = [], []

    def make(key=None, path="", address=None, **options):
        reader = Reader(browser, address or site, wrong, **options)
        all_readers.append(reader)
        if key:
            if key not in cookies:
                cookies[key] = session_cookie(reader.site, key)
            reader.context.add_cookies([cookies[key] | {"url": reader.site}])
        if path:
            reader.open(path)
        return reader

    yield make
    for reader in all_readers:
        reader.context.close()
    assert wrong == []


@pytest.fixture
def reader(readers, api):
    return readers(api.keys["a"])
