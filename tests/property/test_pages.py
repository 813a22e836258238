"""A page found by candidates is the page that folding the whole tenant gives."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.ddl import Target
from projections.merge import fold
from projections.migrate import migrate
from projections.pages import listing
from projections.queries import Filter, Listing, listing_sql, stream
from projections.statistics import daily_counts
from projections.status import complete, decide, trace
from projections.store import connect, insert
from projections.tables import projections
from projections.tables.events import TABLE as EVENTS
from tests import strategies
from tests.conftest import Fresh
from tests.property.test_laws import comparable, table_of
from tests.strategies import START, facts

LOGS = list(projections().values())
TENANTS = iter(range(1_000_000))


def filters(log):
    statuses = sorted({rule.status for rule in log.rules})
    text = "subject" if log.channel == "email" else "text"
    moments = strategies.times.map(lambda time: time.isoformat())
    one = st.one_of(
        st.builds(Filter, st.just("status"), st.sampled_from(["=", "!="]),
                  st.sampled_from(statuses)),
        st.builds(Filter, st.just("date"), st.sampled_from([">=", "<=", "<", ">"]), moments),
        st.builds(Filter, st.just(text), st.just("~"), st.sampled_from(["a", "ünï", "x", "no"])),
        st.builds(Filter, st.just("recipient"), st.sampled_from(["~", "="]),
                  st.sampled_from(["a@example.com", "b@", "c@example.com"])),
        st.builds(Filter, st.just("record_id"), st.just("="), st.sampled_from(["", "F1", "S2"])),
        st.builds(Filter, st.just("provider"), st.just("="), st.sampled_from(["ses", "twilio"])),
    )  # fmt: skip
    return st.lists(one, max_size=2)


@pytest.fixture
def database(fresh_database):
    client = connect(fresh_database.url, user="default", password="")
    for _ in migrate(client, Target(fresh_database.name)):
        pass
    return Fresh(fresh_database.url, fresh_database.name, client)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_a_page_is_the_head_of_the_whole_listing(log, database, data, monkeypatch):
    # As if there were millions: nothing is few, so that every way of looking is gone.
    monkeypatch.setattr("projections.pages._FEW", data.draw(st.sampled_from([0, 2, 1000])))
    monkeypatch.setattr("projections.pages._READ", data.draw(st.sampled_from([0, 200])))
    monkeypatch.setattr("projections.pages._RARE", data.draw(st.sampled_from([0, 1000])))
    monkeypatch.setattr("projections.pages._GROWTH", 2)
    tenant = f"t{next(TENANTS)}"
    events = strategies.complete(data.draw(facts(log.channel)), tenant)
    for part in range(0, len(events), 7):
        insert(database.client, database.name, EVENTS, table_of(events[part : part + 7]))
    for _ in range(4):
        wanted = Listing(
            channel=log.channel, tenant=tenant, filters=data.draw(filters(log)),
            sort=data.draw(st.sampled_from(["date", "recipient", "status"])),
            descending=data.draw(st.booleans()), limit=data.draw(st.integers(1, 3)),
        )  # fmt: skip
        found = [comparable(row) for row in listing(database.client, database.name, wanted)]
        whole = stream(database.client, *listing_sql(wanted, database.name))
        assert found == [comparable(row) for row in whole], wanted


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_what_a_status_needs_some_partial_state_shows(log, data):
    events = [complete(e) for e in strategies.complete(data.draw(facts(log.channel)), "t")]
    events = [e for e in events if e["kind"] in log.kinds] or [
        complete(strategies.complete([{"channel": log.channel, "kind": "sent", "message_id": "m",
                                       "recipient": "r", "occurred_at": START}], "t")[0])
    ]  # fmt: skip
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    parts = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True) if a < b]
    _, rule = decide(log, fold(log.folds, events))
    shown = trace(log, rule.status)
    assert any(shown.of(fold(log.folds, part)) for part in parts)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(
    max_examples=40, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_daily_counts_are_those_of_the_log(log, database, data):
    tenant = f"t{next(TENANTS)}"
    events = strategies.complete(data.draw(facts(log.channel)), tenant)
    for part in range(0, len(events), 7):
        insert(database.client, database.name, EVENTS, table_of(events[part : part + 7]))
    since, until = sorted(data.draw(st.tuples(strategies.times, strategies.times)))
    counted = daily_counts(database.client, database.name, log.channel, tenant, since, until)
    sql = (
        f"SELECT toDate(date), status, count() FROM {database.name}.{log.name} WHERE tenant_id = "
        "{t:String} AND date >= {a:DateTime64(3, 'UTC')} AND date < {b:DateTime64(3, 'UTC')} "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    values = {"t": tenant, "a": since, "b": until}
    assert counted == [tuple(row.values()) for row in stream(database.client, sql, values)]
