"""What the policy is fed: which events, in which partition, and that they are read as they were."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from processor.intake.policy_feed import chosen_events, entry_of, lines_of, partition_of, to_records
from schemas.addresses import Address
from schemas.decisions import Command
from schemas.events import fingerprint


def entries_of(value):
    return [entry_of(line) for line in lines_of(value)]


NOW = datetime(2026, 11, 2, 9, 0, 0, 123_456, tzinfo=UTC)


def event_fields(kind, **more):
    """Return an event as the decoder has it."""
    fields = {
        "channel": "email", "kind": kind, "tenant_id": "acme", "message_id": "m1",
        "recipient": "jo@example.com", "occurred_at": NOW, "recorded_ms": 1_793_600_000_000, **more,
    }  # fmt: skip
    return {**fields, "event_id": fingerprint(fields)}


@pytest.mark.parametrize(
    ("kind", "more", "is_needed"),
    [
        ("bounce", {}, True), ("complaint", {}, True), ("unsubscribe", {}, True),
        ("resubscribe", {}, True), ("invalid", {"provider": "ses"}, True),
        ("sent", {"attempt": 2}, True), ("sent", {"attempt": 1}, False), ("sent", {}, False),
        ("delivery", {}, False), ("open", {}, False), ("deferral", {}, False),
        ("bounce", {"recipient": ""}, False), ("invalid", {"label": "sendlog"}, False),
    ],
)  # fmt: skip
def test_only_events_that_the_policy_needs_are_fed(kind, more, is_needed):
    events = [event_fields(kind, **more)]
    assert chosen_events(events, set()) == (events if is_needed else [])


def test_of_first_sends_only_those_to_suppressed_addresses_are_fed():
    suppressed = {Address("acme", "email", "jo@example.com")}
    other = event_fields("sent", recipient="ann@example.com")
    assert chosen_events([event_fields("sent"), other], suppressed) == [event_fields("sent")]


def test_events_and_commands_are_read_as_they_were_in_whole_milliseconds():
    command = Command(
        id="c1", command="reset", tenant_id="acme", channel="email", address="jo@example.com",
        actor="Kim", reason="asked by phone", requested_at=NOW,
    )  # fmt: skip
    bounce = event_fields("bounce", bounce_class="soft", smtp_code=452)
    [record] = to_records([bounce], [command], 1)
    (address, event), (also_address, also_command) = entries_of(record.value)
    assert address == also_address == Address("acme", "email", "jo@example.com")
    assert (event.bounce_class, event.smtp_code) == ("soft", 452)
    assert event.occurred_at == NOW.replace(microsecond=123_000)
    assert event.recorded_at == datetime.fromtimestamp(1_793_600_000, UTC)
    assert event.event_id == event_fields("bounce", smtp_code=452)["event_id"]
    assert also_command == command


def test_an_address_is_always_in_the_same_partition_and_addresses_are_spread():
    addresses = [Address("acme", "email", f"a{n}@example.com") for n in range(100)]
    partitions = [partition_of(address, 4) for address in addresses]
    assert set(partitions) == {0, 1, 2, 3}
    assert [partition_of(address, 4) for address in addresses] == partitions
    assert partition_of(Address("acme", "email", "jo@example.com"), 4) == 2


def test_many_events_share_records_of_bounded_size_in_the_partitions_of_their_addresses():
    events = [
        event_fields("bounce", recipient=f"a{n}@example.com", diagnostic="x" * 60_000)
        for n in range(3000)
    ]
    records = to_records(events, [], 2)
    assert 4 <= len(records) <= 12
    for record in records:
        assert len(record.value) < 510_000
        partitions = {partition_of(address, 2) for address, _ in entries_of(record.value)}
        assert partitions == {record.partition}
    assert sum(len(entries_of(record.value)) for record in records) == 3000


@pytest.mark.parametrize("recorded_ms", [-1, 0, 4_102_444_800_000])
def test_a_time_that_an_older_release_fed_and_nothing_can_have_is_none(recorded_ms):
    [record] = to_records([event_fields("bounce", recorded_ms=recorded_ms)], [], 1)
    [(_, event)] = entries_of(record.value)
    assert event.recorded_at is None
    assert event.occurred_at == NOW.replace(microsecond=123_000)


@pytest.mark.parametrize("value", [b"", b"{}", b"no JSON", b'{"fact": {}}', b'{"fact": null}'])
def test_what_is_no_feed_is_refused(value):
    with pytest.raises(ValueError, match=r"\w"):
        entries_of(value)
