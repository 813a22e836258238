"""Chunks become columns and dead letters: nothing raises, nothing is lost, each in its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.intake.decoder import Decoder, dead_letter_rows
from processor.settings import Intake
from schemas.events import KINDS, fingerprint
from tests.chunks import chunk_of

DECODER = Decoder(Intake(feeds={"ses": "acme"}), max_record_bytes=10_000)


def decoded(records):
    return DECODER(chunk_of(records))


FACT = {
    "channel": "email", "kind": "sent", "tenant_id": "t", "message_id": "m",
    "recipient": " Jo@Example.COM ", "occurred_at": "2026-11-01T10:00:00.123456+02:00",
}  # fmt: skip


def record(value, *, topic="email.sends", offset=0, headers=()):
    return SimpleNamespace(
        topic=topic, partition=3, offset=offset, timestamp=1_793_500_000_000, value=value,
        headers=headers,
    )  # fmt: skip


def one(**changes):
    return json.dumps({**FACT, **changes}).encode()


def test_a_fact_becomes_a_row_with_its_provenance():
    batch = decoded([record(one(), offset=41)])
    [row] = batch.events.to_pylist()
    assert row["recipient"] == b"jo@example.com"
    assert row["occurred_at"] == datetime(2026, 11, 1, 8, 0, 0, 123_000, tzinfo=UTC)
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == (
        b"email.sends", 3, 41,
    )  # fmt: skip
    assert len(row["event_id"]) == 32
    assert row["recorded_at"].timestamp() == 1_793_500_000


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the record has no value"),
        (b"", "payload: Invalid JSON"),
        (b"{", "payload: Invalid JSON"),
        (b"[]", "payload: Input should be an object"),
        (one(recipient=" "), "recipient: String should have at least 1 character"),
        (one(message_id=""), "message_id: String should have at least 1 character"),
        (one(kind="teleported"), "kind: Input should be 'bounce', "),
        (one(kind="read"), "kind: Input should be 'bounce', "),
        (one(channel="sms", kind="sent"), "channel: Input should be 'email'"),
        (one(occurred_at="2026-11-01T10:00:00"), "occurred_at: "),
        (one(occurred_at="1970-01-01T00:00:00Z"), "occurred_at: "),
        (one(occurred_at="2999-01-01T00:00:00Z"), "occurred_at: "),
        (one(attempt="many"), "attempt: "),
        (one(attempt=70_000), "attempt: "),
        (b'{"subject": "' + b"x" * 10_000 + b'"}', "over the limit of 10,000"),
    ],
)
def test_a_bad_fact_is_a_dead_letter_that_names_the_cause(value, reason):
    batch = decoded([record(one(), offset=7), record(value, offset=8), record(one(), offset=9)])
    assert batch.events["source_offset"].to_pylist() == [7, 9]
    [letter] = batch.dead
    assert letter.offset == 8
    assert reason in letter.reason
    assert letter.raw == (value or b"")
    assert dead_letter_rows(batch.dead, datetime.now(UTC)).num_rows == 1


def test_an_event_id_from_outside_is_not_taken():
    forged = decoded([record(one(event_id="0" * 32, source={"topic": "x"}))])
    honest = decoded([record(one())])
    assert forged.events["event_id"] == honest.events["event_id"]


@pytest.mark.parametrize("time", ["2026-11-01T13:30:00.123999+05:30", "2026-11-01T08:00:00.123Z"])
def test_a_row_has_the_fingerprint_of_its_fact_in_whole_milliseconds_of_utc(time):
    batch = decoded([record(one(occurred_at=time)), record(one(occurred_at=time, smtp_code=250))])
    told = FACT | {
        "recipient": "jo@example.com",
        "occurred_at": datetime(2026, 11, 1, 8, 0, 0, 123_000, tzinfo=UTC),
    }
    wanted = {fingerprint(told), fingerprint(told | {"smtp_code": 250})}
    assert {each.decode() for each in batch.events["event_id"].to_pylist()} == wanted


@pytest.mark.parametrize("channel", KINDS)
def test_a_decision_may_be_about_either_channel_and_no_message(channel):
    kinds = [*KINDS[channel], "teleported"]
    batch = decoded([
        record(one(channel=channel, message_id="", kind=kind), topic="delivery.decisions")
        for kind in kinds
    ])  # fmt: skip
    assert batch.events.num_rows == len(KINDS[channel])
    [letter] = batch.dead
    assert letter.reason.startswith(f"{channel}.kind: Input should be ")


def test_null_is_as_good_as_absent():
    batch = decoded([record(one(subject=None, attempt=None, tags=None, machine=None))])
    assert batch.dead == []
    assert batch.events["event_id"] == decoded([record(one())]).events["event_id"]


@pytest.mark.parametrize(
    ("header", "metadata", "default", "decides"),
    [
        (b"header", "metadata", b"default", b"header"),
        (b"header", "", b"", b"header"),
        (b"", "metadata", b"default", b"metadata"),
        (b"", "metadata", b"", b"metadata"),
        (b"", "", b"default", b"default"),
        (b"", "", b"", b"acme"),
    ],
)
def test_a_feed_takes_its_tenant_from_header_then_metadata_then_default_then_settings(
    header, metadata, default, decides
):
    tags = {"tags": {"tenant_id": [metadata]}} if metadata else {}
    body = json.dumps({
        "eventType": "Send",
        "mail": {
            "timestamp": "2026-11-01T10:00:00Z", "messageId": "p", "destination": ["a@b.c"], **tags
        },
    }).encode()  # fmt: skip
    headers = (("Sendlog-Tenant", header), ("sendlog-default-tenant", default))
    empty_ones_too = record(body, topic="email.events.ses", headers=headers)
    without = record(
        body, topic="email.events.ses", headers=tuple(pair for pair in headers if pair[1])
    )
    for each in (empty_ones_too, without):
        assert decoded([each]).events["tenant_id"].to_pylist() == [decides]


def test_a_replayed_record_keeps_the_time_of_its_first_arrival():
    headers = (("sendlog-recorded-at", b"1700000000000"),)
    body = b"MessageStatus=sent&To=%2B12015550123&MessageSid=SM1"
    batch = decoded([record(body, topic="sms.events.twilio", headers=headers)])
    assert batch.events["occurred_at"][0].as_py().timestamp() == 1_700_000_000


def test_a_feed_without_an_adapter_is_dead_not_silent():
    batch = decoded([record(b"x", topic="sms.events.acme")])
    assert batch.dead[0].reason == "no adapter for provider 'acme' of channel 'sms'"
    batch = decoded([record(b"x", topic="sms.events.ses")])
    assert "no adapter for provider 'ses' of channel 'sms'" in batch.dead[0].reason


@pytest.mark.parametrize("topic", ["email.sends", "sms.events.twilio"])
@pytest.mark.parametrize(
    "headers",
    [
        (("x", None),),
        (("sendlog-recorded-at", None),),
        (("sendlog-recorded-at", b"99999999999999999999"),),
        (("sendlog-recorded-at", b"soon"),),
    ],
)
def test_a_silly_header_does_no_harm(topic, headers):
    values = (one(), b"MessageStatus=sent&To=%2B12015550123&MessageSid=SM1", b"\xff", None)
    batch = decoded(
        [record(v, topic=topic, offset=n, headers=headers) for n, v in enumerate(values)]
    )
    assert batch.events.num_rows + len(batch.dead) == len(values)


@pytest.mark.parametrize("few", [1, 64], ids=["by column", "by event"])
def test_what_nobody_foresaw_becomes_one_dead_letter_and_spares_its_neighbours(monkeypatch, few):
    def explode(event):
        if event["message_id"] == "odd":
            raise ZeroDivisionError
        return "0" * 32

    def explode_all(columns, times):
        if "odd" in columns["message_id"]:
            raise ZeroDivisionError
        return ["0" * 32] * len(times)

    monkeypatch.setattr("processor.intake.arrow._FEW", few)
    monkeypatch.setattr("processor.intake.arrow.fingerprint", explode)
    monkeypatch.setattr("processor.intake.arrow.fingerprints", explode_all)
    values = [one(), one(message_id="odd"), one()]
    batch = decoded([record(value, offset=n) for n, value in enumerate(values)])
    assert batch.events["source_offset"].to_pylist() == [0, 2]
    [letter] = batch.dead
    assert (letter.offset, letter.reason) == (1, "cannot be read: unexpected ZeroDivisionError")


def test_a_record_of_very_many_bad_elements_is_one_dead_letter():
    value = json.dumps([1] * 3000).encode()
    [letter] = decoded([record(value, topic="sms.events.twilio")]).dead
    assert letter.reason.startswith("3,000 elements cannot be read, the first: ")
    assert letter.raw == value


@given(
    values=st.lists(
        st.none() | st.binary(max_size=60) | st.just(one()) | st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*FACT, "attempt", "tags"]), inner, max_size=6),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
        min_size=1, max_size=12,
    ),
    topic=st.sampled_from(
        ["email.sends", "sms.sends", "delivery.decisions", "email.events.ses", "sms.events.twilio"]
    ),
)  # fmt: skip
def test_every_record_is_an_event_a_dead_letter_or_nothing_to_log(values, topic):
    chunk = [record(value, topic=topic, offset=n) for n, value in enumerate(values)]
    batch = decoded(chunk)
    seen = set(batch.events["source_offset"].to_pylist()) | {letter.offset for letter in batch.dead}
    if "events" not in topic:
        assert seen == set(range(len(values)))
    assert all(letter.reason for letter in batch.dead)
