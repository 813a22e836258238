"""The frame in the example application: two sites, a real browser, no cookies of third parties."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from tests.api import complete_events, empty_api
from tests.browser import chromium
from tests.browser.conftest import serve
from tests.embedding import token_for
from tests.paths import ROOT
from tests.system import wait_for

HOST_FOLDER = ROOT / "deploy/examples/host"
NOW = datetime.now(UTC).replace(microsecond=0)
ANN, BEN, NUMBER = "ann@example.com", "ben@example.com", "+12025550105"


def events():
    """Return the messages of a family: 60 emails, two of which bounced, and a text message."""
    made = []
    for number in range(60):
        recipient = BEN if number % 10 == 0 else ANN
        kinds = {0: ["bounce"], 1: ["open"]}.get(number % 30, ["delivery"])
        for minute, kind in enumerate(["sent", *kinds]):
            at = NOW - timedelta(hours=number + 1) + timedelta(minutes=minute)
            made.append({
                "channel": "email", "kind": kind, "message_id": f"m{number}", "provider": "ses",
                "recipient": recipient, "occurred_at": at, "recorded_at": at,
                "subject": f"Invoice {number}", "record_type": "family", "record_id": "F-1001",
                "bounce_class": "hard" if kind == "bounce" else "",
                "enhanced_status": "5.1.1" if kind == "bounce" else "",
            })  # fmt: skip
    at = NOW - timedelta(minutes=5)
    sms = {"channel": "sms", "kind": "sent", "message_id": "s1", "recipient": NUMBER,
           "occurred_at": at, "recorded_at": at, "text": "Class is cancelled",
           "record_type": "family", "record_id": "F-1001"}  # fmt: skip
    return complete_events([*made, sms], "a")


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "framed", outcome_seconds=2, embed_secret=b"e" * 32)
    api.add_events(events())
    api.key = api.add_key("studio", ["a"], ["read", "reset"])
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "reset", actor=command.actor, reason=command.reason,
        cause_event_id=command.id,
    )  # fmt: skip
    return api


@pytest.fixture(scope="module")
def sendlog(api):
    with serve(api.app) as address:
        yield address


@pytest.fixture(scope="module")
def host(api, sendlog, tmp_path_factory):
    """Run the example application and give its address."""
    port = free_port()

    def answers():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/studio.css", timeout=10):
                return True
        except OSError:
            return False

    secret = api.app.state.app_state.embed_tokens.secret_of(api.key.id)
    program = Program(
        name="host", ready=answers, environment={"EMBED_SECRET": secret},
        command=[sys.executable, str(HOST_FOLDER / "host.py"), "--sendlog", sendlog, "--tenant",
                 "a", "--key-id", api.key.id, "--port", str(port)],
    )  # fmt: skip
    with Server(program, tmp_path_factory.mktemp("host") / "host.log"):
        yield f"http://localhost:{port}"


class Person:
    """Somebody who looks at a family in the application; `clicks` counts theirs.

    `wrong` is what no page may do.
    """

    def __init__(self, page, host):
        self.page, self.host, self.clicks, self.wrong = page, host, 0, []
        self.frame = page.frame_locator("iframe")

    def open(self, host=""):
        self.page.goto(f"{host or self.host}/families/F-1001/email-log")
        return self.frame

    def click(self, target):
        self.clicks += 1
        target.click()

    def document(self):
        """Return the document in the frame."""
        return self.page.query_selector("iframe").content_frame()


@pytest.fixture(scope="module")
def context(browser, tmp_path_factory):
    """A browser that blocks cookies of third parties."""
    folder = tmp_path_factory.mktemp("profile")
    preferences = folder / "Default/Preferences"
    preferences.parent.mkdir()
    blocking = {"profile": {"cookie_controls_mode": 1, "block_third_party_cookies": True}}
    preferences.write_text(json.dumps(blocking))
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with browser.browser_type.launch_persistent_context(
        folder, executable_path=chromium.find(), args=["--disable-gpu", *as_root]
    ) as context:
        context.set_default_timeout(20_000)
        yield context


@pytest.fixture
def person(context, host, sendlog, request):
    """Somebody in that browser; their pages do nothing wrong, and keep no cookie."""
    scheme, width = getattr(request, "param", ("light", 1280))
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    person = Person(page, host)
    page.on("pageerror", lambda error: person.wrong.append(str(error)))
    page.on("console", lambda message: (
        message.type == "error" and "Failed to load resource" not in message.text
        and person.wrong.append(message.text)
    ))  # fmt: skip
    page.on("request", lambda request: (
        request.url.startswith((host, sendlog)) or person.wrong.append(request.url)
    ))  # fmt: skip
    yield person
    page.close()
    assert (person.wrong, context.cookies()) == ([], [])


@pytest.fixture
def blacklisted(api):
    api.commands.clear()
    api.add_history_row("a", BEN, "added")


SIZES = pytest.mark.parametrize(
    "person", [("light", 1280), ("dark", 390)], indirect=True, ids=["desktop", "phone"]
)


@SIZES
def test_who_is_blacklisted_is_seen_at_once_and_reset_in_three_clicks(api, person, blacklisted):
    frame = person.open()
    frame.get_by_text("1 of 3 addresses is blacklisted").wait_for()
    assert frame.get_by_role("link", name="Why").is_visible()
    assert person.clicks == 0
    person.click(frame.get_by_text("Reset", exact=True))
    person.click(frame.get_by_label("Reason"))
    person.page.keyboard.type("she repaired it")
    person.click(frame.get_by_role("button", name="Reset ben@example.com"))
    frame.get_by_text("ben@example.com was reset.").wait_for()
    assert person.clicks == 3
    frame.get_by_text("No address of this record is blacklisted").wait_for()
    frame.get_by_role("link", name="History").click()
    row = frame.locator("tbody tr").first
    assert "Ann Clark (studio)" in row.inner_text()
    assert "she repaired it" in row.inner_text()
    assert [command.actor for command in api.commands] == ["Ann Clark (studio)"]


@SIZES
def test_the_logs_are_searched_sorted_filtered_and_paged_within_the_frame(person):
    frame = person.open()
    frame.get_by_text("Class is cancelled").wait_for()
    frame.get_by_role("link", name="Email Log", exact=True).first.click()
    frame.get_by_role("link", name="Next page").click()
    frame.get_by_role("link", name="First page").wait_for()
    rows = frame.locator("table.log tbody tr")
    assert rows.count() == 10
    for text, count in (("invoice 55", 1), (BEN, 6), ("bounced", 2), ("does not exist", 2)):
        frame.get_by_label("Search all fields").fill(text)
        frame.get_by_role("button", name="Search").click()
        frame.locator(".chip").wait_for()
        assert rows.count() == count, text
        frame.get_by_label("Remove the filter").click()
        frame.locator(".chip").wait_for(state="detached")
    if person.page.viewport_size["width"] > 1000:  # a phone has cards without headings
        for name, first in (("Date", "Invoice 59"), ("Recipient", ANN), ("Status", "Bounce")):
            heading = frame.get_by_role("columnheader", name=name)
            heading.get_by_role("link").click()
            frame.locator(f"th[aria-sort=ascending]:has-text('{name}')").wait_for()
            assert first in rows.first.inner_text()
    frame.get_by_text("Status: any").click()
    frame.get_by_role("checkbox", name="Open", exact=True).check()
    frame.get_by_role("button", name="Search").click()
    frame.get_by_text("status is Open").wait_for()
    assert rows.count() == 2
    frame.get_by_role("link", name="Overview").click()
    frame.get_by_role("heading", name="family F-1001").wait_for()


@SIZES
def test_why_a_message_did_not_arrive_is_said_within_the_frame(person, sendlog):
    frame = person.open()
    frame.get_by_role("link", name="Bounce").first.click()
    frame.get_by_role("heading", name="Why Bounce").wait_for()
    text = frame.locator("main").inner_text()
    assert "This email address does not exist." in text
    assert "What to do: Check the spelling" in text
    frame.get_by_role("link", name="What do the statuses mean?").click()
    frame.get_by_role("heading", name="What do the statuses mean?").wait_for()
    frame.get_by_role("link", name="SMS Log", exact=True).first.click()
    frame.get_by_role("heading", name="SMS Log").wait_for()
    assert person.document().url.startswith(f"{sendlog}/embed/logs/sms?token=")


@SIZES
def test_the_frame_fits_its_content_is_accessible_and_has_the_host_s_look(api, person, blacklisted):
    frame = person.open()
    frame.get_by_role("heading", name="Messages").wait_for()
    document = person.document()

    def fits():
        shown = person.page.evaluate("document.querySelector('iframe').clientHeight")
        return 0 <= shown - document.evaluate("document.documentElement.offsetHeight") <= 1

    wait_for(fits, "the frame to be as high as its content")
    frame.get_by_text("Reset", exact=True).click()
    wait_for(fits, "the frame to be as high as its content")
    width = person.page.viewport_size["width"]
    assert person.page.evaluate("document.documentElement.scrollWidth") <= width
    assert document.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dark = width == 390
    background = document.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == ("rgb(18, 22, 27)" if dark else "rgb(255, 255, 255)")
    link = document.evaluate("getComputedStyle(document.querySelector('td a')).color")
    assert link == ("rgb(209, 113, 159)" if dark else "rgb(179, 19, 95)")
    expired = f"{document.url.partition('?')[0]}?token={token_of(api, person, 5)}"
    for url in (document.url, expired):
        person.page.goto(url)
        violations = Axe().run(person.page).response["violations"]
        assert [violation["id"] for violation in violations] == []


def test_cookies_of_third_parties_are_blocked_in_this_browser(person, sendlog):
    frame, set_cookie = person.open(), "document.cookie = 't=1; SameSite=None; Secure'"
    frame.get_by_role("heading", name="Messages").wait_for()
    document = person.document()
    document.evaluate(set_cookie)
    assert document.evaluate("document.cookie") == ""
    person.page.goto(f"{sendlog}/sign-in")
    person.page.evaluate(set_cookie)
    assert "t=1" in person.page.evaluate("document.cookie").split("; ")
    person.page.context.clear_cookies()


def answer_tokens(person, tokens):
    """Have the application answer these tokens, one after the other."""
    tokens = iter(tokens)
    person.page.route("**/token", lambda route: route.fulfill(json={"token": next(tokens)}))


def token_of(api, person, seconds, record_id="F-1001"):
    return token_for(api, api.key, record_id, seconds=seconds, origins=[person.host],
                     scopes=["read", "reset"])  # fmt: skip


#: Timers of more than a minute are kept, for the test to end.
LONG_TIMERS = """
    globalThis.timers = [];
    const start = setTimeout;
    globalThis.setTimeout = (act, delay, ...rest) =>
      delay > 60000 ? timers.push([delay, () => act(...rest)]) : start(act, delay, ...rest);
