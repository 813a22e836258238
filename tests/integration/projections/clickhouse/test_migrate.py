"""Bringing an older database up to the declarations, and rebuilding while facts arrive."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from projections.clickhouse import ddl, migrate, mutations, rebuild
from projections.clickhouse.client import FatalError, scalar
from projections.clickhouse.ddl import Target
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.queries.counts import Period, daily_counts
from projections.queries.listing import Listing
from projections.queries.page import read_listing
from projections.tables import projections
from projections.tables.events import TABLE as EVENTS
from tests.clickhouse import connect_to

LOG = projections()["email_log"]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def event(number, **fields):
    return {
        "tenant_id": "t", "channel": "email", "kind": "sent", "occurred_at": NOW,
        "recorded_at": NOW, "event_id": f"{number:032x}", "message_id": f"m{number}",
        "recipient": "a@example.com", **fields,
    }  # fmt: skip


def put(client, database, *events):
    schema = arrow_schema(EVENTS)
    insert_rows(client, database, EVENTS, pa.Table.from_pylist(list(events), schema=schema))


def log_with(fresh, *events):
    """Migrate a database and put events into it; return its client and target."""
    client, target = connect_to(fresh.url), Target(fresh.name)
    list(migrate.migrate(client, target))
    put(client, target.database, *events)
    return client, target


def test_a_column_added_to_a_log_is_migrated_and_filled_by_a_rebuild(fresh_database, monkeypatch):
    client = connect_to(fresh_database.url)
    target = Target(fresh_database.name)
    older = replace(
        LOG,
        folds=tuple(fold for fold in LOG.folds if fold.name != "tags"),
        presence_folds=tuple(fold for fold in LOG.presence_folds if fold.name != "tags"),
        columns={name: how for name, how in LOG.columns.items() if name != "tags"},
    )
    with monkeypatch.context() as before:
        for module in (ddl, migrate):
            before.setattr(module, "projections", lambda: {**projections(), "email_log": older})
        list(migrate.migrate(client, target))
        put(client, target.database, event(1, tags=["spring"]))
    assert list(migrate.migrate(client, target)) == [
        "added tags to email_log: sendlog rebuild email_log fills history",
        "renewed column seen of email_log_state",
    ]
    put(client, target.database, event(2, tags=["autumn"]))

    def tags():
        sql = f"SELECT message_id, tags FROM {target.database}.email_log ORDER BY message_id"
        return client.query(sql).result_rows

    assert tags() == [("m1", []), ("m2", ["autumn"])]
    run = rebuild.begin(client, target, LOG)
    list(run.fold())
    [change] = run.row_changes()
    assert (change.before, change.after, change.rows) == ("Sent", "Sent", 1)
    assert change.columns == ("tags",)
    run.swap()
    assert tags() == [("m1", ["spring"]), ("m2", ["autumn"])]
    assert list(migrate.migrate(client, target)) == []


def test_what_the_engine_makes_of_states_it_makes_of_those_from_before_too(fresh_database):
    client = connect_to(fresh_database.url)
    target = Target(fresh_database.name)
    states = target.stored(LOG.state_table)
    list(migrate.migrate(client, target))
    client.command(f"ALTER TABLE {states} DROP INDEX by_time")
    for name in ("key_check", "dated", "seen"):
        client.command(f"ALTER TABLE {states} DROP COLUMN {name}")
    later = NOW + timedelta(hours=1)
    put(client, target.database, event(1, kind="open"), event(2, kind="bounce", occurred_at=later))

    def counted():
        day = NOW.replace(hour=0)
        asked = client, target.database, Period("email", "t", day, day + timedelta(days=1))
        return {status: messages for _, status, messages in daily_counts(*asked)}

    assert list(migrate.migrate(client, target)) == [
        f"added column {name} of email_log_state" for name in ("key_check", "dated", "seen")
    ]
    newest = Listing(channel="email", tenant="t", limit=1)
    oldest = replace(newest, descending=False)
    for wanted, name in ((newest, "m2"), (oldest, "m1")):
        assert [row["message_id"] for row in read_listing(client, target.database, wanted)] == [
            name
        ]
    put(client, target.database, event(1, kind="click"), event(3, kind="delivery"))
    assert counted() == {"Click": 1, "Sent": 1, "Delivery": 1}
    client.command(f"OPTIMIZE TABLE {states} FINAL")
    assert counted() == {"Click": 1, "Sent": 1, "Delivery": 1}
    assert list(migrate.migrate(client, target)) == []


def test_columns_are_packed_as_declared_in_a_table_from_before_too(fresh_database):
    client = connect_to(fresh_database.url)
    target = Target(fresh_database.name)
    list(migrate.migrate(client, target))

    def packed():
        found = client.query(
            "SELECT name, compression_codec, type, default_expression FROM system.columns "
            "WHERE database = {database:String} AND table = 'email_log_state' "
            "AND name IN ('subject_packed', 'dated', 'seen', 'key_hash')",
            parameters={"database": target.database},
        )
        return {row[0]: row[1:] for row in found.result_rows}

    declared = packed()
    assert {name: codec for name, (codec, *_) in declared.items()} == {
        "subject_packed": "CODEC(NONE)", "dated": "CODEC(T64)", "seen": "CODEC(T64)",
        "key_hash": "CODEC(NONE)",
    }  # fmt: skip
    for name, (_, kind, made) in declared.items():
        of = f"MATERIALIZED {made}" if made else ""
        client.command(
            f"ALTER TABLE {target.stored(LOG.state_table)} "
            f"MODIFY COLUMN {name} {kind} {of} CODEC(LZ4)"
        )
    assert {codec for codec, *_ in packed().values()} == {"CODEC(LZ4)"}
    assert list(migrate.migrate(client, target)) == []
    assert packed() == declared


def test_a_bit_more_is_made_of_states_from_before_too(fresh_database, monkeypatch):
    client = connect_to(fresh_database.url)
    target = Target(fresh_database.name)
    older = replace(LOG, presence_folds=LOG.presence_folds[: LOG.presence_folds.index(next(
        fold for fold in LOG.presence_folds if fold.name == "tags"))])  # fmt: skip
    with monkeypatch.context() as before:
        for module in (ddl, migrate):
            before.setattr(module, "projections", lambda: {**projections(), "email_log": older})
        list(migrate.migrate(client, target))
        put(client, target.database, event(1, tags=["spring"]))
    assert list(migrate.migrate(client, target)) == ["renewed column seen of email_log_state"]
    put(client, target.database, event(2, tags=["autumn"]))
    [row, other] = read_listing(client, target.database, Listing(channel="email", tenant="t"))
    assert {row["message_id"]: row["tags"], other["message_id"]: other["tags"]} == {
        "m1": ["spring"], "m2": ["autumn"]
    }  # fmt: skip
    assert list(migrate.migrate(client, target)) == []


def test_a_migration_outlasts_its_requests_and_goes_on_after_a_break(fresh_database, monkeypatch):
    client = connect_to(fresh_database.url, timeout=5)
    target = Target(fresh_database.name)
    states = target.stored(LOG.state_table)
    list(migrate.migrate(client, target))
    put(client, target.database, event(1, kind="open"), event(2, attempt=0))
    client.command(f"ALTER TABLE {states} DROP INDEX by_time")
    client.command(f"ALTER TABLE {states} DROP COLUMN seen")
    monkeypatch.setattr(mutations, "REPORT_INTERVAL_SECONDS", 0)

    def begun(table):
        return scalar(
            client,
            "SELECT count() FROM system.mutations WHERE database = {database:String} "
            "AND table = {table:String} AND (position(command, 'MATERIALIZE COLUMN') > 0 "
            "OR position(command, 'UPDATE attempt') > 0)",
            {"database": target.database, "table": table},
        )

    for table in (LOG.state_table, "events"):
        stored = target.stored(table)
        client.command(f"SYSTEM STOP MERGES {stored}")  # of mutations, too
        for _ in range(2):  # broken off twice
            lines = migrate.migrate(client, target)
            assert next(lines).startswith(f"waiting for {table}: ")
            lines.close()
        assert begun(table) == 1
        # What is done by now is not begun again, and not forgotten either.
        client.command(f"SYSTEM STOP MERGES {target.stored('events')}")
        client.command(f"SYSTEM START MERGES {states}")
        lines = migrate.migrate(client, target)
        if table == LOG.state_table:
            while next(lines) != f"renewed column seen of {table}":
                pass
        lines.close()
    client.command(f"SYSTEM START MERGES {target.stored('events')}")
    list(migrate.migrate(client, target))
    assert begun("events") == 1
    assert scalar(client, f"SELECT min(attempt) FROM {target.stored('events')}") == 1
    period = Period("email", "t", NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=1))
    counted = {status: count for _, status, count in daily_counts(client, target.database, period)}
    assert counted == {"Open": 1, "Sent": 1}
    assert list(migrate.migrate(client, target)) == []


def test_a_mutation_that_fails_is_reported_not_waited_for(fresh_database):
    client, target = log_with(fresh_database, event(1))
    client.command(
        f"ALTER TABLE {target.stored('events')} "
        "UPDATE attempt = throwIf(message_id != '', 'no') WHERE 1",
        settings=mutations.UNWAITED,
    )
    with pytest.raises(FatalError, match=r"of events fails: .*no"):
        list(mutations.wait_for_mutations(client, target, "events"))


def test_an_attempt_zero_from_before_is_the_first_one_for_log_and_rebuild(fresh_database):
    client, target = log_with(fresh_database, event(1, attempt=0), event(2))
    assert list(migrate.migrate(client, target)) == [
        "attempt 0 of 1 facts is 1: sendlog rebuild shows it in the logs"
    ]
    put(client, target.database, event(1))  # the same again, as it is read now
    client.command(f"OPTIMIZE TABLE {target.stored('events')} FINAL")
    run = rebuild.begin(client, target, LOG)
    list(run.fold())
    assert run.row_changes() == []
    run.swap()
    rows = read_listing(client, target.database, Listing(channel="email", tenant="t"))
    assert [row["attempts"] for row in rows] == [1, 1]
    assert list(migrate.migrate(client, target)) == []


def test_migrating_two_shards_again_changes_nothing_and_completes_a_node(cluster_database):
    client, target = cluster_database
    assert list(migrate.migrate(client, target)) == []
    put(client, target.database, *(event(n, recipient=f"p{n}@x.example") for n in range(40)))
    put(client, target.database, event(50, attempt=0))
    states = target.stored("email_log_state")
    for node in client.clients[1:]:  # as a node that was made anew
        node.command(f"ALTER TABLE {states} DROP INDEX by_time")
        node.command(f"ALTER TABLE {states} DROP COLUMN seen")
        node.command(f"ALTER TABLE {target.stored('suppression_history')} DROP COLUMN actor")
    assert list(migrate.migrate(client, target)) == [
        "added column actor to suppression_history", "added column seen of email_log_state",
        "attempt 0 of 1 facts is 1: sendlog rebuild shows it in the logs",
    ]  # fmt: skip
    assert list(migrate.migrate(client, target)) == []
    listing = Listing(channel="email", tenant="t", limit=100)
    assert len(list(read_listing(client, target.database, listing))) == 41
    counts = [
        node.query(f"SELECT count(), countIf(seen != 0) FROM {states}").result_rows[0]
        for node in client.clients
    ]
    assert all(count == written > 0 for count, written in counts)


def test_what_arrives_during_a_rebuild_is_in_the_rebuilt_log(fresh_database):
    client, target = log_with(fresh_database, *(event(n) for n in range(100)))
    run = rebuild.begin(client, target, LOG)
    for step in run.fold():
        put(client, target.database, event(1000 + step.done))
    put(client, target.database, event(2000))
    run.swap()
    put(client, target.database, event(3000))
    [[count]] = client.query(f"SELECT count() FROM {target.database}.email_log").result_rows
    assert count == 104
    names = client.query(f"SHOW TABLES FROM {target.database}").result_rows
    assert not [name for (name,) in names if "fresh" in name]


def test_of_two_rebuilds_at_once_the_second_is_refused(fresh_database):
    client, target = log_with(fresh_database, *(event(n) for n in range(100)))
    first = rebuild.begin(client, target, LOG)
    list(first.fold())
    with pytest.raises(FatalError, match="another rebuild of email_log began 0 minutes ago"):
        rebuild.begin(client, target, LOG)
    first.swap()
    second = rebuild.begin(client, target, LOG)
    second.discard()
    assert count_rows(client, target) == 100


def test_a_rebuild_that_another_has_taken_over_changes_nothing(fresh_database, monkeypatch):
    client, target = log_with(fresh_database, *(event(n) for n in range(100)))
    first = rebuild.begin(client, target, LOG)
    list(first.fold())
    second = rebuild.begin(client, target, LOG, take_over=True)
    with pytest.raises(FatalError, match="another run has discarded this rebuild"):
        first.swap()
    list(second.fold())
    monkeypatch.setattr(rebuild, "STALE_SECONDS", 0)
    third = rebuild.begin(client, target, LOG)
    list(third.fold())
    third.swap()
    assert count_rows(client, target) == 100


def test_a_table_that_has_lost_what_was_folded_into_it_is_not_swapped_in(fresh_database):
    client, target = log_with(fresh_database, *(event(n) for n in range(100)))
    run = rebuild.begin(client, target, LOG)
    list(run.fold())
    [[fresh]] = client.query(
        f"SHOW TABLES FROM {target.database} WHERE name LIKE '%fresh%' AND name NOT LIKE '%fold'"
    ).result_rows
    client.command(f"TRUNCATE TABLE {target.database}.{fresh}")
    with pytest.raises(FatalError, match="has 0 messages, and 100 were folded"):
        run.swap()
    assert count_rows(client, target) == 100


def count_rows(client, target):
    [[count]] = client.query(f"SELECT count() FROM {target.database}.email_log").result_rows
    return count


def test_events_of_before_are_of_an_unknown_version_of_their_adapter(fresh_database):
    client, target = log_with(fresh_database)
    client.command(f"ALTER TABLE {target.stored('events')} DROP COLUMN adapter_version")
    client.command(f"INSERT INTO {target.stored('events')} (event_id) VALUES ('before')")
    assert list(migrate.migrate(client, target)) == ["added column adapter_version to events"]
    put(client, target.database, event(1, adapter_version=3))
    sql = f"SELECT adapter_version FROM {target.stored('events')} ORDER BY adapter_version"
    assert client.query(sql).result_rows == [(0,), (3,)]
