"""Raw records in the engine: once however often they come, and as long as the settings say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from processor.replay.message import replay_message
from processor.replay.preview import Preview
from projections.clickhouse.client import scalar
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.mutations import wait_for_mutations
from projections.clickhouse.retention import apply_retention
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.tables import log_of
from projections.tables.raw_records import TABLE
from tests.clickhouse import connect_to
from tests.raw_history import decoder, demo_records, put_history


def raw_record(offset, **fields):
    headers = [{"name": b"B", "value": b"\xff"}, {"name": b"B", "value": None}]
    return {
        "topic": b"email.sends", "partition": 0, "offset": offset, "timestamp": 1_793_500_000_000,
        "headers": headers, "value": b"\x00\xff", **fields,
    }  # fmt: skip


def put(client, target, *records):
    rows = pa.Table.from_pylist(list(records), schema=arrow_schema(TABLE))
    insert_rows(client, target.database, TABLE, rows)


@pytest.fixture
def database(fresh_database):
    client, target = connect_to(fresh_database.url), Target(fresh_database.name)
    list(migrate(client, target))
    return client, target


def kept_offsets(client, target):
    sql = f"SELECT offset FROM {target.stored(TABLE.name)} ORDER BY offset"
    return [row[0] for row in client.query(sql).result_rows]


def test_a_redelivered_record_is_there_once_with_its_bytes(database):
    client, target = database
    put(client, target, raw_record(1), raw_record(2, value=b"b"))
    put(client, target, raw_record(1))
    client.command(f"OPTIMIZE TABLE {target.stored(TABLE.name)} FINAL")
    assert kept_offsets(client, target) == [1, 2]
    sql = (
        "SELECT hex(value), arrayMap(each -> (each.name, hex(assumeNotNull(each.value)), "
        f"isNull(each.value)), headers) FROM {target.database}.{TABLE.name} WHERE offset = 1"
    )
    [(value, headers)] = client.query(sql).result_rows
    assert value == "00FF"
    assert [tuple(each) for each in headers] == [("B", "FF", 0), ("B", "", 1)]


def test_the_offset_of_a_topic_that_was_made_anew_is_another_record(database):
    client, target = database
    put(client, target, raw_record(1), raw_record(1, timestamp=1_793_500_000_001))
    client.command(f"OPTIMIZE TABLE {target.stored(TABLE.name)} FINAL")
    assert kept_offsets(client, target) == [1, 1]


def test_retention_is_applied_once_and_can_be_lifted(database):
    client, target = database
    assert list(apply_retention(client, target, TABLE, 0)) == []
    assert list(apply_retention(client, target, TABLE, 30)) == ["raw_records are kept 30 days"]
    assert list(apply_retention(client, target, TABLE, 30)) == []
    assert list(apply_retention(client, target, TABLE, 3000)) == ["raw_records are kept 3,000 days"]
    assert list(apply_retention(client, target, TABLE, 0)) == ["raw_records are kept for ever"]
    assert list(apply_retention(client, target, TABLE, 0)) == []
    assert list(migrate(client, target)) == []


def test_what_was_stored_longer_ago_than_retention_is_deleted(database):
    client, target = database
    put(client, target, raw_record(1))
    old = datetime.now(UTC).date() - timedelta(days=31)
    client.command(
        f"INSERT INTO {target.database}.{TABLE.name} (topic, partition, offset, timestamp, "
        f"stored_on) VALUES ('email.sends', 0, 2, 1793500000000, '{old}')",
        settings={"insert_allow_materialized_columns": 1},
    )
    list(apply_retention(client, target, TABLE, 30))
    list(wait_for_mutations(client, target, TABLE.name))
    client.command(f"OPTIMIZE TABLE {target.stored(TABLE.name)} FINAL")
    assert kept_offsets(client, target) == [1]


def test_a_partition_is_on_one_shard_and_retention_on_all(cluster_database):
    client, target = cluster_database
    put(client, target, *(raw_record(n, partition=n % 8) for n in range(160)))
    sql = (
        "SELECT max(shards), sum(records) FROM (SELECT uniqExact(_shard_num) AS shards, "
        f"count() AS records FROM {target.database}.{TABLE.name} GROUP BY topic, partition)"
    )
    assert client.query(sql).result_rows == [(1, 160)]
    assert list(apply_retention(client, target, TABLE, 7)) == ["raw_records are kept 7 days"]
    for node in client.clients:
        sql = "SELECT engine_full FROM system.tables WHERE name = 'raw_records_local'"
        assert "toIntervalDay(7)" in scalar(node, f"{sql} AND database = '{target.database}'")


def test_on_two_shards_history_is_derived_again_as_on_one_server(cluster_database):
    client, target = cluster_database
    records = list(demo_records(150))
    put_history(client, target.database, records)
    preview = Preview()
    list(preview.compare(client, target.database, decoder()))
    assert (preview.records, preview.differences, preview.rows) == (len(records), [], [])
    rows = client.query(f"SELECT message_id FROM {target.database}.email_log LIMIT 5").result_rows
    for (message_id,) in rows:
        log = log_of("email")
        for row in replay_message(client, target.database, decoder(), log, message_id):
            assert row.is_same
            assert not row.underived
