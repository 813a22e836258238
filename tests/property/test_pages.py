"""A page found by candidates is the page that folding the whole tenant gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream
from projections.clickhouse.store import insert_rows
from projections.folds import fold_events
from projections.queries.candidates import Candidates
from projections.queries.counts import Period, daily_counts
from projections.queries.listing import SORTS, Filter, Listing, listing_sql, place_of
from projections.queries.page import _Page, read_listing
from projections.queries.totals import count_rows
from projections.queries.tuning import Tuning
from projections.status import complete_event, deciding_rule
from projections.tables import projections
from projections.tables.events import TABLE as EVENTS
from projections.witness import witness
from tests import strategies
from tests.clickhouse import connect_to
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
        st.builds(Filter.of_statuses, st.just(log),
                  st.sets(st.sampled_from(statuses), min_size=1, max_size=3)),
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
    client = connect_to(fresh_database.url)
    for _ in migrate(client, Target(fresh_database.name)):
        pass
    for log in LOGS:  # or what the tests insert part by part would soon be one state
        client.command(f"SYSTEM STOP MERGES {fresh_database.name}.{log.state_table}")
    return Fresh(fresh_database.url, fresh_database.name, client)


#: The engine is real.
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def filled(log, database, data):
    """Fill a tenant with facts, in several parts, and return its name."""
    tenant = f"t{next(TENANTS)}"
    events = strategies.complete(data.draw(facts(log.channel)), tenant)
    for part in range(0, len(events), 7):
        insert_rows(database.client, database.name, EVENTS, table_of(events[part : part + 7]))
    return tenant


def put(database, tenant, *events):
    """Insert events of a tenant at once: of each message, one partial state."""
    facts = strategies.complete(list(events), tenant)
    insert_rows(database.client, database.name, EVENTS, table_of(facts))


#: Few things count as many, so that every way of looking is gone.
TUNINGS = st.builds(
    Tuning,
    max_folded_messages=st.sampled_from([0, 2, 1000]),
    max_whole_messages=st.sampled_from([0, 200]),
    max_rounds=st.sampled_from([0, 1, 3, 20]),
    spare_messages=st.sampled_from([0, 5]),
    max_query_keys=st.sampled_from([1, 2, 5, 1000]),
    window_factor=st.sampled_from([0.01, 0.2, 3]),
    max_late_messages=st.sampled_from([0, 2, 300]),
    max_rare_states=st.sampled_from([0, 2, 1000]),
)


def listings(log, tenant):
    return st.builds(
        Listing, channel=st.just(log.channel), tenant=st.just(tenant), filters=filters(log),
        sort=st.sampled_from(SORTS), descending=st.booleans(), limit=st.integers(1, 3),
        backward=st.booleans(),
    )  # fmt: skip


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
def test_a_page_is_the_head_of_the_whole_listing(log, database, data):
    tuning, tenant = data.draw(TUNINGS), filled(log, database, data)
    for _ in range(4):
        listing = data.draw(listings(log, tenant))
        rows = read_listing(database.client, database.name, listing, tuning)
        whole = stream(database.client, *listing_sql(listing, database.name))
        assert list(map(comparable, rows)) == list(map(comparable, whole)), listing
    every = stream(database.client, *listing_sql(replace(listing, limit=1000), database.name))
    total = count_rows(database.client, database.name, listing, tuning=tuning)
    assert total == (len(list(every)), True), listing


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
def test_the_pages_of_a_walk_are_the_whole_listing(log, database, data):
    tuning, tenant = data.draw(TUNINGS), filled(log, database, data)
    wanted = data.draw(listings(log, tenant))
    whole = list(stream(database.client, *listing_sql(replace(wanted, limit=1000), database.name)))
    walked, rows = [], [None]
    while rows:
        rows = list(read_listing(database.client, database.name, wanted, tuning))
        headed = stream(database.client, *listing_sql(wanted, database.name))
        assert [comparable(row) for row in rows] == [comparable(row) for row in headed], wanted
        walked += rows
        wanted = replace(wanted, after=place_of(wanted, rows[-1])) if rows else wanted
    assert [comparable(row) for row in walked] == [comparable(row) for row in whole]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [True, False])
def test_a_listing_backward_is_the_same_rows_turned_round(database, sort, descending):
    tenant = f"t{next(TENANTS)}"
    events = [
        {"channel": "email", "kind": ("sent", "open")[n % 2], "message_id": f"m{n % 5}",
         "recipient": f"r{n % 3}", "occurred_at": START + timedelta(seconds=n % 2),
         "recorded_at": START}
        for n in range(15)
    ]  # fmt: skip
    put(database, tenant, *events)
    wanted = Listing(channel="email", tenant=tenant, sort=sort, descending=descending)
    rows = list(read_listing(database.client, database.name, wanted))
    assert len(rows) == 15
    for place in (0, 4, 9):
        before = replace(wanted, backward=True, after=place_of(wanted, rows[place]))
        found = list(read_listing(database.client, database.name, before))
        assert found == rows[:place][::-1]
    assert (
        list(read_listing(database.client, database.name, replace(wanted, backward=True)))
        == (rows[::-1])
    )


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [True, False])
def test_what_comes_in_during_a_walk_moves_no_other_row(database, sort, descending):
    tenant = f"t{next(TENANTS)}"

    def arrive(*numbers):
        events = [
            {"channel": "email", "kind": "sent", "message_id": f"m{n % 3}", "recipient": f"r{n:02}",
             "occurred_at": START + timedelta(seconds=n), "recorded_at": START}
            for n in numbers
        ]  # fmt: skip
        put(database, tenant, *events)

    arrive(*range(0, 40, 4))
    wanted = Listing(channel="email", tenant=tenant, sort=sort, descending=descending, limit=2)
    walked, numbers = [], iter(range(1, 40, 2))
    while rows := list(read_listing(database.client, database.name, wanted)):
        walked += [row["recipient"] for row in rows]
        wanted = replace(wanted, after=place_of(wanted, rows[-1]))
        arrive(next(numbers), next(numbers))
    assert len(walked) == len(set(walked))
    assert {f"r{n:02}" for n in range(0, 40, 4)} <= set(walked)


@pytest.mark.parametrize(
    ("column", "text"), [("recipient", "SAM@Ex"), ("recipient", "ÉLODIE"), ("subject", "iNVOICE")]
)
def test_a_text_is_found_in_letters_of_either_case(database, column, text):
    tenant = f"t{next(TENANTS)}"
    event = {"channel": "email", "kind": "sent", "message_id": "m", "subject": "Your Invoice",
             "recipient": "élodie.sam@example.com", "occurred_at": START,
             "recorded_at": START}  # fmt: skip
    put(database, tenant, event)
    for value, there in ((text, 1), (f"{text}!", 0)):
        wanted = Listing(channel="email", tenant=tenant, filters=[Filter(column, "~", value)])
        assert len(list(read_listing(database.client, database.name, wanted))) == there


@pytest.mark.parametrize("sort", SORTS)
def test_there_may_be_a_hundred_filters(database, sort):
    tuning = Tuning(max_folded_messages=0)
    tenant = f"t{next(TENANTS)}"
    event = {"channel": "email", "kind": "sent", "message_id": "m", "recipient": "r",
             "subject": "x" * 100, "occurred_at": START, "recorded_at": START}  # fmt: skip
    put(database, tenant, event)
    for more, there in (("", 1), ("y", 0)):
        texts = [Filter("subject", "~", "x" * length + more) for length in range(1, 101)]
        wanted = Listing(channel="email", tenant=tenant, sort=sort, filters=texts)
        assert len(list(read_listing(database.client, database.name, wanted, tuning))) == there


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("few", [1, 2, 3, 200])
def test_the_messages_of_a_record_are_found_however_many(database, sort, few):
    tuning = Tuning(max_whole_messages=few, max_folded_messages=2 * few)
    tenant = f"t{next(TENANTS)}"
    told = [("F1", n) for n in range(5)] + [("F2", 4), ("F2", 5), ("F\x003", 6), ("", 7)]
    for minute, (record, n) in enumerate(told):
        event = {"channel": "email", "kind": "sent", "message_id": f"m{n}", "subject": f"no. {n}",
                 "recipient": f"r{n % 2}", "occurred_at": START + timedelta(minutes=minute),
                 "record_id": record, "recorded_at": START}  # fmt: skip
        put(database, tenant, event)

    def walked(record, *others):
        wanted = Listing(channel="email", tenant=tenant, sort=sort, limit=2,
                         filters=[Filter("record_id", "=", record), *others])  # fmt: skip
        found = []
        while rows := list(read_listing(database.client, database.name, wanted, tuning)):
            found += [row["message_id"] for row in rows]
            wanted = replace(wanted, after=place_of(wanted, rows[-1]))
        return sorted(found)

    assert walked("F1") == ["m0", "m1", "m2", "m3"]  # the fifth is another's by now
    assert walked("F2") == ["m4", "m5"]
    assert walked("F3") == ["m6"]
    assert walked("F4") == []
    assert walked("F1", Filter("recipient", "=", "r0")) == ["m0", "m2"]
    assert walked("F1", Filter("subject", "~", "NO. 3"), Filter("status", "=", "Sent")) == ["m3"]
    assert walked("F1", Filter("status", "=", "Bounce")) == []


@pytest.mark.parametrize("searched", [(), [Filter("message_id", "~", "m")]], ids=["all", "some"])
@pytest.mark.parametrize("few", [0, 300])
def test_the_newest_messages_are_found_beneath_later_facts_of_old_ones(
    database, few, searched, monkeypatch
):
    tenant = f"t{next(TENANTS)}"
    old = [("sent", f"old{n}", n) for n in range(3)]
    new = [("sent", "new", 10), ("delivery", "nobody told of its send", 11)]
    opened = [("open", f"old{n % 3}", 20 + n) for n in range(9)]
    for kind, recipient, minute in (*old, *new, *opened):
        at = START + timedelta(minutes=minute)
        event = {"channel": "email", "kind": kind, "message_id": "m", "recipient": recipient,
                 "occurred_at": at, "recorded_at": START}  # fmt: skip
        put(database, tenant, event)
    monkeypatch.setattr(_Page, "_fold", only_of_some(_Page._fold))
    for limit in (1, 2):
        # Of four states in which a message begins twice the limit: so all time is searched.
        tuning = Tuning(
            spare_messages=0, max_query_keys=4, max_late_messages=few,
            window_factor=4 / (2 * limit),
        )  # fmt: skip
        wanted = Listing(channel="email", tenant=tenant, limit=limit, filters=searched)
        found = read_listing(database.client, database.name, wanted, tuning)
        assert [row["recipient"] for row in found] == ["nobody told of its send", "new"][:limit]


def test_what_was_opened_later_than_newer_messages_is_found_behind_them(database, monkeypatch):
    tenant = f"t{next(TENANTS)}"

    def arrive(*told, provider):
        """Insert facts together, so that they are one state of each message."""
        events = [
            {"channel": "email", "kind": kind, "message_id": "m", "recipient": recipient,
             "provider": provider, "occurred_at": START + timedelta(minutes=minute),
             "recorded_at": START}
            for kind, recipient, minute in told
        ]  # fmt: skip
        put(database, tenant, *events)

    for minute in range(40, 44):
        arrive(("sent", f"r{minute}", minute), ("open", f"r{minute}", minute), provider="other")
    arrive(("sent", "ours", 10), provider="ses")
    arrive(("open", "ours", 50), provider="ses")
    tuning = Tuning(
        max_query_keys=4, max_folded_messages=0, max_whole_messages=0, spare_messages=0,
        max_late_messages=0,
    )  # fmt: skip
    monkeypatch.setattr(_Page, "_fold", only_of_some(_Page._fold))
    filters = [Filter("status", "=", "Open"), Filter("provider", "!=", "other")]
    wanted = Listing(channel="email", tenant=tenant, limit=1, filters=filters)
    found = read_listing(database.client, database.name, wanted, tuning)
    assert [row["recipient"] for row in found] == ["ours"]


def test_a_text_is_searched_once_for_all_statuses_that_hardly_any_message_has(
    database, monkeypatch
):
    tenant = f"t{next(TENANTS)}"

    def arrive(recipient, *kinds):
        """Insert facts together, so that they are one state."""
        events = [
            {"channel": "email", "kind": kind, "message_id": "m", "recipient": recipient,
             "occurred_at": START, "recorded_at": START}
            | ({"subject": "Your invoice"} if kind == "queued" else {})
            for kind in kinds
        ]  # fmt: skip
        put(database, tenant, *events)

    for number in range(6):
        arrive(f"opened{number}", "queued", "sent", "open")
    arrive("skipped", "queued")
    arrive("skipped", "skipped")
    arrive("sent", "queued", "sent")
    arrive("not only sent", "queued", "sent")
    arrive("not only sent", "open")
    arrive("skipped, without a subject", "skipped")
    tuning = Tuning(max_folded_messages=7)
    searched, search = [], Candidates.of_statuses

    def noted(self, statuses, most):
        found = search(self, statuses, most)
        searched.append((statuses, sorted(each.recipient for each in found)))
        return found

    monkeypatch.setattr(Candidates, "of_statuses", noted)
    text = Filter("subject", "~", "invoice")
    wanted = Listing(channel="email", tenant=tenant, sort="status", filters=[text])
    rows = read_listing(database.client, database.name, wanted, tuning)
    found = [row["recipient"] for row in rows]
    assert searched == [(["Skipped", "Sent"], ["not only sent", "sent", "skipped"])]
    assert found[:2] == ["skipped", "sent"]
    assert sorted(found[2:]) == ["not only sent", *(f"opened{number}" for number in range(6))]


def only_of_some(kept):
    """Fold some messages only, never all."""

    def checked(page, first, bound):
        assert first, "all were folded"
        return kept(page, first, bound)

    return checked


def test_a_later_state_does_not_bring_a_message_into_the_dates_asked_for(database):
    tenant, later = f"t{next(TENANTS)}", START + timedelta(hours=1)
    for recipient, at in (("early", START), ("early", later), ("in time", later)):
        event = {"channel": "email", "kind": "sent", "message_id": "m", "recipient": recipient,
                 "occurred_at": at, "recorded_at": START}  # fmt: skip
        put(database, tenant, event)
    since = Filter("date", ">=", later.isoformat())
    for rounds in (0, 3):
        tuning = Tuning(max_folded_messages=0, max_rounds=rounds)
        wanted = Listing(channel="email", tenant=tenant, filters=[since])
        found = read_listing(database.client, database.name, wanted, tuning)
        assert [row["recipient"] for row in found] == ["in time"]
    end = later + timedelta(days=1)
    counted = daily_counts(database.client, database.name, Period("email", tenant, later, end))
    assert [messages for _, _, messages in counted] == [1]


@pytest.mark.parametrize("sort", SORTS)
def test_a_tenant_may_be_empty_and_a_filter_may_name_it(database, sort):
    tenant = f"t{next(TENANTS)}"
    itself, sent = Filter("tenant_id", "=", tenant), Filter("status", "=", "Sent")
    wanted = Listing(channel="email", tenant=tenant, sort=sort, filters=[itself, sent])
    assert list(read_listing(database.client, database.name, wanted)) == []
    event = {"channel": "email", "kind": "sent", "message_id": "m", "recipient": "r",
             "occurred_at": START, "recorded_at": START}  # fmt: skip
    put(database, tenant, event)
    assert [row["recipient"] for row in read_listing(database.client, database.name, wanted)] == [
        "r"
    ]


def test_a_row_that_moves_while_its_page_is_read_takes_no_other_with_it(database, monkeypatch):
    tenant = f"t{next(TENANTS)}"

    def arrive(kind, recipient):
        event = {"channel": "email", "kind": kind, "message_id": "m", "recipient": recipient,
                 "occurred_at": START, "recorded_at": START}  # fmt: skip
        put(database, tenant, event)

    for number in range(10):
        arrive("delivery", f"r{number}")
    read = _Page._read

    def read_late(self, candidates):
        if candidates:
            arrive("open", candidates[1 % len(candidates)].recipient)
        return read(self, candidates)

    monkeypatch.setattr(_Page, "_read", read_late)
    wanted = Listing(channel="email", tenant=tenant, sort="status", limit=2, descending=False)
    walked = []
    while rows := list(read_listing(database.client, database.name, wanted)):
        walked += [row["recipient"] for row in rows if row["status"] == "Delivery"]
        wanted = replace(wanted, after=place_of(wanted, rows[-1]))
    monkeypatch.undo()
    still = list(read_listing(database.client, database.name, replace(
        wanted, after=None, limit=50, filters=[Filter("status", "=", "Delivery")])))  # fmt: skip
    assert {row["recipient"] for row in still} <= set(walked)
    assert len(walked) == len(set(walked))


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_what_a_status_needs_some_partial_state_shows(log, data):
    events = [complete_event(e) for e in strategies.complete(data.draw(facts(log.channel)), "t")]
    sent = {"channel": log.channel, "kind": "sent", "message_id": "m", "recipient": "r",
            "occurred_at": START}  # fmt: skip
    events = [e for e in events if e["kind"] in log.kinds] or [
        complete_event(strategies.complete([sent], "t")[0])
    ]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    parts = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True) if a < b]
    _, rule = deciding_rule(log, fold_events(log.folds, events))
    shows = witness(log, rule.status).evaluate
    assert any(shows(fold_events(log.folds, part)) for part in parts)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
@given(data=st.data())
@settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_daily_counts_are_those_of_the_log(log, database, data):
    tenant = filled(log, database, data)
    since, until = sorted(data.draw(st.tuples(strategies.times, strategies.times)))
    counted = daily_counts(
        database.client, database.name, Period(log.channel, tenant, since, until)
    )
    sql = (
        f"SELECT toDate(date), status, count() FROM {database.name}.{log.name} WHERE tenant_id = "
        "{t:String} AND date >= {a:DateTime64(3, 'UTC')} AND date < {b:DateTime64(3, 'UTC')} "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    values = {"t": tenant, "a": since, "b": until}
    assert counted == [tuple(row.values()) for row in stream(database.client, sql, values)]


#: Messages that have both a failure and a delivery: which counts, the bits do not say.
UNSURE = {
    "email_log": {
        "Delivery": [("bounce", 0, {"bounce_class": "hard", "attempt": 1}),
                     ("sent", 1, {"attempt": 2}), ("delivery", 2, {"attempt": 2})],
        "Bounce": [("sent", 0, {"attempt": 2}), ("delivery", 1, {"attempt": 2}),
                   ("bounce", 2, {"bounce_class": "hard", "attempt": 2})],
    },
    "sms_log": {
        "Delivered": [("delivery", 0, {}), ("expired", 1, {})],
        "Undelivered": [("expired", 0, {}), ("delivery", 1, {})],
    },
}  # fmt: skip


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_messages_whose_status_takes_more_than_bits_are_counted_by_it(log, database):
    tenant = f"t{next(TENANTS)}"
    for status, facts_ in UNSURE[log.name].items():
        for kind, minute, fields in facts_:  # each a partial state
            event = {"channel": log.channel, "kind": kind, "message_id": status, "recipient": "r",
                     "occurred_at": START + timedelta(minutes=minute), **fields}  # fmt: skip
            put(database, tenant, event)
    sure = {"channel": log.channel, "kind": "delivery", "message_id": "sure", "recipient": "r",
            "occurred_at": START}  # fmt: skip
    put(database, tenant, sure)
    until = START + timedelta(days=1)
    counted = daily_counts(
        database.client, database.name, Period(log.channel, tenant, START, until)
    )
    delivered, failed = UNSURE[log.name]
    assert {status: n for _, status, n in counted} == {delivered: 2, failed: 1}