"""


def test_a_token_is_replaced_in_time_and_what_is_typed_stays(api, person, blacklisted):
    first, second = token_of(api, person, 400), token_of(api, person, 500)
    answer_tokens(person, [first, second])
    person.page.add_init_script(LONG_TIMERS)
    frame = person.open()
    frame.get_by_text("Reset", exact=True).click()
    frame.get_by_label("Reason").fill("half a sent")
    document = person.document()
    # Only the page around the frame may send one.
    document.evaluate("window.postMessage({ sendlog: 'token', token: 'x' }, '*')")
    field = frame.locator("input[name=token]").first
    assert field.input_value() == first
    assert person.page.evaluate("timers.map(([delay]) => delay)") == [300_000]
    person.page.evaluate("timers[0][1]()")
    wait_for(lambda: field.input_value() == second, "the token to be replaced")
    assert frame.get_by_label("Reason").input_value() == "half a sent"
    assert f"token={second}" in document.evaluate("location.href")
    assert first not in document.content()
    frame.get_by_role("link", name="Email Log", exact=True).first.click()
    frame.get_by_role("heading", name="Email Log").wait_for()
    assert f"token={second}" in document.evaluate("location.href")


def test_a_frame_whose_token_has_expired_is_opened_again_by_itself(api, person):
    answer_tokens(person, [token_of(api, person, 5), token_of(api, person, 300)])
    frame = person.open()
    frame.get_by_role("heading", name="Messages").wait_for()


def test_a_reset_with_a_token_that_has_expired_is_sent_again_with_its_reason(
    api, person, blacklisted
):
    answer_tokens(person, [token_of(api, person, 300), token_of(api, person, 400)])
    frame = person.open()
    frame.get_by_text("Reset", exact=True).click()
    frame.get_by_label("Reason").fill("after lunch")
    field = frame.locator("input[name=token]").first
    field.evaluate("(field, token) => { field.value = token }", token_of(api, person, 5))
    frame.get_by_role("button", name="Reset ben@example.com").click()
    frame.get_by_role("heading", name="This page has expired").wait_for()
    wait_for(lambda: field.input_value() != "", "another token")
    frame.get_by_role("button", name="Send it again").click()
    frame.get_by_text("ben@example.com was reset.").wait_for()
    assert [command.reason for command in api.commands] == ["after lunch"]


def test_a_page_of_another_origin_may_not_have_the_frame(person):
    refused = person.page.expect_console_message(lambda each: "frame-ancestors" in each.text)
    with refused:
        person.open(person.host.replace("localhost", "127.0.0.1"))
    assert "Messages" not in person.document().content()
    person.wrong.clear()


def test_the_token_in_javascript_of_the_documentation_is_one(api, person):
    text = (HOST_FOLDER / "README.md").read_text("utf-8")
    program = re.search(r"```js\n(.*?)```", text, re.DOTALL)[1]
    tokens = api.app.state.app_state.embed_tokens
    claims = {"tenant": "a", "record_type": "family", "record_id": "F-1001", "actor": "Ann Müller",
              "origins": [person.host]}  # fmt: skip
    person.page.goto(f"{person.host}/studio.css")  # somewhere with Web Crypto
    token = person.page.evaluate(
        f"([secret, kid, claims]) => {{ {program}; return embedToken(secret, kid, claims); }}",
        [tokens.secret_of(api.key.id), api.key.id, claims],
    )
    key_id, read = tokens.read(token)
    assert (key_id, read.actor, read.exp - read.iat) == (api.key.id, "Ann Müller", 600)


def test_the_script_for_hosts_is_small():
    assert (ROOT / "projections/web/static/embed.js").stat().st_size <= 3.5 * 1024
