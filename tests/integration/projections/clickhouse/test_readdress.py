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
    return with_addresses(client, target)


def with_addresses(client, target):
    """Write events and an entry of the blacklist by addresses of many forms."""
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


def test_on_two_shards_a_row_moves_to_the_shard_of_its_new_address(database, cluster_database):
    client, target = with_addresses(*cluster_database)
    others = [event(100 + n, recipient=f"P{n} <p{n}@example.com>") for n in range(40)]
    for each in (database, cluster_database):
        put(each[0], each[1].database, *others)
    written = [[], []]
    replaced = [
        run(*each, lambda _, addresses, into=into: into.extend(addresses))
        for each, into in zip((database, cluster_database), written, strict=True)
    ]
    assert sorted(replaced[1]) == sorted(replaced[0])
    assert sorted(written[1]) == sorted(written[0])
    for channel, tenant in (("email", "t"), ("sms", "t"), ("email", "other")):
        assert rows(client, target, channel, tenant) == rows(*database, channel, tenant)
    assert len(rows(client, target)) == 43
    for table, address in (
        ("events", "recipient"), ("suppression_history", "address"),
        ("email_log_state", "recipient"), ("sms_log_state", "recipient"), ("records", "recipient"),
    ):  # fmt: skip
        sql = f"SELECT tenant_id, {address} FROM {{}}.{table} FINAL ORDER BY ALL"
        stored = [each[0].query(sql.format(each[1].database)).result_rows
                  for each in (database, cluster_database)]  # fmt: skip
        assert stored[1] == stored[0], table
        if address == "recipient":
            for number, node in enumerate(client.clients):
                placed = node.query(
                    "SELECT DISTINCT cityHash64(tenant_id, recipient) % 2 "
                    f"FROM {target.stored(table)}"
                ).result_rows
                assert placed in ([], [(number,)]), table
    assert run(client, target) == []
