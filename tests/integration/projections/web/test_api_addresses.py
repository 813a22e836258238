"""However an address is written, the same rows are found; what is none is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from projections.queries.api_keys import list_keys
from projections.web.sessions import SESSION_COOKIE
from schemas.addresses import NumberRegions
from tests.api import START, complete_events, empty_api

JO, NUMBER = "jo@xn--bcher-kva.example", "+12015550123"


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(
        engine.url, "api_addresses", regions=NumberRegions("", {"a": "US"}), outcome_seconds=0.1
    )
    recipients = [
        ("email", JO), ("email", "other@example.com"), ("sms", NUMBER), ("sms", "+44207946001"),
    ]  # fmt: skip
    events = [
        {
            "channel": channel, "kind": "sent", "message_id": f"m-{recipient}",
            "recipient": recipient, "occurred_at": START + timedelta(minutes=minute),
            "recorded_at": START,
        }
        for minute, (channel, recipient) in enumerate(recipients)
    ]  # fmt: skip
    api.add_events(complete_events(events, "a"))
    api.add_history_row("a", JO, "added")
    api.add_history_row("a", NUMBER, "added", channel="sms", rule="opt_out")
    api.add_key("a", ["a"], ["read", "reset"])
    return api


@pytest.fixture
def client(api):
    api.commands.clear()
    with api.client("a") as client:
        yield client


@pytest.mark.parametrize(
    ("channel", "parameters"),
    [
        ("email", {"recipient": "Jo@Bücher.example"}),
        ("email", {"recipient": f"Jo <{JO}>"}),
        ("email", {"filter": "recipient=jo@bücher.example"}),
        ("email", {"filter": "recipient~bücher.example"}),
        ("email", {"q": "jo@bücher.example"}),
        ("email", {"q": "BÜCHER"}),
        ("sms", {"recipient": "(201) 555-0123"}),
        ("sms", {"recipient": "001 201 555 0123"}),
        ("sms", {"filter": "recipient~(201) 555"}),
        ("sms", {"q": "(201) 555-0123"}),
    ],
)
def test_a_log_finds_the_rows_of_an_address(client, channel, parameters):
    reply = client.get(f"/api/v1/logs/{channel}", params=parameters)
    assert reply.status_code == 200, reply.text
    [row] = reply.json()["rows"]
    assert row["recipient"] == (JO if channel == "email" else NUMBER)


@pytest.mark.parametrize("address", ["jo@bücher.example", "(201) 555-0123"])
def test_an_address_s_messages_entry_and_part_are_found(client, address):
    channel = "email" if "@" in address else "sms"
    assert len(client.get(f"/api/v1/recipients/{address}").json()["rows"]) == 1
    assert client.get(f"/api/v1/suppressions/{channel}/{address}").json()["listed"]
    [row] = client.get("/api/v1/suppressions", params={"address": address}).json()["rows"]
    assert row["channel"] == channel
    message = {"message_id": f"m-{row['address']}", "recipient": address}
    assert client.get(f"/api/v1/messages/{channel}", params=message).status_code == 200


def test_what_is_no_address_is_not_blacklisted_by_hand_but_can_be_lifted(api, client):
    reply = client.post("/api/v1/suppressions/email/nobody/add", json={"reason": "asked"})
    assert reply.status_code == 422
    assert "'nobody' is not an email address: it needs a name" in reply.text
    assert not api.commands
    reply = client.post("/api/v1/suppressions/email/nobody/reset", json={"reason": "asked"})
    assert reply.status_code == 202
    assert [command.address for command in api.commands] == ["nobody"]


def test_the_pages_show_an_address_as_people_write_it(api):
    with api.client("") as client:
        [key] = list_keys(api.connect(), api.database)
        sessions = api.app.state.app_state.sessions
        client.cookies[SESSION_COOKIE] = sessions.to_cookie(sessions.begin(key.id))
        for path in ("/logs/email", "/blacklist", f"/addresses?address={JO}"):
            page = client.get(path)
            assert page.status_code == 200
            assert "bücher.example" in page.text.replace("<wbr>", "")
