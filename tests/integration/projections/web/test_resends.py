"""Sending a message again, as far as the API and the pages go: who may, which message, what if."""

from __future__ import annotations

import re

import pytest

from tests.api import api_with_data, complete_events, token_of
from tests.embedding import token_for


@pytest.fixture(scope="module")
def api(engine):
    return api_with_data(engine.url, "resends", outcome_seconds=0, embed_secret=b"e" * 32)


@pytest.fixture(autouse=True)
def nothing_published(api):
    api.commands.clear()
    api.on_command = None
    api.kafka_answers = True


@pytest.fixture
def message(api):
    """Return a message of tenant a about family F-1, which was sent twice."""
    sent = {"channel": "email", "kind": "sent", "message_id": "m 1/2", "recipient": "jo@d1.example",
            "record_type": "family", "record_id": "F-1", "subject": "Invoice"}  # fmt: skip
    if not any(event["message_id"] == "m 1/2" for event in api.events):
        first = api.events[0]["occurred_at"]
        again = {**sent, "attempt": 2, "occurred_at": first, "recorded_at": first}
        api.add_events(complete_events(
            [{**sent, "occurred_at": first, "recorded_at": first}, again], "a"
        ))  # fmt: skip
    return {"message_id": "m 1/2", "recipient": "jo@d1.example"}


def body(**fields):
    return {"channel": "email", "recipient": "Jo@d1.example", "reason": "they lost it", **fields}


URL = "/api/v1/messages/m%201/2/resend"


def test_the_command_names_the_message_the_next_attempt_the_record_and_who_asks(api, message):
    with api.client("a") as client:
        reply = client.post(URL, json=body())
    assert reply.status_code == 202
    [command] = api.commands
    assert reply.json()["command_id"] == command.id
    assert command.model_dump(exclude={"id", "requested_at", "asked_at"}) == {
        "command": "resend", "tenant_id": "a", "channel": "email", "address": "jo@d1.example",
        "actor": "a", "reason": "they lost it", "confirmed_complaint": False,
        "message_id": "m 1/2", "attempt": 3, "record_type": "family", "record_id": "F-1",
    }  # fmt: skip


def test_an_idempotency_key_is_of_one_message_and_tenant(api, message):
    with api.client("operator") as client:
        for key in ("k1", "k1", "k2", ""):
            reply = client.post(URL, json=body(idempotency_key=key), params={"tenant": "a"})
            assert reply.status_code == 202
    first, again, other, own = (command.id for command in api.commands)
    assert first == again
    assert len({first, other, own}) == 3
    assert "k1" not in first


@pytest.mark.parametrize(
    ("key", "fields", "status"),
    [
        ("a reader", {}, 403),
        ("b", {}, 403),  # it may only read
        ("a", {"recipient": "other@d1.example"}, 404),
        ("a", {"channel": "sms"}, 404),
        ("a", {"reason": " "}, 422),
        ("a", {"attempt": 9}, 422),
        ("a", {"idempotency_key": "k" * 129}, 422),
    ],
)
def test_what_may_not_be_asked_is_refused_and_not_published(api, message, key, fields, status):
    with api.client(key) as client:
        assert client.post(URL, json=body(**fields)).status_code == status
    assert api.commands == []


def test_a_message_of_another_tenant_is_none(api, message):
    theirs = next(event for event in api.events if event["tenant_id"] == "b")
    with api.client("a") as client:
        reply = client.post(
            f"/api/v1/messages/{theirs['message_id']}/resend",
            json=body(recipient=theirs["recipient"], channel=theirs["channel"]),
        )
        assert reply.status_code == 404
        other = client.post(URL, json=body(), params={"tenant": "b"})
        assert other.status_code == 403
    assert api.commands == []


def test_without_kafka_the_page_says_so_and_keeps_what_was_typed(api, message):
    api.kafka_answers = False
    with api.client("a") as client:
        assert client.post(URL, json=body()).status_code == 503
    with api.client(None) as client:
        api.sign_in(client, "a")
        page = client.get("/messages/email", params=message).text
        form = {"token": token_of(page), "once": "x", "reason": "they <lost> it"}
        reply = client.post("/messages/email", params=message, data=form)
        assert reply.status_code == 503
        assert "Kafka did not confirm the command" in reply.text
        assert 'value="they &lt;lost&gt; it"' in reply.text
        forged = client.post("/messages/email", params=message, data={**form, "token": "x"})
        assert forged.status_code == 403


def test_as_long_as_nobody_has_dealt_with_it_the_page_says_so(api, message):
    with api.client(None) as client:
        api.sign_in(client, "a")
        page = client.get("/messages/email", params=message).text
        once = re.findall(r'name="once" value="([^"]+)"', page)
        form = {"token": token_of(page), "once": once[0], "reason": "they lost it"}
        replies = [client.post("/messages/email", params=message, data=form) for _ in range(2)]
        assert {reply.status_code for reply in replies} == {200}
        assert "data-pending" in replies[0].text
        assert len({command.id for command in api.commands}) == 1
        # Another page has another form, whose press is another wish.
        assert once != re.findall(
            r'name="once" value="([^"]+)"', client.get("/messages/email", params=message).text
        )


def test_in_a_frame_a_person_has_a_message_of_the_record_sent_again(api, message):
    key = api.app.state.app_state.keys.find(api.keys["a"])
    token = token_for(api, key, scopes=["read", "reset"])
    with api.client(None) as client:
        page = client.get("/embed/messages/email", params={**message, "token": token}).text
        assert "Send again" in page
        [action] = re.findall(r'method="post" action="(/embed/messages/[^"]+)"', page)
        form = {"token": token, "once": "o", "reason": "they lost it"}
        reply = client.post(action.replace("&amp;", "&"), data=form)
        assert reply.status_code == 200, reply.text
        assert reply.url.path == "/embed/messages/email"
        [command] = api.commands
        assert (command.actor, command.message_id) == ("Ann Clark (a)", "m 1/2")

        reader = token_for(api, key)
        looked = client.get("/embed/messages/email", params={**message, "token": reader}).text
        assert "Send again" not in looked
        form["token"] = reader
        assert client.post("/embed/messages/email", params=message, data=form).status_code == 403
        form["token"] = token_for(api, key, "F-2", scopes=["read", "reset"])
        assert client.post("/embed/messages/email", params=message, data=form).status_code == 404
    assert len(api.commands) == 1
