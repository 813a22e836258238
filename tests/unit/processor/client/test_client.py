"""A mailer's client without a broker: what it publishes, obeys, and refuses to answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from processor.client import (
    Address,
    Blacklist,
    BlacklistNotReadError,
    MailerClient,
    MailerEvent,
    RecentIds,
    ResendRequested,
    RetryRequested,
    attempt_sent,
    not_sent,
    provider_id_note,
    sent,
)
from processor.client.events import mailer_record
from processor.client.requests import RequestInbox
from processor.intake.event_validator import event_validator
from schemas.decisions import retry_id
from tests.blacklists import suppress

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
ANN = Address("acme", "email", "ann@example.net")
NUMBER = Address("acme", "sms", "+442079460018")


def request(address=ANN, attempt=2, message_id="m1", kind=RetryRequested, **fields):
    return kind(
        id=retry_id(address, message_id, attempt), tenant_id=address.tenant_id,
        channel=address.channel, message_id=message_id, recipient=address.address,
        attempt=attempt, reason="mailbox full", due_at=NOW, **fields,
    )  # fmt: skip


def persons_request(address=ANN):
    return request(address, kind=ResendRequested, actor="Kim")


# ------------------------------------------------------------------------- events


@pytest.mark.parametrize(
    ("event", "topic", "fields"),
    [
        (sent(ANN, "m1", NOW, subject="Hi"), "email.sends", {"kind": "sent", "subject": "Hi"}),
        (
            not_sent(ANN, "m1", NOW, why="no"),
            "email.sends",
            {"kind": "skipped", "diagnostic": "no"},
        ),
        (
            provider_id_note(NUMBER, "m1", NOW, provider="twilio", provider_message_id="SM1"),
            "sms.sends",
            {"kind": "note", "provider": "twilio", "provider_message_id": "SM1", "attempt": 1},
        ),
        (attempt_sent(request(attempt=3), NOW), "email.sends", {"kind": "sent", "attempt": 3}),
    ],
)
def test_an_event_has_what_intake_requires_and_what_was_set_and_nothing_else(event, topic, fields):
    record = mailer_record(event)
    assert record.topic == topic
    value = json.loads(record.value)
    common = {"channel", "tenant_id", "message_id", "recipient", "occurred_at"}
    assert {name: value[name] for name in set(value) - common} == fields
    assert record.key.decode() == f"acme|{event.channel}|{event.recipient}"
    event_validator(event.channel)(record.value)


def test_events_of_one_address_have_one_key_however_it_is_written():
    keys = {
        mailer_record(sent(ANN._replace(address=text), "m1", NOW)).key
        for text in ("ann@example.net", "ANN@Example.NET", "Ann <ann@example.net>")
    }
    assert keys == {b"acme|email|ann@example.net"}


@pytest.mark.parametrize(
    "fields",
    [
        {"subjekt": "Hi"},
        {"event_id": "0" * 32},
        {"recorded_at": NOW},
        {"message_id": ""},
        {"recipient": " "},
        {"occurred_at": NOW.replace(tzinfo=None)},
        {"kind": "suppressed"},
        {"kind": "joined"},
        {"kind": "read"},
    ],
)
def test_what_intake_would_refuse_or_ignore_does_not_leave(fields):
    event = {
        "channel": "email", "kind": "sent", "tenant_id": "acme", "message_id": "m1",
        "recipient": "ann@example.net", "occurred_at": NOW, **fields,
    }  # fmt: skip
    with pytest.raises(ValidationError):
        MailerEvent.model_validate(event)


# ---------------------------------------------------------------------- blacklist


def test_a_blacklist_that_is_not_complete_answers_nothing():
    blacklist = Blacklist()
    suppress(blacklist, ANN)
    for question in (blacklist.is_blacklisted, blacklist.entry):
        with pytest.raises(BlacklistNotReadError, match="1 entries so far"):
            question(*ANN)
    blacklist.set_ready()
    assert blacklist.is_blacklisted(*ANN)
    assert blacklist.entry(*ANN).rule == "hard_bounce"


def test_an_address_is_known_however_it_is_written_and_of_its_tenant_and_channel_alone():
    blacklist = Blacklist()
    suppress(blacklist, ANN)
    suppress(blacklist, NUMBER)
    blacklist.set_ready()
    assert blacklist.is_blacklisted("acme", "email", "Ann <ANN@example.net>")
    assert blacklist.is_blacklisted("acme", "sms", "+44 20 7946 0018")
    assert not blacklist.is_blacklisted("other", "email", "ann@example.net")
    assert blacklist.entry("acme", "email", "bob@example.net") is None


def test_a_tombstone_lifts_an_entry_and_an_entry_that_nobody_can_read_still_counts():
    blacklist = Blacklist()
    suppress(blacklist, ANN)
    blacklist.apply(ANN.key.encode(), None)
    blacklist.apply(ANN.key.encode(), None)
    blacklist.apply(NUMBER.key.encode(), b"{")
    blacklist.set_ready()
    assert not blacklist.is_blacklisted(*ANN)
    assert blacklist.is_blacklisted(*NUMBER)


# ----------------------------------------------------------------------- requests


class Producer:
    """Keeps what it is given; `flushed` is what the broker has."""

    def __init__(self):
        self.pending, self.flushed = [], []

    def __call__(self, _topic, value, **_key):
        self.pending.append(json.loads(value))

    def flush(self):
        self.flushed += self.pending
        self.pending = []


class Requests:
    """A consumer of one partition."""

    def __init__(self, values):
        self.records = [SimpleNamespace(offset=n, value=value) for n, value in enumerate(values)]
        self.position = self.committed = 0
        #: How many events the broker had at each commit.
        self.made_by_commit, self.count = [], lambda: 0

    def poll(self, **_options):
        records, self.position = self.records[self.position :], len(self.records)
        return {"place": records} if records else {}

    def seek(self, _place, offset):
        self.position = offset

    def commit(self, offsets):
        self.committed = offsets["place"].offset
        self.made_by_commit.append(self.count())


class Stage:
    """A client of requests, with a blacklist that is complete."""

    def __init__(self, *requests, made=None, tenants=None):
        values = [each if isinstance(each, bytes) else each.model_dump_json().encode()
                  for each in requests]  # fmt: skip
        self.producer, self.requests, self.blacklist = Producer(), Requests(values), Blacklist()
        self.requests.count = lambda: len(self.producer.flushed)
        self.blacklist.set_ready()
        self.made = RecentIds() if made is None else made
        self.attempts = []
        self.client = MailerClient(
            producer=self.producer, reader=SimpleNamespace(poll=lambda _=0: None),
            blacklist=self.blacklist, requests=self.requests,
            inbox=RequestInbox(self.blacklist, self.made, tenants),
        )  # fmt: skip

    def make_attempt(self, request):
        self.attempts.append((request.message_id, request.attempt))
        return [attempt_sent(request, NOW)]

    def step(self):
        return self.client.step(self.make_attempt)


def test_a_request_is_obeyed_once_answered_and_then_committed():
    stage = Stage(request(), request(), request(attempt=3))
    assert stage.step() == 2
    assert stage.attempts == [("m1", 2), ("m1", 3)]
    assert stage.requests.made_by_commit == [1, 1, 2]
    assert [event["attempt"] for event in stage.producer.flushed] == [2, 3]
    assert stage.requests.committed == 3


def test_what_raises_is_not_committed_and_comes_again_and_what_was_before_it_does_not():
    stage = Stage(request(), request(message_id="m2"), request(message_id="m3"))
    make_attempt = stage.make_attempt

    def fail(each):
        if each.message_id == "m2":
            raise OSError("the provider is away")
        return make_attempt(each)

    with pytest.raises(OSError, match="away"):
        stage.client.step(fail)
    assert (stage.requests.committed, stage.attempts) == (1, [("m1", 2)])
    assert stage.step() == 2
    assert stage.attempts == [("m1", 2), ("m2", 2), ("m3", 2)]
    assert stage.requests.committed == 3


def test_ids_that_a_database_knows_are_not_obeyed_again_after_a_restart():
    made = {request().id}
    stage = Stage(request(), made=made)
    assert stage.step() == 0
    assert stage.requests.committed == 1


def test_nothing_is_sent_to_a_blacklisted_address_and_the_request_stays_open():
    stage = Stage(request(), persons_request())
    suppress(stage.blacklist, ANN)
    assert stage.step() == 0
    [answer] = stage.producer.flushed
    assert (answer["kind"], answer["reason_code"], answer["attempt"]) == (
        "note", "resend_refused", 2,
    )  # fmt: skip
    assert answer["diagnostic"] == "not sent again: the address is blacklisted"
    stage.blacklist.apply(ANN.key.encode(), None)
    stage.requests.position = 0
    assert stage.step() == 1


@pytest.mark.parametrize("address", [ANN, NUMBER])
def test_what_a_person_asks_for_is_typed_and_sent_once_also_if_a_rule_asked_before(address):
    stage = Stage(persons_request(address), request(address))
    requests = []
    stage.client.step(lambda each: requests.append(each) or [])
    [made] = requests
    assert (type(made), made.actor, made.channel) == (ResendRequested, "Kim", address.channel)


def test_another_tenants_requests_and_unreadable_ones_are_passed_over():
    stage = Stage(request(ANN._replace(tenant_id="other")), b"{", request(), tenants={"acme"})
    assert stage.step() == 1
    assert stage.attempts == [("m1", 2)]
    assert stage.requests.committed == 3


def test_recent_ids_forget_the_oldest():
    ids = RecentIds(limit=2)
    for name in "abc":
        ids.add(name)
    assert ["a" in ids, "b" in ids, "c" in ids] == [False, True, True]
