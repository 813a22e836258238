"""Sessions: signing in and out, forged forms, revoked keys, and the wall between tenants."""

from __future__ import annotations

import re

import pytest

from projections.queries import api_keys
from projections.web.sessions import SESSION_COOKIE
from tests.api import SECRET, token_of
from tests.browser.test_harmless import sign_in
from tests.system import wait_for

OF_A_TENANT = [
    "/overview/email", "/overview/sms", "/logs/email", "/logs/sms", "/logs/email/newer",
    "/logs/email/export", "/logs/email/export?format=ndjson", "/blacklist",
    THEIR_MESSAGE := "/messages/email?message_id=b-email-1&recipient=p4@d1.example",
    "/addresses?address={theirs}", "/unmatched?days=365", "/records/family/1",
    f"/blacklist/email?address={SECRET}@example.com", "/blacklist/resets?rule=hard_bounce",
]  # fmt: skip
OF_OPERATORS = ["/dead-letters", "/dead-letters/email.events.ses/1/7/-1"]


@pytest.fixture
def client(api):
    with api.client(None) as client:
        yield client


def test_who_is_not_signed_in_is_asked_to_and_led_back(readers, api):
    reader = readers()
    reader.open("/logs/sms?status=Failed&sort=recipient")
    assert "/sign-in" in reader.page.url
    reader.page.get_by_label("API key").fill("sk_wrong")
    reader.page.get_by_role("button", name="Sign in").click()
    reader.page.get_by_text("This key is unknown or revoked.").wait_for()
    reader.page.get_by_label("API key").fill(api.keys["a"])
    reader.page.get_by_role("button", name="Sign in").click()
    reader.page.wait_for_url("**/logs/sms?status=Failed&sort=recipient")
    [cookie] = [each for each in reader.context.cookies() if each["name"] == SESSION_COOKIE]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert api.keys["a"] not in cookie["value"]
    reader.page.get_by_role("button", name="Sign out").click()
    reader.page.get_by_label("API key").wait_for()
    reader.context.add_cookies([cookie])  # as a thief would
    reader.open("/logs/sms")
    assert "/sign-in" in reader.page.url


def test_one_is_never_led_to_another_site(client, api):
    for place in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:x",
                  "/\t/evil.example", "evil.example"):  # fmt: skip
        token = token_of(client.get("/sign-in", params={"next": place}).text)
        reply = client.post("/sign-in", follow_redirects=False,
                            data={"token": token, "key": api.keys["a"], "next": place})  # fmt: skip
        assert (reply.status_code, reply.headers["location"]) == (303, "/")
        client.cookies.clear()


@pytest.mark.parametrize(
    "path", ["/sign-in", "/sign-out", "/blacklist/email?address=p1@d1.example"]
)
def test_a_form_of_another_site_changes_nothing(api, client, path):
    api.commands.clear()
    sign_in(client, api.keys["a"])
    form = {"key": api.keys["b"], "do": "add", "reason": "forged"}
    for token in ({}, {"token": "x"}, {"token": ""}):
        assert client.post(path, data=form | token).status_code == 403
    with api.client(None) as other:
        sign_in(other, api.keys["a"])
        theirs = token_of(other.get("/blacklist/email?address=x@example.com").text)
    assert client.post(path, data=form | {"token": theirs}).status_code == 403
    assert api.commands == []
    assert client.get("/logs/email").status_code == 200  # still signed in


def test_a_cookie_that_was_altered_or_is_of_another_process_is_none(api, client):
    sign_in(client, api.keys["a"])
    cookie = client.cookies["sendlog_session"]
    assert client.get("/logs/email", follow_redirects=False).status_code == 200
    for altered in (
        cookie[:-2] + "AA",
        "A" + cookie[1:],
        cookie.partition(".")[0],
        "",
        "é",
        "." * 9,
    ):
        client.cookies.clear()
        reply = client.get(
            "/logs/email", follow_redirects=False,
            headers={"Cookie": f"sendlog_session={altered}".encode()},
        )  # fmt: skip
        assert (reply.status_code, reply.headers["location"][:8]) == (303, "/sign-in")


def test_a_revoked_key_ends_its_sessions(api, client):
    key = api.add_key("leaving", ["a"])
    sign_in(client, api.keys["leaving"])
    assert client.get("/logs/email", follow_redirects=False).status_code == 200
    api_keys.store_revocation(api.connect(), api.database, key)
    wait_for(lambda: client.get("/logs/email", follow_redirects=False).status_code == 303,
             "the session to end", 10)  # fmt: skip
    assert "revoked" in client.get("/logs/email").text


def test_no_page_shows_a_word_of_another_tenant(api, client):
    sign_in(client, api.keys["a"])
    with api.client(None) as theirs:
        sign_in(theirs, api.keys["b"])
        assert SECRET in theirs.get(THEIR_MESSAGE).text
    with api.client("b") as theirs:
        row = theirs.get("/api/v1/logs/email?limit=1").json()["rows"][0]
    for path in (path.format(theirs=row["recipient"]) for path in OF_A_TENANT):
        sign = "&" if "?" in path else "?"
        for tenant in ("b", "none-such", "*"):
            reply = client.get(f"{path}{sign}tenant={tenant}")
            assert reply.status_code == 403, path
            assert SECRET not in reply.text.replace("b-email-1", "")
            assert "there is no" not in reply.text
        reply = client.get(path)
        assert reply.status_code == (404 if path == THEIR_MESSAGE else 200), path
        in_url = (f"{SECRET}@example.com", f"{SECRET}%40example.com")
        text = reply.text.replace(in_url[0], "").replace(in_url[1], "")
        assert SECRET not in text, path
        assert "b-email" not in text.replace("b-email-1", "")
    for path in OF_OPERATORS:
        for name in ("a", "a admin", "both"):
            with api.client(None) as other:
                sign_in(other, api.keys[name])
                assert other.get(path).status_code == 403


def test_who_may_only_read_is_offered_no_change_and_makes_none(api, client):
    api.commands.clear()
    sign_in(client, api.keys["a reader"])
    page = client.get("/blacklist/email?address=p1@d1.example")
    assert '<h2 id="change">' not in page.text
    form = {"token": token_of(page.text), "do": "reset", "reason": "x"}
    reply = client.post("/blacklist/email?address=p1@d1.example", data=form)
    assert reply.status_code == 403
    assert api.commands == []


def test_nothing_is_loaded_from_elsewhere_and_nothing_inline_runs(client):
    reply = client.get("/sign-in")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert reply.headers["cache-control"] == "no-store"
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', reply.text):
        file = client.get(name)
        assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)
    assert client.get("/static/../keys.py").status_code == 404
    assert client.get("/static/%2e%2e%2fkeys.py").status_code == 404


def test_programs_still_get_problems_and_people_pages(client):
    for path in ("/api/v1/none", "/api/none"):
        reply = client.get(path)
        assert (reply.status_code, reply.headers["content-type"]) == (
            404, "application/problem+json",
        )  # fmt: skip
    reply = client.get("/none")
    assert (reply.status_code, reply.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert client.post("/logs/email").status_code == 405
