"""Addresses from before are brought to their normal form, and nothing is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.readdress import readdress
from projections.queries import suppressions
from projections.queries.listing import Filter, Listing
from projections.queries.page import read_listing
from schemas.addresses import Address, NumberRegions
from tests.clickhouse import connect_to
from tests.integration.projections.clickhouse.test_migrate import event, put

NOW = datetime(2026, 11, 1, tzinfo=UTC)
JO = Address("t", "email", "jo@xn--bcher-kva.example")
REGIONS = NumberRegions("", {"t": "US"})


@pytest.fixture
def database(fresh_database):
    client = connect_to(fresh_database.url)
    target = Target(fresh_database.name)
    list(migrate(client, target))
    put(
        client, target.database,
        event(1, recipient="jo@bücher.example", record_id="F1"),
        event(2, recipient="jo@bücher.example", kind="delivery", message_id="m1"),
        event(3, recipient=JO.address, kind="open", message_id="m1"),
        event(4, recipient="jo <jo@example.com>"),
        event(5, recipient="nobody"),
        event(6, recipient="(201) 555-0123", channel="sms"),
        event(7, recipient="jo@bücher.example", tenant_id="other"),
    )  # fmt: skip
    client.insert(
        "suppression_history",
        [["t", "email", "jo@bücher.example", NOW, "e1", NOW, "added", "hard_bounce", NOW, "c1"]],
        column_names=["tenant_id", "channel", "address", "occurred_at", "event_id", "recorded_at",
                      "change", "rule", "since", "cause_event_id"],
        database=target.database,
    )  # fmt: skip
    return client, target


def rows(client, target, channel="email", tenant="t"):
    listing = Listing(channel=channel, tenant=tenant, sort="recipient", descending=False)
    return [
        (row["recipient"], row["message_id"], row["status"])
        for row in read_listing(client, target.database, listing)
    ]


def run(client, target, on_written=lambda *_: None):
    return list(readdress(client, target, REGIONS, on_written))


def test_events_logs_and_blacklist_have_the_normal_form_of_addresses_from_before(database):
    client, target = database
    written = []
    replaced = run(client, target, lambda _, addresses: written.extend(addresses))
    assert {address.address for address in replaced} == {
        "jo@bücher.example", "jo <jo@example.com>", "(201) 555-0123"
    }  # fmt: skip
    assert JO in written
    assert rows(client, target) == [
        ("jo@example.com", "m4", "Sent"), (JO.address, "m1", "Open"), ("nobody", "m5", "Sent"),
    ]  # fmt: skip
    assert rows(client, target, "sms") == [("+12015550123", "m6", "Sent")]
    assert rows(client, target, tenant="other") == [(JO.address, "m7", "Sent")]
    by_record = Listing(channel="email", tenant="t", filters=[Filter("record_id", "=", "F1")])
    assert [row["recipient"] for row in read_listing(client, target.database, by_record)] == [
        JO.address
    ]
    assert suppressions.find_entry(client, target.database, JO)["rule"] == "hard_bounce"
    assert [row["address"] for row in suppressions.list_entries(client, target.database, "t")] == [
        JO.address
    ]
    events = client.query(
        f"SELECT event_id, recipient FROM {target.database}.events FINAL ORDER BY event_id"
    ).result_rows
    assert [event_id for event_id, _ in events] == [f"{n:032x}" for n in range(1, 8)]
    assert run(client, target) == []


def test_a_run_that_breaks_off_is_completed_by_the_next(database):
    client, target = database

    def fail(tenant, addresses):
        raise ConnectionError("the broker is away")

    with pytest.raises(ConnectionError):
        run(client, target, fail)
    # Written twice and not deleted: what is read of it is the same.
    assert run(client, target)
    assert rows(client, target) == [
        ("jo@example.com", "m4", "Sent"), (JO.address, "m1", "Open"), ("nobody", "m5", "Sent"),
    ]  # fmt: skip
    assert run(client, target) == []
