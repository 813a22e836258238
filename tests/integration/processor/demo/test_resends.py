"""A message is sent again: from a page, the API and a command, through real Kafka, into the log."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from zlib import crc32

import pytest
from kafka import TopicPartition
from pydantic import SecretStr

from deploy.local.process import Program, Server
from processor.api import CommandProducer
from processor.demo.render import DemoRecord
from processor.kafka.consumers import sync_consumer
from processor.kafka.topics import RETRIES_TOPIC
from projections.queries.audit import AuditFilter, list_audit_lines
from projections.web.app import build_api
from schemas.decisions import ResendRequested
from tests.api import Api, token_of
from tests.system import DATABASE, running, wait_for

#: By which the API and the command line sign, and without which the worker obeys nobody.
SECRET = "resend-" * 6
BEGAN = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with (
        pytest.MonkeyPatch.context() as patch,
        running(tmp_path_factory.mktemp("resends")) as system,
    ):
        patch.setenv("SENDLOG_KAFKA__COMMAND_SECRET", SECRET)
        system.worker()
        program = Program(
            name="mailer", environment=system.environment,
            command=[sys.executable, "-m", "processor", "mailer", "--no-scenes"],
        )  # fmt: skip
        with Server(program, system.folder / "mailer.log"):
            yield system


@pytest.fixture(scope="module")
def api(system):
    kafka = system.kafka.model_copy(update={"command_secret": SecretStr(SECRET)})
    producer = CommandProducer(kafka)
    app = build_api(
        connect=system.engine.connect, database=DATABASE, publish_command=producer.publish,
        kafka_answers=producer.answers, outcome_seconds=60,
    )  # fmt: skip
    api = Api(system.engine.url, DATABASE, app, {})
    api.add_key("desk", ["demo"], ["read", "reset"])
    api.add_key("reader", ["demo"], ["read"])
    yield api
    producer.close()


def address(name):
    """Return an address whose mailbox has room at the second attempt."""
    names = (f"{name}{number}@example.net" for number in range(100))
    return next(each for each in names if crc32(each.encode()) % 4)


def put(system, message_id, recipient, *kinds, channel="email"):
    """Publish what happened to a message, and wait until it is in the log."""
    records = [
        {"channel": channel, "kind": kind, "tenant_id": "demo", "message_id": message_id,
         "recipient": recipient, "occurred_at": (BEGAN + timedelta(seconds=step)).isoformat(),
         "record_type": "family", "record_id": "F-1", **fields}
        for step, (kind, fields) in enumerate([("sent", {}), *kinds])
    ]  # fmt: skip
    stamp = int(BEGAN.timestamp() * 1000)
    system.publish([
        DemoRecord(f"{channel}.sends", None, json.dumps(each).encode(), (), stamp)
        for each in records
    ])  # fmt: skip
    wait_for(lambda: len(events(system, message_id)) >= len(records), "the message")


def events(system, message_id):
    """Return kind, attempt and text of what happened to a message, in the order of time."""
    rows = system.rows(
        "SELECT DISTINCT kind, attempt, reason_code, diagnostic, occurred_at, event_id "
        f"FROM {DATABASE}.events WHERE message_id = '{message_id}' ORDER BY occurred_at, kind DESC"
    )
    return [(row["kind"], row["attempt"], row["reason_code"], row["diagnostic"]) for row in rows]


def status(system, message_id, log="email_log"):
    rows = system.rows(f"SELECT status FROM {DATABASE}.{log} WHERE message_id = '{message_id}'")
    return rows[0]["status"] if rows else None


def requests(system, message_id):
    """Return what was asked of mailers about a message."""
    consumer = sync_consumer(system.kafka)
    numbers = consumer.partitions_for_topic(RETRIES_TOPIC)
    places = [TopicPartition(RETRIES_TOPIC, number) for number in numbers]
    consumer.assign(places)
    consumer.seek_to_beginning()
    ends, values = consumer.end_offsets(places), []
    while any(consumer.position(place) < end for place, end in ends.items()):
        for records in consumer.poll(timeout_ms=200).values():
            values += [record.value for record in records]
    consumer.close()
    read = map(ResendRequested.model_validate_json, values)
    return [each for each in read if each.message_id == message_id]


def press(api, key, message_id, recipient, *, times=1, reason="they lost it"):
    """Open the page of a message, press its button so often, and return the last answer."""
    with api.client(None) as client:
        api.sign_in(client, key)
        url = f"/messages/email?message_id={message_id}&recipient={recipient}"
        page = client.get(url).text
        once = re.search(r'name="once" value="([^"]+)"', page)[1]
        form = {"token": token_of(page), "once": once, "reason": reason}
        for _ in range(times):
            reply = client.post(url, data=form)
        return reply


def audited(system, api, **asked):
    api.app.state.app_state.audit_trail.flush()
    return list(
        list_audit_lines(
            system.engine.connect(), DATABASE, "demo", AuditFilter(action="resend", **asked),
            limit=99,
        )
    )  # fmt: skip


def test_pressed_twice_it_is_sent_once_and_the_log_says_by_whom_and_why(system, api):
    ann = address("ann")
    put(system, "again", ann, ("bounce", {"bounce_class": "hard", "smtp_code": 550}))
    wait_for(lambda: status(system, "again") == "Bounce", "the bounce")
    system.command("suppressions", "reset", ann, "--tenant", "demo", "--reason", "repaired")

    reply = press(api, "desk", "again", ann, times=2)
    assert reply.status_code == 200
    assert "The mailer has been asked to send it again, as attempt 2." in reply.text
    wait_for(lambda: status(system, "again") == "Delivery", "the second attempt")
    happened = events(system, "again")
    assert ("note", 2, "resend_asked", "by desk: they lost it") in happened
    assert [each[:2] for each in happened if each[0] in ("sent", "delivery")] == [
        ("sent", 1), ("sent", 2), ("delivery", 2),
    ]  # fmt: skip
    [request] = requests(system, "again")
    assert (request.actor, request.reason) == ("desk", "they lost it")
    assert (request.recipient, request.record_type, request.record_id) == (ann, "family", "F-1")
    assert {row["outcome"] for row in audited(system, api, object="again")} == {"done"}
    assert len(audited(system, api, object="again")) == 2  # each press is one

    with api.client("desk") as client:
        explained = client.get(
            "/api/v1/messages/email", params={"message_id": "again", "recipient": ann}
        )
    assert explained.json()["row"]["attempts"] == 2
    # Somebody who still has the old page open has it sent once more only after a look.
    with api.client(None) as client:
        api.sign_in(client, "desk")
        page = client.get(f"/messages/email?message_id=again&recipient={ann}").text
    assert "Asked to be sent again" in page
    assert "by desk: they lost it" in page


def test_to_a_blacklisted_address_nothing_is_sent_and_staff_read_why(system, api):
    bob = address("bob")
    put(system, "refused", bob, ("bounce", {"bounce_class": "hard", "smtp_code": 550}))
    wait_for(
        lambda: system.rows(f"SELECT * FROM {DATABASE}.suppressions WHERE address = '{bob}'"),
        "the entry",
    )
    reply = press(api, "desk", "refused", bob, reason="try <again>")
    assert reply.status_code == 409
    assert "Not sent again: the address is blacklisted (hard bounce)" in reply.text
    assert 'value="try &lt;again&gt;"' in reply.text
    with api.client("desk") as client:
        body = {"channel": "email", "recipient": bob, "reason": "try again"}
        reply = client.post("/api/v1/messages/refused/resend", json=body)
    assert reply.status_code == 409
    assert reply.json()["detail"] == "not sent again: the address is blacklisted (hard bounce)"
    assert requests(system, "refused") == []
    assert [each[0] for each in events(system, "refused")].count("sent") == 1
    assert {row["outcome"] for row in audited(system, api, object="refused")} == {"refused"}
    # What is said of it is in the message's history, and not in that of the address.
    history = system.command(
        "suppressions", "history", bob, "--tenant", "demo", "--format", "json"
    ).splitlines()
    assert [json.loads(line)["change"] for line in history] == ["added"]


def test_by_the_api_one_idempotency_key_is_one_request(system, api):
    put(system, "text/1", "+442079460018", channel="sms")
    body = {"channel": "sms", "recipient": "+442079460018", "reason": "new phone",
            "idempotency_key": "ticket-7"}  # fmt: skip
    with api.client("desk") as client:
        replies = [client.post("/api/v1/messages/text/1/resend", json=body) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200], replies[0].text
    assert replies[0].json() == replies[1].json()
    assert replies[0].json()["attempt"] == 2
    wait_for(lambda: status(system, "text/1", "sms_log") == "Delivered", "the text")
    assert len(requests(system, "text/1")) == 1


def test_by_the_command_line_too_and_it_is_audited(system, api):
    cy = address("cy")
    put(system, "by-cli", cy)
    done = system.command("resend", "by-cli", cy, "--tenant", "demo", "--reason", "by phone",
                          "--actor", "kim")  # fmt: skip
    assert done == "asked for attempt 2; sendlog explain shows what became of it\n"
    wait_for(lambda: ("sent", 2, "", "") in events(system, "by-cli"), "the second attempt")
    [line] = audited(system, api, object="by-cli")
    assert (line["via"], line["actor"], line["detail"]) == ("cli", "kim", f"{cy}: by phone")
    told = system.command("audit", "--tenant", "demo", "--action", "resend", "--format", "json",
                          "--object", "by-cli")  # fmt: skip
    assert [json.loads(each)["object"] for each in told.splitlines()] == ["by-cli"]
    unknown = system.command("resend", "no-such", cy, "--tenant", "demo", "--reason", "x",
                             check=False)  # fmt: skip
    assert unknown.returncode == 1
    assert "no message 'no-such'" in unknown.stderr


def test_who_may_only_read_sends_nothing(system, api):
    di = address("di")
    put(system, "only-read", di)
    with api.client("reader") as client:
        body = {"channel": "email", "recipient": di, "reason": "x"}
        assert client.post("/api/v1/messages/only-read/resend", json=body).status_code == 403
    with api.client(None) as client:
        api.sign_in(client, "reader")
        url = f"/messages/email?message_id=only-read&recipient={di}"
        page = client.get(url).text
        assert "Send again" not in page
        form = {"token": token_of(page), "once": "x", "reason": "x"}
        assert client.post(url, data=form).status_code == 403
    assert audited(system, api, object="only-read") == []
