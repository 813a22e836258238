"""Pages by every way of looking, of a log in which messages share their dates and others move."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream
from projections.clickhouse.store import insert_rows
from projections.queries.candidates import Candidates
from projections.queries.listing import SORTS, Filter, Listing, listing_sql, place_of
from projections.queries.page import _Page, read_listing
from projections.queries.tuning import Tuning
from projections.tables.events import TABLE as EVENTS
from tests import strategies
from tests.clickhouse import connect_to
from tests.conftest import connected
from tests.property.test_laws import comparable, table_of
from tests.strategies import START

NAME = "rounds"
TENANTS = iter(range(1_000_000))


@pytest.fixture(scope="module")
def client(engine):
    with connected(engine.url) as admin:
        admin.command(f"CREATE DATABASE {NAME} ENGINE = Atomic")
    client = connect_to(engine.url, NAME)
    for _ in migrate(client, Target(NAME)):
        pass
    client.command(f"SYSTEM STOP MERGES {NAME}.email_log_state")
    return client


def put(client, tenant, *events):
    """Insert events at once: of each message, one partial state."""
    complete = strategies.complete([event(*each) for each in events], tenant)
    insert_rows(client, NAME, EVENTS, table_of(complete))


def event(kind, recipient, minute, message_id="m", **fields):
    return {
        "channel": "email", "kind": kind, "message_id": message_id, "recipient": recipient,
        "occurred_at": START + timedelta(minutes=minute), "recorded_at": START,
        "subject": "Invoice" if kind == "sent" else "", **fields,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tenant(client):
    """18 messages of ten recipients: three have each date, and later events came in parts."""
    name = f"t{next(TENANTS)}"
    put(client, name, *[("sent", f"r{n % 10}", n // 3, f"m{9 - n % 10}-{n}") for n in range(18)])
    put(client, name, *[("delivery", f"r{n % 10}", 20 + n // 3, f"m{9 - n % 10}-{n}")
                        for n in range(0, 18, 2)])  # fmt: skip
    put(client, name, *[("open", f"r{n % 10}", 40, f"m{9 - n % 10}-{n}") for n in range(0, 18, 6)])
    return name


FILTERS = {
    "all": [],
    "a status": [Filter("status", "=", "Delivery")],
    "a text": [Filter("status", "!=", "Sent"), Filter("subject", "~", "INV")],
}
WAYS = {
    "folded": Tuning(),
    "one by one": Tuning(
        max_folded_messages=0, max_whole_messages=0, max_rounds=100, spare_messages=0,
        max_query_keys=1, max_late_messages=0,
    ),
    "two at a time": Tuning(
        max_folded_messages=3, max_whole_messages=0, max_rounds=100, spare_messages=0,
        max_query_keys=2, max_late_messages=2, window_factor=0.01,
    ),
    "four at a time": Tuning(
        max_folded_messages=0, max_whole_messages=0, max_rounds=100, spare_messages=0,
        max_query_keys=4, max_late_messages=0,
    ),
    "at the limit": Tuning(
        max_folded_messages=9, max_whole_messages=8, max_rounds=0, max_rare_states=0
    ),
}  # fmt: skip


def test_a_row_shows_what_came_in_after_its_message_was_chosen(client, monkeypatch):
    tenant, read = f"t{next(TENANTS)}", _Page._read
    put(client, tenant, ("sent", "r", 0))

    def arrive_and_read(page, candidates):
        put(client, tenant, ("open", "r", 5))
        return read(page, candidates)

    monkeypatch.setattr(_Page, "_read", arrive_and_read)
    listing = Listing(channel="email", tenant=tenant)
    [row] = read_listing(client, NAME, listing)
    assert (row["status"], row["open_count"]) == ("Open", 1)
    assert row["opened_at"] == START + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("way", "sort", "descending"),
    [(way, sort, (m + n) % 2 == 0) for m, way in enumerate(WAYS) for n, sort in enumerate(SORTS)]
    + [("four at a time", "date", True)],
)
def test_each_page_of_a_walk_is_full_and_the_walk_is_the_whole(
    client, tenant, way, sort, descending
):
    limit = 4
    for name, filters in FILTERS.items():
        listing = Listing(channel="email", tenant=tenant, sort=sort, descending=descending,
                          limit=limit, filters=filters)  # fmt: skip
        whole = [comparable(row) for row in stream(
            client, *listing_sql(replace(listing, limit=100), NAME)
        )]  # fmt: skip
        assert len(whole) >= 3
        walked = []
        while len(walked) < len(whole):
            rows = list(read_listing(client, NAME, listing, WAYS[way]))
            assert len(rows) == min(limit, len(whole) - len(walked)), (name, len(walked))
            walked += [comparable(row) for row in rows]
            listing = replace(listing, after=place_of(listing, rows[-1]))
        assert walked == whole, name
        assert list(read_listing(client, NAME, listing, WAYS[way])) == []


@pytest.mark.parametrize(("limit", "there"), [(8, False), (9, True), (10, True)])
def test_few_are_those_up_to_the_limit(client, tenant, limit, there):
    candidates = Candidates(
        client=client, database=NAME, tuning=Tuning(),
        listing=Listing(channel="email", tenant=tenant, filters=[Filter("status", "=", "Delivery"),
                        Filter("date", ">=", START.isoformat())]),
    )  # fmt: skip
    few = candidates.all_if_few(limit)
    assert (few is not None) == there
    if few is not None:
        assert len({each.key for each in few}) == 9


@pytest.mark.parametrize(("limit", "there"), [(8, False), (9, True), (10, True)])
def test_the_messages_of_a_record_are_few_up_to_the_limit(client, limit, there):
    tenant = f"t{next(TENANTS)}"
    put(client, tenant, *[("sent", f"r{n % 2}", n, f"m{n}") for n in range(12)])
    records = [event("sent", f"r{n % 2}", n, f"m{n}", record_id="F1") for n in range(9)]
    insert_rows(client, NAME, EVENTS, table_of(strategies.complete(records, tenant)))
    candidates = Candidates(
        client=client, database=NAME, tuning=Tuning(),
        listing=Listing(channel="email", tenant=tenant, filters=[Filter("record_id", "=", "F1")]),
    )  # fmt: skip
    few = candidates.all_if_few(limit)
    assert (few is not None) == there
    if few is not None:
        assert sorted(each.message_id for each in few) == [f"m{n}" for n in range(9)]


@pytest.mark.parametrize("sort", ["date", "status"])
def test_a_page_whose_rows_got_another_place_meanwhile_is_read_again_and_full(
    client, sort, monkeypatch
):
    tenant, read = f"t{next(TENANTS)}", _Page._read
    put(client, tenant, *[("delivery", f"r{n}", n) for n in range(12)])
    moved = []

    def move_and_read(page, candidates):
        """Let events come in between: each message gets an earlier date, or another status."""
        if len(moved) < 4:
            batch = candidates[:4]
            moved.extend(each.recipient for each in batch)
            kind, minute = ("sent", -100) if sort == "date" else ("open", 60)
            put(client, tenant, *[(kind, each.recipient, minute) for each in batch])
        return read(page, candidates)

    monkeypatch.setattr(_Page, "_read", move_and_read)
    listing = Listing(channel="email", tenant=tenant, sort=sort, limit=4,
                      descending=sort == "date")  # fmt: skip
    rows = list(read_listing(client, NAME, listing, Tuning(spare_messages=0)))
    assert len(moved) == 4
    assert len(rows) == 4
    assert not {row["recipient"] for row in rows} & set(moved)
    whole = list(stream(client, *listing_sql(listing, NAME)))
    assert [comparable(row) for row in rows] == [comparable(row) for row in whole]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [True, False])
def test_rows_of_a_customer_record_have_the_order_of_the_listing(client, sort, descending):
    tenant = f"t{next(TENANTS)}"
    messages = [(f"r{n % 2}", f"m{7 * n % 9}") for n in range(9)]
    for recipient, message_id in messages:
        insert_rows(client, NAME, EVENTS, table_of(strategies.complete(
            [event("sent", recipient, 0, message_id, record_id="F1")], tenant
        )))  # fmt: skip
    listing = Listing(channel="email", tenant=tenant, sort=sort, descending=descending, limit=5,
                      filters=[Filter("record_id", "=", "F1")])  # fmt: skip
    whole = [comparable(row) for row in stream(client, *listing_sql(listing, NAME))]
    for tuning in (Tuning(), Tuning(max_whole_messages=0), Tuning(max_whole_messages=9)):
        rows = read_listing(client, NAME, listing, tuning)
        assert [comparable(row) for row in rows] == whole
    assert len(whole) == 5
