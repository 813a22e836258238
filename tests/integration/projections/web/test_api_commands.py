"""The blacklist in the API: entries, their history, and the commands that change them."""

from __future__ import annotations

import pytest

from tests.api import api_with_data

P1 = "/api/v1/suppressions/email/p1@d1.example"


@pytest.fixture(scope="module")
def api(engine):
    return api_with_data(engine.url, "api_commands")


@pytest.fixture
def client(api):
    api.commands.clear()
    with api.client("a") as client:
        yield client
    api.on_command, api.kafka_answers = None, True


def test_the_blacklist_is_walked_in_order_and_filtered(client):
    rows, cursor = [], ""
    while cursor is not None:
        parameters = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = client.get("/api/v1/suppressions", params=parameters).json()
        rows, cursor = rows + page["rows"], page["next"]
    places = [(row["channel"], row["address"], row["rule"]) for row in rows]
    assert places == [
        ("email", "p1@d1.example", "hard_bounce"), ("email", "p2@d2.example", "complaint"),
        ("sms", "+447700900001", "opt_out"),
    ]  # fmt: skip
    for parameters, expected in (
        ({"channel": "sms"}, places[2:]), ({"rule": "complaint"}, places[1:2]),
        ({"address": "P1@"}, places[:1]), ({"address": "nobody"}, []),
    ):  # fmt: skip
        rows = client.get("/api/v1/suppressions", params=parameters).json()["rows"]
        assert [(row["channel"], row["address"], row["rule"]) for row in rows] == expected


def test_one_address_is_answered_for_however_it_is_written(client):
    reply = client.get("/api/v1/suppressions/email/P1@D1.example").json()
    assert (reply["listed"], reply["entry"]["reason"]) == (True, "550 a's own")
    assert reply["refused_since"] == 0
    number = client.get("/api/v1/suppressions/sms/0044 7700 900001").json()
    assert (number["listed"], number["address"]) == (True, "+447700900001")
    free = client.get("/api/v1/suppressions/email/a/b@example.com").json()
    assert (free["listed"], free["entry"], free["address"]) == (False, None, "a/b@example.com")


def test_a_command_is_published_in_the_name_of_the_key_and_answered_when_it_took_effect(
    api, client
):
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "reset", reason=command.reason, actor=command.actor,
        cause_event_id=command.id,
    )  # fmt: skip
    reply = client.post(f"{P1}/reset", json={"reason": " mailbox repaired "})
    assert reply.status_code == 200, reply.text
    [command] = api.commands
    assert (command.command, command.tenant_id, command.channel) == ("reset", "a", "email")
    assert (command.address, command.actor) == ("p1@d1.example", "a")
    assert (command.reason, command.confirmed_complaint) == ("mailbox repaired", False)
    changed = reply.json()
    assert changed["command_id"] == command.id == changed["line"]["cause_event_id"]
    assert changed["line"]["change"] == "reset"
    assert changed["now"]["listed"] is False
    history = client.get(f"{P1}/history").json()["rows"]
    assert [line["change"] for line in history] == ["added", "reset"]

    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "added", rule="by_hand", cause_event_id=command.id
    )
    again = client.post("/api/v1/suppressions/email/New@Example.com/add", json={"reason": "asked"})
    assert again.json()["now"]["entry"]["rule"] == "by_hand"
    assert api.commands[1].address == "new@example.com"


def test_a_refused_command_is_a_conflict_that_says_why(api, client):
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "refused", reason="a complaint must be confirmed",
        cause_event_id=command.id,
    )  # fmt: skip
    reply = client.post(
        "/api/v1/suppressions/email/p2@d2.example/reset",
        json={"reason": "x", "confirmed_complaint": False},
    )
    assert (reply.status_code, reply.json()["detail"]) == (409, "a complaint must be confirmed")
    assert client.get("/api/v1/suppressions/email/p2@d2.example").json()["listed"] is True


def test_a_command_that_no_worker_dealt_with_yet_is_accepted_with_its_id(api, client):
    reply = client.post(f"{P1}/add", json={"reason": "x"})
    assert (reply.status_code, reply.json()["command_id"]) == (202, api.commands[0].id)


def test_a_command_that_kafka_did_not_take_is_to_be_sent_again(api, client):
    api.kafka_answers = False
    reply = client.post(f"{P1}/add", json={"reason": "x"})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert "Kafka" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "reason"), ({"reason": " "}, "reason"), ({"reason": "x" * 1025}, "reason"),
        ({"reason": "x", "confirmed": True}, "confirmed"),
        ({"reason": "x", "confirmed_complaint": "perhaps"}, "confirmed_complaint"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_by_the_name_of_its_field(api, client, body, parameter):
    reply = client.post(f"{P1}/reset", json=body)
    assert reply.status_code == 422
    assert [error["parameter"] for error in reply.json()["errors"]] == [parameter]
    assert api.commands == []


def test_who_may_only_read_changes_nothing(api, client):
    changes = [
        (path, method) for path, methods in api.app.openapi()["paths"].items()
        for method in methods
        if method != "get" and path not in {"/api/v1/standings", "/api/v1/embed-tokens"}
    ]  # fmt: skip
    assert sorted(path.rpartition("/")[2] for path, _ in changes) == [
        "add", "provider-lists", "resend", "reset", "resets",
    ]  # fmt: skip
    for key in ("a reader", "a admin"):
        with api.client(key) as other:
            for path, method in changes:
                place = path.format(channel="email", address="p1@d1.example", message_id="m1")
                reply = other.request(method, place, json={"reason": "x"})
                assert reply.status_code == 403, (key, path)
                scope = "bulk_reset" if path.endswith("/resets") else "reset"
                assert reply.json()["detail"] == f"this key lacks the scope {scope!r}"
            assert other.get(P1).status_code == 200
    assert api.commands == []
