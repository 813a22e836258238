"""Raw records as they were kept, and the events that the store has of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from projections.clickhouse.sql import Parameters, fetch_rows, sent_along
from projections.clickhouse.store import arrow_schema
from projections.column_types import STRING
from projections.tables.events import TABLE as EVENTS
from projections.tables.raw_records import TABLE as RAW_RECORDS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Records of a slice: their events are in memory, and to find them reads where all events are from.
SLICE_RECORDS: Final = 100_000
#: Rows of a block: a record may have a megabyte.
_BLOCK_SETTINGS: Final = {"max_block_size": 1024, "preferred_block_size_bytes": 4_000_000}
_RAW_COLUMNS: Final = ", ".join(RAW_RECORDS.columns)
_EVENT_SCHEMA: Final = arrow_schema(EVENTS)
_EVENT_COLUMNS: Final = ", ".join(EVENTS.columns)
#: What finds an event in the store, which is in this order.
_EVENT_KEY: Final = {
    "tenant_id": STRING, "channel": STRING, "kind": STRING,
    "occurred_at": "DateTime64(3, 'UTC')", "event_id": STRING,
}  # fmt: skip


class RawPartition(NamedTuple):
    """A partition of a topic, and how many raw records there are of it."""

    topic: str
    partition: int
    records: int


class RawSlice(NamedTuple):
    """Raw records of a partition, by their first and last offset."""

    topic: str
    partition: int
    first: int
    last: int


def raw_partitions(
    client: Client, database: str, *, topics: Sequence[str] = (), since_ms: int | None = None
) -> list[RawPartition]:
    """Return what raw records there are, in order; of some topics, or since a time, if asked."""
    parameters, conditions = Parameters(), list[str]()
    if topics:
        conditions.append(f"topic IN {parameters.bind_list(topics, STRING)}")
    if since_ms is not None:
        conditions.append(f"timestamp >= {parameters.bind(since_ms, 'Int64')}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = (
        f"SELECT topic, partition, count() FROM {database}.{RAW_RECORDS.name}{where} "
        "GROUP BY topic, partition ORDER BY topic, partition"
    )
    return [RawPartition(*row) for row in fetch_rows(client, sql, parameters.values)]


def raw_slices(
    client: Client, database: str, place: RawPartition, since_ms: int | None = None
) -> Iterator[RawSlice]:
    """Yield a partition in slices of about `SLICE_RECORDS`, in order."""
    first = None
    while True:
        parameters = Parameters()
        where = _raw_where(parameters, place.topic, place.partition, since_ms)
        if first is not None:
            where += f" AND offset > {parameters.bind(first, 'Int64')}"
        sql = (
            f"SELECT min(offset), max(offset), count() FROM (SELECT offset FROM "
            f"{database}.{RAW_RECORDS.name} WHERE {where} ORDER BY offset LIMIT {SLICE_RECORDS})"
        )
        [(start, end, count)] = fetch_rows(client, sql, parameters.values)
        if not count:
            return
        yield RawSlice(place.topic, place.partition, int(start), int(end))
        first = int(end)


def read_slice(
    client: Client, database: str, part: RawSlice, since_ms: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the raw records of a slice in order of their offsets, copies beside each other."""
    parameters = Parameters()
    where = _raw_where(parameters, part.topic, part.partition, since_ms)
    where += (
        f" AND offset >= {parameters.bind(part.first, 'Int64')} "
        f"AND offset <= {parameters.bind(part.last, 'Int64')}"
    )
    sql = (
        f"SELECT {_RAW_COLUMNS} FROM {database}.{RAW_RECORDS.name} WHERE {where} "
        "ORDER BY topic, partition, offset, timestamp"
    )
    with client.query_arrow_stream(
        sql, settings=_BLOCK_SETTINGS, use_strings=False, **sent_along(parameters.values)
    ) as batches:
        yield from batches


def raw_records_of(
    client: Client, database: str, places: Sequence[tuple[str, int, int]]
) -> pa.Table:
    """Return the raw records of some places: topic, partition, offset."""
    parameters = Parameters()
    inside = parameters.bind_list(places, STRING, "Int32", "Int64")
    sql = (
        f"SELECT {_RAW_COLUMNS} FROM {database}.{RAW_RECORDS.name} "
        f"WHERE (topic, partition, offset) IN {inside} "
        "ORDER BY topic, partition, offset, timestamp"
    )
    return client.query_arrow(sql, use_strings=False, **sent_along(parameters.values))


def events_of_slice(client: Client, database: str, part: RawSlice) -> pa.Table:
    """Return the stored events that came from the records of a slice."""
    parameters = Parameters()
    where = (
        f"source_topic = {parameters.bind(part.topic, STRING)} "
        f"AND source_partition = {parameters.bind(part.partition, 'Int32')} "
        f"AND source_offset >= {parameters.bind(part.first, 'Int64')} "
        f"AND source_offset <= {parameters.bind(part.last, 'Int64')}"
    )
    return _events(client, database, where, parameters)


def events_with_keys(client: Client, database: str, keys: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return the stored events of some keys: tenant, channel, kind, time as text, and id."""
    parameters = Parameters()
    inside = parameters.bind_list(keys, *_EVENT_KEY.values())
    return _events(client, database, f"({', '.join(_EVENT_KEY)}) IN {inside}", parameters)


def _events(client: Client, database: str, where: str, parameters: Parameters) -> pa.Table:
    sql = f"SELECT {_EVENT_COLUMNS} FROM {database}.{EVENTS.name} WHERE {where}"
    rows = client.query_arrow(sql, use_strings=False, **sent_along(parameters.values))
    return rows.cast(_EVENT_SCHEMA)


def _raw_where(parameters: Parameters, topic: str, partition: int, since_ms: int | None) -> str:
    where = (
        f"topic = {parameters.bind(topic, STRING)} "
        f"AND partition = {parameters.bind(partition, 'Int32')}"
    )
    if since_ms is not None:
        where += f" AND timestamp >= {parameters.bind(since_ms, 'Int64')}"
    return where
