"""The laws of the fold: order, copies and batches do not matter, and three folds agree."""

from __future__ import annotations

import json
import random
from datetime import datetime
from itertools import groupby

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.clickhouse import rebuild
from projections.clickhouse.ddl import Target
from projections.clickhouse.sql import stream
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.folds import fold_events
from projections.status import complete_event, derived_columns, explain, fold_message, read_row
from projections.tables import KEY, projections
from projections.tables.events import TABLE as EVENTS
from schemas.events import JOINED_KIND, MessageEvent, milliseconds
from tests import strategies
from tests.strategies import facts, join_states, pack, states

LOGS = list(projections().values())
ENGINE = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: Filled with what Hypothesis calls an example: a tenant of its own, so that none sees another.
TENANTS = iter(range(1_000_000))


def log_named(log):
    return log.name


def key_of(row):
    return tuple(row[name] for name in KEY)


def folded(log, events):
    """Return the rows of a log by Python's fold, in order of their keys."""
    counting = [e for e in events if e["kind"] in log.kinds and e["message_id"] and e["recipient"]]
    rows = []
    for key, group in groupby(sorted(counting, key=key_of), key=key_of):
        state = fold_message(log, group)
        if not log.hidden.evaluate(state):
            rows.append(read_row(log, dict(zip(KEY, key, strict=True)), state))
    return [comparable(row) for row in rows]


def comparable(row):
    """Return a row as text, so that equal means equal bytes."""
    return json.dumps(
        {n: milliseconds(v) if isinstance(v, datetime) else v for n, v in row.items()},
        ensure_ascii=False,
        default=str,
    )


def in_engine(client, database, log, tenant, source=""):
    sql = (
        f"SELECT * FROM {database}.{source or log.name} WHERE tenant_id = {{t:String}} "
        "ORDER BY tenant_id, recipient, message_id"
    )
    return [comparable(row) for row in stream(client, sql, {"t": tenant})]


@pytest.mark.parametrize("log", LOGS, ids=log_named)
@given(data=st.data())
@settings(deadline=None)
def test_any_order_any_copies_and_any_split_give_the_same_rows(log, data):
    events = strategies.complete(data.draw(facts(log.channel)), "t")
    copies = events + data.draw(st.lists(st.sampled_from(events), max_size=10))
    shuffled = data.draw(st.permutations(copies))
    rows = folded(log, events)
    counting = [e for e in events if e["kind"] in log.kinds and e["message_id"] and e["recipient"]]
    sends = f"{log.channel}.sends"
    own = {key_of(e) for e in counting if e.get("source_topic", "").startswith(sends)}
    joined = {key_of(e) for e in counting if e["kind"] == JOINED_KIND}
    assert len(rows) == len(set(map(key_of, counting)) - (joined - own))
    assert folded(log, shuffled) == rows


@pytest.mark.parametrize("log", LOGS, ids=log_named)
@given(data=st.data())
@settings(deadline=None)
def test_joining_states_is_commutative_associative_and_idempotent(log, data):
    a, b, c = (data.draw(states(log.folds)) for _ in range(3))
    assert join_states(log.folds, a, b) == join_states(log.folds, b, a)
    assert join_states(log.folds, join_states(log.folds, a, b), c) == join_states(
        log.folds, a, join_states(log.folds, b, c)
    )
    assert join_states(log.folds, a, a) == a
    assert join_states(log.folds, fold_events(log.folds, []), a) == a


@pytest.mark.parametrize("log", LOGS, ids=log_named)
@given(data=st.data())
@settings(deadline=None)
def test_the_state_of_all_facts_is_the_join_of_the_states_of_each(log, data):
    events = strategies.complete(data.draw(facts(log.channel)), "t")
    rows = [complete_event(e) for e in events]
    state = fold_events(log.folds, [])
    for row in rows:
        state = join_states(log.folds, state, fold_events(log.folds, [row]))
    assert state == fold_events(log.folds, rows)


@pytest.mark.parametrize("log", LOGS, ids=log_named)
def test_python_engine_and_rebuild_fold_alike(log, migrated):
    client, database = migrated.client, migrated.name

    @given(data=st.data())
    @ENGINE
    def agree(data):
        tenant = f"t{next(TENANTS)}"
        events = strategies.complete(data.draw(facts(log.channel)), tenant)
        copies = events + data.draw(st.lists(st.sampled_from(events), max_size=5))
        random.Random(data.draw(st.integers())).shuffle(copies)
        cut = data.draw(st.integers(0, len(copies)))
        for part in (copies[:cut], copies[cut:]):
            if part:
                insert_rows(client, database, EVENTS, table_of(part))
        expected = folded(log, events)
        assert in_engine(client, database, log, tenant) == expected
        assert refolded(client, database, log, tenant) == expected

    agree()


def table_of(events):
    schema = arrow_schema(EVENTS)
    return pa.Table.from_arrays(
        [pa.array([e.get(field.name) for e in events], field.type) for field in schema],
        schema=schema,
    )


def refolded(client, database, log, tenant):
    """Return the rows of a rebuilt log, and check that swapping it in would change nothing."""
    target = Target(database)
    run = rebuild.begin(client, target, log, take_over=True)
    for _ in run.fold():
        pass
    assert run.row_changes() == []
    run.swap()
    return in_engine(client, database, log, tenant)


@pytest.mark.parametrize("log", LOGS, ids=log_named)
def test_python_and_sql_read_any_state_alike(log, migrated):
    client, database = migrated.client, migrated.name

    @given(several=st.lists(states(log.folds), min_size=1, max_size=20))
    @ENGINE
    def agree(several):
        tenant = f"s{next(TENANTS)}"
        keys = [
            {"tenant_id": tenant, "recipient": f"r{n:03}", "message_id": "m"}
            for n in range(len(several))
        ]
        lines = [
            json.dumps({**key, **stored(log, state)}, ensure_ascii=False)
            for key, state in zip(keys, several, strict=True)
        ]
        client.raw_insert(
            f"{database}.{log.state_table}",
            column_names=[*KEY, *(f.name for f in log.folds)],
            insert_block="\n".join(lines).encode(errors="surrogateescape"),
            fmt="JSONEachRow",
            settings={"input_format_json_named_tuples_as_objects": 0},
        )
        expected = [
            comparable(read_row(log, key, state)) for key, state in zip(keys, several, strict=True)
            if not log.hidden.evaluate(state)
        ]  # fmt: skip
        assert in_engine(client, database, log, tenant) == expected

    agree()


def stored(log, state):
    """Return a state as JSON for the engine, in which bytes need not be UTF-8."""
    return {
        fold.name: pack(value, fold.kind).decode(errors="surrogateescape")
        if fold.is_packed else jsonable(value)
        for fold in log.folds for value in [state[fold.name]]
    }  # fmt: skip


def jsonable(value):
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03}"
    if isinstance(value, (frozenset, tuple)):
        return [jsonable(v) for v in value]
    return value


@pytest.mark.parametrize("log", LOGS, ids=log_named)
@given(data=st.data())
@settings(deadline=None)
def test_an_explanation_names_the_first_rule_that_holds(log, data):
    state = {**data.draw(states(log.folds)), "channel": log.channel}
    told = explain(state)
    assert told.status == derived_columns(log)["status"].evaluate(state)
    holding = [place for place, rule in enumerate(log.rules, 1) if rule.when.evaluate(state)]
    assert told.place == holding[0]
    assert told.rule == log.rules[told.place - 1].name


def test_every_column_of_a_message_event_is_stored():
    stored = set(EVENTS.columns)
    assert set(MessageEvent.model_fields) - {"source"} <= stored
