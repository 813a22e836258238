"""The log as it was: at any moment, by either clock, it is the fold of the facts up to then."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.clickhouse.store import insert_rows
from projections.queries.listing import SORTS, Clock, Listing
from projections.queries.page import read_listing
from projections.status import fold_message, read_row
from projections.tables import KEY, projections
from projections.tables.events import TABLE as EVENTS
from tests import strategies
from tests.property.test_laws import comparable, key_of, table_of
from tests.strategies import START, facts, times

LOGS = list(projections().values())
TENANTS = iter(range(1_000_000))
#: An answer of the engine takes most of the time, so each is about many messages.
GROUPS = 8
MOMENTS = 2

#: A fact's own time, just before and just after it, and far from all.
moments = st.one_of(
    st.builds(lambda time, off: time + timedelta(milliseconds=off), times, st.integers(-1, 1)),
    st.sampled_from([START - timedelta(days=400), START + timedelta(days=400)]),
)
#: Of the moment asked for: none means UTC.
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), None])


def many(log):
    """Facts of many messages: several times those of a few, under other names."""
    return st.lists(facts(log.channel), min_size=1, max_size=GROUPS).map(
        lambda groups: [
            {**fact, "message_id": fact["message_id"] and f"{fact['message_id']}-{number}"}
            for number, group in enumerate(groups) for fact in group
        ]
    )  # fmt: skip


def as_it_was(log, events, sort):
    """Return the rows of a log of some facts by Python's fold, in the order of a listing."""
    messages = {}
    for event in events:
        if event["kind"] in log.kinds and event["message_id"] and event["recipient"]:
            messages.setdefault(key_of(event), []).append(event)
    rows = [
        read_row(log, dict(zip(KEY, key, strict=True)), state)
        for key, theirs in messages.items()
        if not log.hidden.evaluate(state := fold_message(log, theirs))
    ]
    rows.sort(key=lambda row: (row["message_id"], row["recipient"]))
    rows.sort(key=lambda row: row["date"], reverse=True)
    if sort != "date":
        rows.sort(key=lambda row: row[sort])
    return [comparable(row) for row in rows]


def in_zone(moment, zone):
    return moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_the_log_at_a_moment_is_the_fold_of_what_was_so_far(log, migrated):
    client, database = migrated.client, migrated.name

    @given(data=st.data())
    @settings(
        max_examples=15, deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
    )  # fmt: skip
    def agree(data):
        tenant = f"t{next(TENANTS)}"
        events = strategies.complete(data.draw(many(log)), tenant)
        copies = events + data.draw(st.lists(st.sampled_from(events), max_size=5))
        cut = data.draw(st.integers(0, len(copies)))
        for part in (copies[cut:], copies[:cut]):
            if part:
                insert_rows(client, database, EVENTS, table_of(part))
        for _ in range(MOMENTS):
            moment, zone = data.draw(moments), data.draw(zones)
            sort = data.draw(st.sampled_from(SORTS))
            for clock in get_args(Clock):
                wanted = Listing(
                    channel=log.channel, tenant=tenant, sort=sort, descending=sort == "date",
                    limit=1000, as_of=in_zone(moment, zone), clock=clock,
                )  # fmt: skip
                so_far = [event for event in events if event[f"{clock}_at"] <= moment]
                found = [comparable(row) for row in read_listing(client, database, wanted)]
                assert found == as_it_was(log, so_far, sort), wanted

    agree()
