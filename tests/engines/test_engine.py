"""What differs between versions of ClickHouse: DDL, folds, pages, statistics, example queries.

With all other tests it is run on the pinned version, and by `make test-engines` on every supported
one. It uses one client in one thread: the older wheels are a library in the process of the tests.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from projections.clickhouse import rebuild
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream
from projections.clickhouse.store import insert_rows
from projections.queries import message_outcomes
from projections.queries.counts import Period, count_by_group, daily_counts, delivery_time
from projections.queries.listing import Filter, Listing, listing_sql, place_of
from projections.queries.page import read_page
from projections.queries.suppressions import entry_history, find_entry
from projections.queries.timeline import explain_message
from projections.tables import log_of, projections, views
from projections.tables.events import TABLE as EVENTS
from schemas.addresses import Address
from tests.api import START, complete_events, sample_events
from tests.paths import ROOT
from tests.property.test_laws import folded, in_engine, table_of

EXAMPLES = sorted((ROOT / "deploy/clickhouse/examples").glob("*.sql"))
STATUSES = {"email": ("Bounce", "Delivery"), "sms": ("Failed", "Delivered")}
FILTERS = [
    [], [("status", "!=", "Sent")],
    [("subject", "~", "invoice")], [("recipient", "=", "p3@d0.example")],
    [("record_id", "=", "3")], [("conflict", "=", "true")], [("tags", "=", "x")],
]  # fmt: skip
TENANT = "a"


class Log:
    """A migrated database with events of both channels, and the one client of it."""

    def __init__(self, client, database):
        self.client, self.database = client, database
        self.target = Target(database)
        self.created = list(migrate(client, self.target))
        self.events = []
        for channel, seed in (("email", 1), ("sms", 2)):
            # In pieces, so that states have to be merged.
            events = sample_events(TENANT, channel, 80, seed)
            self.events += events
            for first in range(3):
                insert_rows(client, database, EVENTS, table_of(events[first::3]))
        others = complete_events(sample_events("b", "email", 20, 3), "b")
        insert_rows(client, database, EVENTS, table_of(others))

    def of(self, log):
        return [event for event in self.events if event["channel"] == log.channel]


@pytest.fixture(scope="module")
def log(engine):
    return Log(engine.connect(), f"engine_{uuid.uuid4().hex[:8]}")


def test_everything_is_created_and_a_second_migration_changes_nothing(log):
    assert len(log.created) > len(projections()) * 3 + len(views())
    assert list(migrate(log.client, log.target)) == []


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_the_engine_folds_as_python_does(log, channel):
    projection = log_of(channel)
    expected = folded(projection, log.of(projection))
    assert len(expected) > 50
    assert in_engine(log.client, log.database, projection, TENANT) == expected


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_pages_have_the_rows_of_the_whole_listing(log, channel):
    columns = {*log_of(channel).columns, "recipient"}
    tried = 0
    of_status = [[("status", "=", status)] for status in STATUSES[channel]]
    for filters in FILTERS + of_status:
        if not {column for column, _, _ in filters} <= columns:
            continue
        for sort in ("date", "recipient", "status"):
            for descending in (True, False):
                listing = Listing(
                    channel=channel, tenant=TENANT, sort=sort, descending=descending, limit=17,
                    filters=[Filter(*parts) for parts in filters],
                )  # fmt: skip
                assert walk(log, listing) == whole(log, listing), listing
                tried += 1
    assert tried >= 30


def walk(log, listing):
    rows, after = [], None
    while True:
        page = read_page(log.client, log.database, replace(listing, after=after))
        rows += [key(row) for row in page]
        if len(page) < listing.limit:
            return rows
        after = place_of(listing, page[-1])


def whole(log, listing):
    sql, values = listing_sql(replace(listing, limit=10_000), log.database)
    return [key(row) for row in stream(log.client, sql, values)]


def key(row):
    return row["recipient"], row["message_id"], row["status"], row["status_reason"]


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_counts_are_those_of_the_rows(log, channel):
    period = Period(channel, TENANT, START - timedelta(days=90), START + timedelta(days=90))
    messages = len(folded(log_of(channel), log.of(log_of(channel))))
    counts = [
        daily_counts(log.client, log.database, period),
        *(count_by_group(log.client, log.database, period, by) for by in ("provider", "domain")),
    ]
    assert [sum(count for _, _, count in each) for each in counts] == [messages] * 3
    assert delivery_time(log.client, log.database, period).messages > 0


def test_a_rebuild_changes_nothing(log):
    for projection in projections().values():
        run = rebuild.begin(log.client, log.target, projection)
        assert list(run.fold())
        assert run.row_changes() == []
        run.swap()
        run.discard()
        rows = in_engine(log.client, log.database, projection, TENANT)
        assert rows == folded(projection, log.of(projection))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_query_runs(log, path):
    values = {"tenant": TENANT, "since": START - timedelta(days=90)}
    log.client.database = log.database  # examples name no database
    list(stream(log.client, path.read_text(), values))


@pytest.mark.parametrize("name", sorted(views()))
def test_every_view_can_be_read(log, name):
    list(stream(log.client, f"SELECT * FROM {log.database}.{name}", {}))


def test_what_pages_and_the_policy_ask_is_answered(log):
    keys = [
        (TENANT, e["recipient"], e["message_id"]) for e in log.events if e["channel"] == "email"
    ]
    assert set(message_outcomes.outcomes(log.client, log.database, keys)) == set(keys)
    assert message_outcomes.last_successes(log.client, log.database, [k[:2] for k in keys])
    jo = Address(TENANT, "email", "jo@example.com")
    assert find_entry(log.client, log.database, jo) is None
    assert entry_history(log.client, log.database, jo) == []
    tenant, recipient, message = keys[0]
    assert explain_message(
        log.client, log.database, channel="email", tenant=tenant, message_id=message,
        recipient=recipient,
    )  # fmt: skip
