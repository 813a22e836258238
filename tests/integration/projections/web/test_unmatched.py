"""Events that fit no message, over the API and as a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.api import complete_events, empty_api

NOW = datetime.now(UTC).replace(microsecond=0)
ANN = "ann@example.com"


def event(kind, minutes, message_id, recipient=ANN, **fields):
    at = NOW - timedelta(hours=2) + timedelta(minutes=minutes)
    return {
        "channel": "email", "kind": kind, "message_id": message_id, "recipient": recipient,
        "occurred_at": at, "recorded_at": at, "provider": "ses", **fields,
    }  # fmt: skip


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "unmatched_events")
    api.add_key("a", ["a"])
    api.add_key("b", ["b"])
    mailer = {"provider": "", "source_topic": "email.sends"}
    api.add_events(complete_events([
        event("sent", 0, "m", **mailer), event("sent", 1, "n", "ben@example.com", **mailer),
        event("delivery", 5, "p", provider_message_id="p"),
        event("bounce", 6, "", "ben@example.com"), event("open", 7, "m", ""),
        event("delivery", 8, "m", provider_message_id="q"),
    ], "a"))  # fmt: skip
    return api


def test_events_that_fit_no_message_are_listed_with_why_and_guesses(api):
    with api.client("a") as client:
        rows = client.get("/api/v1/unmatched").json()["rows"]
        assert [(row["kind"], row["provider_message_id"], row["near"]) for row in rows] == [
            ("open", "", []), ("bounce", "", ["n"]), ("delivery", "p", ["m"]),
        ]  # fmt: skip
        assert len({row["reason"] for row in rows}) == 3
        since = (NOW - timedelta(hours=2) + timedelta(minutes=6)).isoformat()
        newer = client.get("/api/v1/unmatched", params={"since": since, "limit": 1}).json()["rows"]
        assert newer == rows[:1]
    with api.client("b") as client:
        assert client.get("/api/v1/unmatched").json() == {"rows": []}


def test_the_page_says_what_they_may_be_of(api):
    with api.client(None) as client:
        token = api.sign_in(client, "a")
        text = client.get("/unmatched").text
        assert "Delivered" in text
        assert 'href="/messages/email?message_id=m&amp;recipient=ann%40example.com"' in text
        assert "a guess" in text
        client.post("/sign-out", data={"token": token})
