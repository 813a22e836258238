"""Pages show hostile texts in messages, entries and requests as text, and nothing more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from tests.api import complete_events, empty_api, token_of
from tests.browser.conftest import Reader, serve

TENANT = "t</title><script>alert('tenant')</script>"
HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>", "'; DROP TABLE events; -- \"",
    "\u202eevil\u202c עברית العربية", "nul\x00bell\x07", "{{ 7 * 7 }}{% raw %}", "x" * 10_000,
    '"><svg onload=alert(3)>', "javascript:alert(4)", "</pre></details></bdi>", "😀" * 300,
]  # fmt: skip
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def hostile(engine):
    """An API whose every text is hostile."""
    api = empty_api(engine.url, "hostile", outcome_seconds=0)
    events = []
    for number, text in enumerate(HOSTILE):
        at, short = NOW - timedelta(hours=number + 1), text[:250]
        for channel, kind in (("email", "bounce"), ("sms", "failed")):
            events.append({
                "channel": channel, "kind": kind, "message_id": text[:500],
                "recipient": text[:300].lower(), "occurred_at": at, "recorded_at": at,
                "provider": short, "provider_message_id": short, "record_type": short,
                "record_id": short, "subject" if channel == "email" else "text": text,
                "record_name": short, "record_url": text[:512],
                "bounce_class": "hard" if channel == "email" else "", "smtp_code": 550,
                "reason_code": short, "diagnostic": text, "label": short, "url": text,
                "user_agent": text, "ip": short, "campaign": short, "tags": [short], "attempt": 1,
            })  # fmt: skip
        api.add_history_row(TENANT, text[:300].lower(), "added", reason=text[:1000], actor=short,
                 message_id=text[:500])  # fmt: skip
        api.add_dead_letter(number, text.encode() * 3, text, source_topic="email.events.x",
                 headers=[(text[:80], text)])  # fmt: skip
    api.add_events(complete_events(events, TENANT))
    api.add_key("<b>key</b>", ["*"], ["read", "reset", "admin"])
    return api


def pages():
    tenant = f"tenant={quote(TENANT)}"
    paths = [
        f"/logs/email?{tenant}", f"/logs/sms?{tenant}", f"/blacklist?{tenant}", "/dead-letters",
        f"/logs/email?{tenant}&q={quote(HOSTILE[0])}&record_id={quote(HOSTILE[5][:500])}",
        f"/overview/email?{tenant}", f"/overview/sms?{tenant}", "/tenants",
        f"/unmatched?{tenant}&days=30", f"/audit?{tenant}&object={quote(HOSTILE[0])}",
    ]  # fmt: skip
    for number, text in enumerate(HOSTILE):
        message, recipient = quote(text[:500], safe=""), quote(text[:300].lower(), safe="")
        paths += [
            f"/messages/email?{tenant}&message_id={message}&recipient={recipient}",
            f"/addresses?{tenant}&address={recipient}",
            f"/records/family/{quote(text[:250], safe='')}?{tenant}",
            f"/blacklist/email?{tenant}&address={recipient}",
            f"/dead-letters/email.events.x/1/{number}/-1",
        ]  # fmt: skip
    return [*paths, f"/audit?{tenant}"]  # where all the others left their lines


def test_hostile_texts_are_shown_and_do_nothing(browser, hostile):
    wrong = []
    with serve(hostile.app) as site:
        reader = Reader(browser, site, wrong, viewport={"width": 360, "height": 800})
        reader.sign_in(hostile.keys["<b>key</b>"], "/dead-letters")
        for path in pages():
            reply = reader.open(path)
            assert reply.status == 200, (reply.status, path[:200])
            assert reader.page.evaluate("document.documentElement.scrollWidth") <= 360, path[:200]
            inside = "main script, main img, main svg:not(.chart, .legend svg, .share svg)"
            assert reader.page.locator(inside).count() == 0, path[:200]
            heights = reader.page.locator("tbody tr").evaluate_all(
                "all => all.map(row => row.getBoundingClientRect().height)"
            )
            assert max(heights, default=0) < 900, path[:200]
        reader.open(f"/logs/email?tenant={quote(TENANT)}")
        text = reader.page.locator("main").inner_text()
        for part in ("<script>alert(1)</script>", "nul␀bell␇", "⟨U+202E⟩evil", "{{ 7 * 7 }}"):
            assert part in text
        assert "x" * 1000 not in text
        reader.page.get_by_text("all of it").first.click()
        assert "x" * 10_000 in reader.page.locator("main").inner_text()
        reader.context.close()
    assert wrong == []


def test_hostile_addresses_of_pages_are_answered_and_never_fail(hostile):
    with hostile.client(None) as client:
        sign_in(client, hostile.keys["<b>key</b>"])
        for text in HOSTILE:
            # The client itself refuses addresses of over 64 kB.
            value = quote(text[:2000], safe="")
            for path in (
                "/logs/email?tenant=t&q=", "/logs/email?tenant=t&filter=", "/logs/sms?as_of=",
                "/logs/email?tenant=t&filter=subject~", "/logs/email?tenant=t&sort=",
                "/logs/email?tenant=t&cursor=", "/logs/email/newer?tenant=t&than=",
                "/logs/", "/messages/email?tenant=t&recipient=x&message_id=", "/overview/",
                "/addresses?tenant=t&address=", "/blacklist?tenant=t&rule=", "/blacklist/",
                "/blacklist?tenant=t&address=", "/blacklist/email?tenant=t&command=x&address=",
                "/dead-letters?topic=", "/dead-letters?reason=", "/dead-letters?cursor=",
                "/dead-letters/", "/sign-in?next=", "/tenants?next=", "/static/", "/?tenant=",
                "/logs/email?tenant=", "/logs/email?tenant=t&is=%3D&value=x&column=",
                "/logs/email?tenant=t&column=subject&is=~&value=",
            ):  # fmt: skip
                reply = client.get(path + value, follow_redirects=True)
                assert reply.status_code < 500, (path, text[:60], reply.text[-500:])
                assert "<script>alert" not in reply.text
                assert "<img src=x" not in reply.text


def sign_in(client, key):
    """Sign in without a browser."""
    token = token_of(client.get("/sign-in").text)
    reply = client.post("/sign-in", data={"token": token, "key": key}, follow_redirects=False)
    assert reply.status_code == 303, reply.text
