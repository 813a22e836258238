"""Chunks become columns and rejections: nothing raises, nothing is lost, each in its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from processor.intake.dead_letters import DeadLetter, to_rows
from processor.intake.decoder import LONG_FIELDS, Decoder
from processor.intake.policy_feed import entry_of, lines_of
from processor.settings import IntakeSettings
from schemas.addresses import Address, NumberRegions
from schemas.events import KINDS_BY_CHANNEL, MessageEvent, fingerprint
from schemas.providers import adapters, version_of
from schemas.providers import decode as decode_payload
from tests.chunks import chunk_of, ses_bounce
from tests.mailboxes import mails

DECODER = Decoder(IntakeSettings(feeds={"ses": "acme"}), max_record_bytes=10_000)


EVENT = {
    "channel": "email", "kind": "sent", "tenant_id": "t", "message_id": "m",
    "recipient": " Jo@Example.COM ", "occurred_at": "2026-11-01T10:00:00.123456+02:00",
}  # fmt: skip


def record(value, *, topic="email.sends", offset=0, headers=()):
    return SimpleNamespace(
        topic=topic, partition=3, offset=offset, timestamp=1_793_550_000_000, value=value,
        headers=headers,
    )  # fmt: skip


def value_of(**changes):
    return json.dumps({**EVENT, **changes}).encode()


def decode(records):
    return DECODER(chunk_of(records))


def dead_letters_of(decoded):
    return [DeadLetter.of(decoded.chunk, rejection) for rejection in decoded.rejections]


def test_an_event_becomes_a_row_with_its_provenance():
    decoded = decode([record(value_of(), offset=41)])
    [row] = decoded.events.to_pylist()
    assert row["recipient"] == b"jo@example.com"
    assert row["occurred_at"] == datetime(2026, 11, 1, 8, 0, 0, 123_000, tzinfo=UTC)
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == (
        b"email.sends", 3, 41,
    )  # fmt: skip
    assert len(row["event_id"]) == 32
    assert row["recorded_at"].timestamp() == 1_793_550_000


def test_attempt_zero_is_the_first_attempt_in_the_row_as_in_the_fingerprint():
    decoded = decode([record(value_of(attempt=number), offset=number) for number in (0, 1)])
    rows = decoded.events.to_pylist()
    assert [row["attempt"] for row in rows] == [1, 1]
    assert rows[0]["event_id"] == rows[1]["event_id"]


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize(
    ("channel", "text", "address", "error"),
    [
        ("email", "Jo <JO@bücher.example>", "jo@xn--bcher-kva.example", False),
        ("sms", "+44 (20) 7946-0018", "+442079460018", False),
        ("sms", "(201) 555-0123", "+12015550123", False),
        ("email", "Nobody", "nobody", True),
    ],
)
def test_a_recipient_has_one_form_for_log_and_rules(channel, text, address, error, count):
    decode_all = Decoder(
        IntakeSettings(), max_record_bytes=10_000, regions=NumberRegions("GB", {"t": "US"})
    )
    kind = "bounce" if channel == "email" else "opt_out"
    value = value_of(recipient=text, channel=channel, kind=kind)
    topic = f"{channel}.sends"
    decoded = decode_all(chunk_of([record(value, topic=topic, offset=n) for n in range(count)]))
    rows = decoded.events.to_pylist()
    assert {row["recipient"].decode() for row in rows} == {address}
    assert {bool(row["recipient_error"]) for row in rows} == {error}
    entries = [entry for r in decoded.policy_records for entry in map(entry_of, lines_of(r.value))]
    assert {entry.address for entry, _ in entries} == {address}
    # The fingerprint is that of before there was a normal form: copies of old events are no new
    # ones.
    assert {row["event_id"].decode() for row in rows} == {
        fingerprint({**EVENT, "channel": channel, "kind": kind, "recipient": text.strip().lower(),
                     "occurred_at": datetime.fromisoformat(EVENT["occurred_at"])})
    }  # fmt: skip


def test_a_send_is_known_to_go_to_a_suppressed_address_however_it_is_written():
    suppressed = {Address("t", "email", "jo@xn--bcher-kva.example")}
    decode_all = Decoder(IntakeSettings(), max_record_bytes=10_000, suppressed=suppressed)
    decoded = decode_all(chunk_of([record(value_of(recipient="Jo@Bücher.example"))]))
    assert decoded.policy_records


def test_a_command_about_a_number_without_a_country_is_of_the_tenant_s():
    command = {
        "id": "c1", "command": "add", "tenant_id": "t", "channel": "sms",
        "address": "(201) 555-0123", "actor": "jo", "reason": "asked",
    }  # fmt: skip
    decode_all = Decoder(IntakeSettings(), max_record_bytes=10_000, regions=NumberRegions("US"))
    decoded = decode_all(
        chunk_of([record(json.dumps(command).encode(), topic="delivery.commands")])
    )
    [entry] = [entry for r in decoded.policy_records for entry in map(entry_of, lines_of(r.value))]
    assert entry[0] == Address("t", "sms", "+12015550123")


RECORDED = datetime.fromtimestamp(1_793_550_000, UTC)  # that of `record`


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize(
    ("occurred_at", "dated"),
    [
        (RECORDED + timedelta(minutes=5), RECORDED + timedelta(minutes=5)),
        (RECORDED + timedelta(hours=1), RECORDED),
        (datetime(2099, 1, 1, tzinfo=UTC), RECORDED),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (datetime(1990, 1, 1, tzinfo=UTC), RECORDED),
    ],
)
def test_a_time_that_cannot_be_is_that_of_the_record_for_log_and_rules(occurred_at, dated, count):
    value = value_of(kind="bounce", occurred_at=occurred_at.isoformat())
    decoded = decode([record(value, offset=offset) for offset in range(count)])
    assert {row["occurred_at"] for row in decoded.events.to_pylist()} == {dated}
    entries = [entry for r in decoded.policy_records for entry in map(entry_of, lines_of(r.value))]
    assert {event.occurred_at for _, event in entries} == {dated}
    assert {row["event_id"].decode() for row in decoded.events.to_pylist()} == {
        fingerprint({**EVENT, "recipient": "jo@example.com", "kind": "bounce",
                     "occurred_at": occurred_at})
    }  # fmt: skip


def test_a_record_without_a_usable_time_bounds_none():
    odd = record(value_of())
    odd.timestamp = 0
    [row] = decode([odd]).events.to_pylist()
    assert row["occurred_at"].year == 2026


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "the record has no value"), (b"x" * 10_001, "over the limit of 10,000")],
)
def test_a_record_of_a_feed_without_a_value_or_with_too_large_a_one_is_named_as_that(value, reason):
    decoded = decode([record(value, topic="email.events.ses"), record(b"{", topic="x")])
    assert reason in decoded.rejections[0].reason


def test_a_provider_s_time_that_cannot_be_is_that_of_the_record():
    value = json.dumps({
        "eventType": "Open", "mail": {"messageId": "m", "destination": ["jo@example.com"]},
        "open": {"timestamp": "2099-01-01T00:00:00.000Z"},
    }).encode()  # fmt: skip
    [row] = decode([record(value, topic="email.events.ses")]).events.to_pylist()
    assert row["occurred_at"] == RECORDED


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the record has no value"),
        (b"", "payload: Invalid JSON"),
        (b"{", "payload: Invalid JSON"),
        (b"[]", "payload: Input should be an object"),
        (value_of(recipient=" "), "recipient: String should have at least 1 character"),
        (value_of(message_id=""), "message_id: String should have at least 1 character"),
        (value_of(kind="teleported"), "kind: Input should be 'bounce', "),
        (value_of(kind="read"), "kind: Input should be 'bounce', "),
        (value_of(channel="sms", kind="sent"), "channel: Input should be 'email'"),
        (value_of(occurred_at="2026-11-01T10:00:00"), "occurred_at: "),
        (value_of(occurred_at="1970-01-01T00:00:00Z"), "occurred_at: "),
        (value_of(occurred_at="2999-01-01T00:00:00Z"), "occurred_at: "),
        (value_of(attempt="many"), "attempt: "),
        (value_of(attempt=70_000), "attempt: "),
        (b'{"subject": "' + b"x" * 10_000 + b'"}', "over the limit of 10,000"),
    ],
)
def test_a_bad_event_is_a_dead_letter_that_names_the_cause(value, reason):
    decoded = decode(
        [record(value_of(), offset=7), record(value, offset=8), record(value_of(), offset=9)]
    )
    assert decoded.events["source_offset"].to_pylist() == [7, 9]
    [dead_letter] = dead_letters_of(decoded)
    assert dead_letter.offset == 8
    assert reason in dead_letter.reason
    assert dead_letter.raw == (value or b"")
    assert to_rows([dead_letter], datetime.now(UTC)).num_rows == 1


def test_an_event_id_from_outside_is_not_taken():
    forged = decode([record(value_of(event_id="0" * 32, source={"topic": "x"}))])
    honest = decode([record(value_of())])
    assert forged.events["event_id"] == honest.events["event_id"]


@pytest.mark.parametrize("time", ["2026-11-01T13:30:00.123999+05:30", "2026-11-01T08:00:00.123Z"])
def test_a_row_has_the_fingerprint_of_its_event_in_whole_milliseconds_of_utc(time):
    decoded = decode(
        [record(value_of(occurred_at=time)), record(value_of(occurred_at=time, smtp_code=250))]
    )
    event = EVENT | {
        "recipient": "jo@example.com",
        "occurred_at": datetime(2026, 11, 1, 8, 0, 0, 123_000, tzinfo=UTC),
    }
    expected = {fingerprint(event), fingerprint(event | {"smtp_code": 250})}
    event_ids = {event_id.decode() for event_id in decoded.events["event_id"].to_pylist()}
    assert event_ids == expected


@pytest.mark.parametrize("channel", KINDS_BY_CHANNEL)
def test_a_decision_may_be_about_either_channel_and_no_message(channel):
    kinds = [*KINDS_BY_CHANNEL[channel], "teleported"]
    decoded = decode([
        record(value_of(channel=channel, message_id="", kind=kind), topic="delivery.decisions")
        for kind in kinds
    ])  # fmt: skip
    assert decoded.events.num_rows == len(KINDS_BY_CHANNEL[channel])
    [dead_letter] = dead_letters_of(decoded)
    assert dead_letter.reason.startswith(f"{channel}.kind: Input should be ")


def test_null_is_as_good_as_absent():
    decoded = decode([record(value_of(subject=None, attempt=None, tags=None, machine=None))])
    assert decoded.rejections == []
    assert decoded.events["event_id"] == decode([record(value_of())]).events["event_id"]


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
    for feed_record in (empty_ones_too, without):
        assert decode([feed_record]).events["tenant_id"].to_pylist() == [decides]


def test_a_replayed_record_keeps_the_time_of_its_first_arrival():
    headers = (("sendlog-recorded-at", b"1700000000000"),)
    body = b"MessageStatus=sent&To=%2B12015550123&MessageSid=SM1"
    decoded = decode([record(body, topic="sms.events.twilio", headers=headers)])
    assert decoded.events["occurred_at"][0].as_py().timestamp() == 1_700_000_000


@pytest.mark.parametrize("topic", ["email.sends", "sms.events.twilio"])
@pytest.mark.parametrize(
    ("timestamp", "headers"),
    [
        (0, ()), (-1, ()), (None, ()), (1_795_000_000, ()), (1_795_000_000_000_000, ()),
        (4_102_444_800_000, ()), (1_793_500_000_000, (("sendlog-recorded-at", b"1795000000"),)),
    ],
)  # fmt: skip
def test_a_record_without_a_plausible_time_has_that_of_its_reading(topic, timestamp, headers):
    value = {
        "email.sends": value_of(),
        "sms.events.twilio": b"MessageStatus=sent&To=%2B12015550123&MessageSid=SM1",
    }[topic]
    timed = record(value, topic=topic, headers=headers)
    timed.timestamp = timestamp
    before = datetime.now(UTC)
    [row] = decode([timed]).events.to_pylist()
    assert before - timedelta(seconds=1) < row["recorded_at"] <= datetime.now(UTC)
    if topic == "sms.events.twilio":  # which has no time of its own
        assert row["occurred_at"] == row["recorded_at"]


def test_a_feed_without_an_adapter_is_dead_not_silent():
    decoded = decode([record(b"x", topic="sms.events.acme")])
    assert dead_letters_of(decoded)[0].reason == "no adapter for provider 'acme' of channel 'sms'"
    decoded = decode([record(b"x", topic="sms.events.ses")])
    assert "no adapter for provider 'ses' of channel 'sms'" in dead_letters_of(decoded)[0].reason


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
    values = (value_of(), b"MessageStatus=sent&To=%2B12015550123&MessageSid=SM1", b"\xff", None)
    decoded = decode(
        [record(v, topic=topic, offset=n, headers=headers) for n, v in enumerate(values)]
    )
    assert decoded.events.num_rows + len(dead_letters_of(decoded)) == len(values)


def test_an_unmatched_event_that_nobody_foresaw_spares_its_neighbours(monkeypatch):
    def explode(groups):
        if any(event["recipient"] == "r-1@example.com" for g in groups for event in g.events):
            raise ZeroDivisionError

    monkeypatch.setattr("processor.intake.decoder.bound_times", explode)
    chunk = chunk_of([
        record(ses_bounce(3, "s"), topic="email.events.ses", offset=7),
        record(b"rubbish", topic="email.events.ses", offset=8),
    ])  # fmt: skip
    decoded = DECODER.begin(chunk)
    assert (decoded.events.num_rows, len(decoded.unmatched), decoded.row_count) == (0, 3, 4)
    DECODER.complete([decoded])
    assert decoded.events["recipient"].to_pylist() == [b"r-0@example.com", b"r-2@example.com"]
    bad, unforeseen = dead_letters_of(decoded)
    assert bad.offset == 8
    assert (unforeseen.offset, unforeseen.reason) == (
        7, "cannot be read: unexpected ZeroDivisionError",
    )  # fmt: skip
    assert not decoded.unmatched


def test_unmatched_events_have_the_ids_that_are_known_when_they_are_completed():
    def resolve(events):
        for event in events:
            event.update({"message_id": "m-1", "other_id": "ses-1", "event_id": "1" * 32})

    decoder = Decoder(IntakeSettings(), max_record_bytes=10_000, resolve=resolve)
    repeated = chunk_of([record(ses_bounce(1, "s"), topic="email.events.ses")])
    again = decoder(repeated._replace(is_repeated=True))
    assert again.events["message_id"].to_pylist() == [b"ses-1"]  # it is joined when it is written
    chunks = [
        decoder.begin(chunk_of([record(ses_bounce(1, "s"), topic="email.events.ses", offset=n)]))
        for n in range(2)
    ]
    weights = [each.byte_count for each in chunks]
    decoder.complete(chunks)
    for decoded in chunks:
        assert decoded.events["message_id"].to_pylist() == [b"m-1"]
        assert decoded.events["adapter_version"].to_pylist() == [version_of(adapters()["ses"])]
        assert decoded.policy_records
    assert min(weights) > 2_000


@pytest.mark.parametrize("min_column_events", [1, 64], ids=["by column", "by event"])
def test_what_nobody_foresaw_becomes_one_dead_letter_and_spares_its_neighbours(
    monkeypatch, min_column_events
):
    def explode(event):
        if event["message_id"] == "odd":
            raise ZeroDivisionError
        return "0" * 32

    def explode_all(columns, times):
        if "odd" in columns["message_id"]:
            raise ZeroDivisionError
        return ["0" * 32] * len(times)

    monkeypatch.setattr("processor.intake.arrow.MIN_COLUMN_EVENTS", min_column_events)
    monkeypatch.setattr("processor.intake.arrow.fingerprint", explode)
    monkeypatch.setattr("processor.intake.arrow.fingerprints", explode_all)
    values = [value_of(), value_of(message_id="odd"), value_of()]
    decoded = decode([record(value, offset=n) for n, value in enumerate(values)])
    assert decoded.events["source_offset"].to_pylist() == [0, 2]
    [dead_letter] = dead_letters_of(decoded)
    assert (dead_letter.offset, dead_letter.reason) == (
        1,
        "cannot be read: unexpected ZeroDivisionError",
    )


@pytest.mark.parametrize(("elements", "dead_letters"), [(100, 100), (101, 1), (3000, 1)])
def test_a_record_of_very_many_bad_elements_is_one_dead_letter(elements, dead_letters):
    value = json.dumps([1] * elements).encode()
    dead = dead_letters_of(decode([record(value, topic="sms.events.twilio")]))
    assert len(dead) == dead_letters
    if dead_letters == 1:
        assert dead[0].reason.startswith(f"{elements:,} elements cannot be read, the first: ")
        assert dead[0].raw == value


def says_nothing(topic, value):
    """Return whether an adapter reads a payload and finds neither an event nor anything bad."""
    if value is None:
        return False
    adapter = adapters()[topic.rpartition(".")[2]]
    read = decode_payload(adapter, value, {}, 1_793_500_000_000, "t")
    return not read.events and not read.rejected


@given(
    values=st.lists(
        st.none() | st.binary(max_size=60) | st.just(value_of()) | st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*EVENT, "attempt", "tags"]), inner, max_size=6),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
        min_size=1, max_size=12,
    ),
    topic=st.sampled_from(
        ["email.sends", "sms.sends", "delivery.decisions", "email.events.ses", "sms.events.twilio"]
    ),
)  # fmt: skip
def test_every_record_is_an_event_a_dead_letter_or_nothing_to_log(values, topic):
    decoded = decode([record(value, topic=topic, offset=n) for n, value in enumerate(values)])
    offsets = set(decoded.events["source_offset"].to_pylist())
    dead_letters = dead_letters_of(decoded)
    offsets |= {dead_letter.offset for dead_letter in dead_letters}
    if "events" not in topic:
        assert offsets == set(range(len(values)))
    else:  # a push may say nothing that is logged, if it can be read
        lost = set(range(len(values))) - offsets
        assert all(says_nothing(topic, values[offset]) for offset in lost)
    assert all(dead_letter.reason for dead_letter in dead_letters)


COMMAND = json.dumps({
    "id": "c1", "command": "add", "tenant_id": "acme", "channel": "email", "actor": "Kim",
    "address": "jo@example.com", "reason": "asked by phone",
}).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "it is no command as JSON: EOF while parsing"),
        (b"", "it is no command as JSON: EOF while parsing"),
        (b"{", "it is no command as JSON: EOF while parsing"),
        (b"[]", "it is no command as JSON: "),
        (b"7", "it is no command as JSON: "),
        (COMMAND.replace(b'"add"', b'"forget"'), "command: Input should be "),
        (COMMAND.replace(b'"c1"', b'""'), "id: String should have at least 1 character"),
    ],
)
def test_a_bad_command_is_a_dead_letter_that_names_the_cause(value, reason):
    values = [COMMAND, value, COMMAND]
    decoded = decode(
        [record(each, topic="delivery.commands", offset=n) for n, each in enumerate(values)]
    )
    [dead_letter] = dead_letters_of(decoded)
    assert (dead_letter.topic, dead_letter.offset) == ("delivery.commands", 1)
    assert dead_letter.raw == (value or b"")
    assert dead_letter.reason.startswith(reason)
    assert sum(len(lines_of(fed.value)) for fed in decoded.policy_records) == 2


@pytest.mark.parametrize(
    ("topic", "values", "rows", "all_rejected"),
    [
        ("email.sends", [value_of()], 1, False),
        ("email.sends", [b"x"], 1, True),
        ("email.sends", [value_of(), b"x"], 2, False),
        ("delivery.commands", [COMMAND], 1, False),
        ("delivery.commands", [COMMAND, b"x"], 2, False),
        ("delivery.commands", [b"x", b"x"], 2, True),
        ("email.events.ses", [b'{"Type": "SubscriptionConfirmation", "Message": ""}'], 1, False),
        ("email.events.sendgrid", [b"[1, 2, 3]"], 3, True),
        ("email.events.sendgrid", [b'[1, 2, {"event": "dropped"}]', b"x"], 4, False),
    ],
)
def test_what_came_of_a_chunk_is_its_room_and_whether_all_of_it_was_bad(
    topic, values, rows, all_rejected
):
    decoded = decode([record(value, topic=topic, offset=n) for n, value in enumerate(values)])
    assert decoded.row_count == rows
    assert decoded.is_all_rejected == all_rejected


def test_the_fields_that_are_weighed_are_all_that_may_be_long():
    limits = {
        name: next((each.max_length for each in field.metadata if hasattr(each, "max_length")), 0)
        for name, field in MessageEvent.model_fields.items()
    }  # fmt: skip
    assert tuple(name for name, limit in limits.items() if limit > 512) == LONG_FIELDS


@pytest.mark.parametrize(
    ("recipients", "subject", "reason"),
    [
        (50, 900, ""),
        (9_000, 0, ""),
        (25_000, 10, "it gives 25,000 events, and the limit is 10,000"),
        (5_000, 60_000, " bytes become 5,000 events with "),
    ],
)
def test_a_record_that_becomes_too_much_is_one_dead_letter_that_says_so(
    recipients, subject, reason
):
    value = ses_bounce(recipients, "s" * subject)
    decoder = Decoder(IntakeSettings(), max_record_bytes=len(value))
    records = [
        record(value, topic="email.events.ses", offset=1),
        record(ses_bounce(1, "s"), topic="email.events.ses", offset=2),
    ]
    decoded = decoder(chunk_of(records))
    if not reason:
        assert decoded.events.num_rows == recipients + 1
        return
    [rejection] = decoded.rejections
    assert reason in rejection.reason
    assert decoded.events["source_offset"].to_pylist() == [2]
    assert decoded.byte_count < 2 * sum(len(each.value) for each in records)


def test_what_is_about_no_message_and_what_names_none_is_counted():
    labels = {
        "sendlog_ignored_records_total": {"provider": "reports"},
        "sendlog_unmatched_events_total": {"provider": "reports", "tenant": "default"},
    }

    def counts():
        return [REGISTRY.get_sample_value(*each) or 0 for each in labels.items()]

    before, reports = counts(), mails()
    topic = "email.events.reports"
    decoded = decode([
        record(reports[name], topic=topic, offset=offset)
        for offset, name in enumerate(["holiday", "postfix", "no-message", "read", "unknown-form"])
    ])  # fmt: skip
    assert decoded.events.num_rows == 2
    assert len(decoded.rejections) == 1
    assert [now - earlier for now, earlier in zip(counts(), before, strict=True)] == [2, 1]


@pytest.mark.parametrize("count", [1, 100])
def test_an_event_has_its_adapters_version_which_is_no_part_of_its_identity(monkeypatch, count):
    records = [
        record(ses_bounce(1, f"s{n}"), topic="email.events.ses", offset=n) for n in range(count)
    ]
    before = decode(records).events
    assert set(before["adapter_version"].to_pylist()) == {1}
    monkeypatch.setattr(adapters()["ses"], "VERSION", 7, raising=False)
    after = decode(records).events
    assert set(after["adapter_version"].to_pylist()) == {7}
    assert after["event_id"].equals(before["event_id"])


def test_a_mailers_own_event_has_no_adapters_version_whatever_it_says():
    decoded = decode([record(value_of(adapter_version=9))])
    assert decoded.events["adapter_version"].to_pylist() == [0]
