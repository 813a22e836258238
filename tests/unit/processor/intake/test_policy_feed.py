"""What the rules are fed: which facts, in which partition, and that they come back as they were."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from processor.intake.policy_feed import chosen, entries, partition_of, to_records
from schemas.addresses import Address
from schemas.decisions import Command
from schemas.events import fingerprint

NOW = datetime(2026, 11, 2, 9, 0, 0, 123_456, tzinfo=UTC)


def event(kind, **more):
    known = {
        "channel": "email", "kind": kind, "tenant_id": "acme", "message_id": "m1",
        "recipient": "jo@example.com", "occurred_at": NOW, "recorded_at": 1_793_600_000_000, **more,
    }  # fmt: skip
    return {**known, "event_id": fingerprint(known)}


@pytest.mark.parametrize(
    ("kind", "more", "fed"),
    [
        ("bounce", {}, True), ("complaint", {}, True), ("unsubscribe", {}, True),
        ("resubscribe", {}, True), ("invalid", {"provider": "ses"}, True),
        ("sent", {"attempt": 2}, True), ("sent", {"attempt": 1}, False), ("sent", {}, False),
        ("delivery", {}, False), ("open", {}, False), ("deferral", {}, False),
        ("bounce", {"recipient": ""}, False), ("invalid", {"label": "sendlog"}, False),
    ],
)  # fmt: skip
def test_only_facts_about_trouble_are_fed(kind, more, fed):
    facts = [event(kind, **more)]
    assert chosen(facts, set()) == (facts if fed else [])


def test_of_first_sends_only_those_to_listed_addresses_are_fed():
    listed = {Address("acme", "email", "jo@example.com")}
    other = event("sent", recipient="ann@example.com")
    assert chosen([event("sent"), other], listed) == [event("sent")]


def test_facts_and_commands_come_back_as_they_were_in_whole_milliseconds():
    command = Command(
        id="c1", command="reset", tenant_id="acme", channel="email", address="jo@example.com",
        actor="Kim", reason="asked by phone", asked_at=NOW,
    )  # fmt: skip
    [record] = to_records([event("bounce", bounce_class="soft", smtp_code=452)], [command], 1)
    (whose, fact), (also, same) = entries(record.value)
    assert whose == also == Address("acme", "email", "jo@example.com")
    assert (fact.bounce_class, fact.smtp_code) == ("soft", 452)
    assert fact.occurred_at == NOW.replace(microsecond=123_000)
    assert fact.event_id == event("bounce", smtp_code=452)["event_id"]
    assert same == command


def test_an_address_is_always_in_the_same_partition_and_addresses_are_spread():
    whose = [Address("acme", "email", f"a{n}@example.com") for n in range(100)]
    assert {partition_of(each, 4) for each in whose} == {0, 1, 2, 3}
    assert [partition_of(each, 4) for each in whose] == [partition_of(each, 4) for each in whose]
    assert partition_of(Address("acme", "email", "jo@example.com"), 4) == 2


def test_many_facts_share_records_of_bounded_size_in_the_partitions_of_their_addresses():
    facts = [
        event("bounce", recipient=f"a{n}@example.com", diagnostic="x" * 60_000) for n in range(3000)
    ]
    records = to_records(facts, [], 2)
    assert 4 <= len(records) <= 12
    for record in records:
        assert len(record.value) < 510_000
        assert {partition_of(whose, 2) for whose, _ in entries(record.value)} == {record.partition}
    assert sum(len(entries(record.value)) for record in records) == 3000


@pytest.mark.parametrize("value", [b"", b"{}", b"no JSON", b'{"fact": {}}', b'{"fact": null}'])
def test_what_is_no_feed_is_refused(value):
    with pytest.raises(ValueError, match=r"\w"):
        entries(value)
