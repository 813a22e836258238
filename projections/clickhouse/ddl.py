"""The database's definition, generated from the declarations.

A log is three things: a table of partial states, which the engine merges in the background; a
materialised view that folds each insert into `events` as it lands; and a view that reads the
states, merged, as people see them. The same fold expression makes the states in a rebuild.

With a cluster named in the settings every table is a replicated local one (`…_local`) under a
distributed one; the shard key keeps all of a recipient together, so that folds stay on their shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from projections.expressions import BOOL, TIME, plain, quote
from projections.folds import Fold
from projections.presence import FAST, MERGED, SEEN, declared
from projections.status import steps
from projections.tables import KEY, Projection, Table, projections, tables, views

SHARD_KEY: Final = "cityHash64(tenant_id, recipient)"
_KEY_DDL: Final = "tenant_id LowCardinality(String), recipient String, message_id String"
#: A column of every state table: its key in eight bytes, to look many messages up by.
HASH: Final = "key_hash"
HASH_SQL: Final = "cityHash64(recipient, message_id)"
#: Eight bytes more: by both together messages are told apart without their texts being read. That
#: two of ten million are taken for one has a chance of 1 to 10 to the 25.
CHECK: Final = "key_check"
#: The first time of a state, by a type that is never missing: only by such does the engine find the
#: first and the last of all without reading every one (newest of 5 million: 125 to 65 ms).
DATED: Final = "dated"
_COMPUTED: Final = {
    HASH: f"{HASH} UInt64 MATERIALIZED {HASH_SQL} CODEC(NONE)",
    CHECK: f"{CHECK} UInt64 MATERIALIZED sipHash64(recipient, message_id) CODEC(NONE)",
    DATED: (
        f"{DATED} SimpleAggregateFunction(min, {TIME}) MATERIALIZED assumeNotNull(first_at) {FAST}"
    ),
}
#: The table of which messages are about a record, and the view that fills it, under this name once
#: what was there before is in it (`projections.queries.record_index`).
RECORDS: Final = "records"
RECORDS_VIEW: Final = "records_fill"
#: What tells the engine which granules hold nothing as early or late as what it has found already.
BY_TIME: Final = f"by_time {DATED} TYPE minmax GRANULARITY 1"
#: Small blocks keep the read of a few rows small: 55 whole messages of 5 million in 60 ms rather
#: than 120, for 2 % more on disk.
_BLOCKS: Final = "min_compress_block_size = 8192"
#: A new part of a plain table is one file rather than two for each column, until it has been merged
#: to this size: some 150 files fewer for an insert of 40,000 events (150,000 to 178,000 rows/s with
#: both folds). Not so the states: pages read a few of their columns, of all parts.
_PARTS: Final = "min_bytes_for_wide_part = 100000000"
#: A few rows of many columns are read by all cores, not by one: 55 messages in 74, not 105 ms.
ALL_CORES: Final = (
    "merge_tree_min_rows_for_concurrent_read = 1, merge_tree_min_bytes_for_concurrent_read = 1"
)
_STATE_SETTINGS: Final = f"index_granularity = 1024, {_BLOCKS}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the definitions go: a database, on one server or on a cluster."""

    database: str
    cluster: str = ""

    @property
    def on_cluster(self) -> str:
        """The clause that runs a statement on every server of the cluster."""
        return f" ON CLUSTER {quote(self.cluster)}" if self.cluster else ""

    def stored(self, table: str) -> str:
        """Return the qualified name of the table that holds the rows of `table` on a server."""
        return f"{self.database}.{table}_local" if self.cluster else f"{self.database}.{table}"

    def engine(self, name: str, arguments: str = "") -> str:
        """Return a MergeTree engine, replicated on a cluster."""
        return f"{'Replicated' if self.cluster else ''}{name}({arguments})"


def fold_select(projection: Projection, source: str, where: str = "") -> str:
    """Return the SELECT that folds the events of `source` into states, one row per key.

    `where` narrows the events further; it may hold bound parameters.
    """
    kinds = ", ".join(map(quote, sorted(projection.kinds)))
    conditions = [
        f"channel = {quote(projection.channel)}", f"kind IN ({kinds})",
        "message_id != ''", "recipient != ''", *([where] if where else []),
    ]  # fmt: skip
    columns = ", ".join([*KEY, *(each.sql for each in projection.folds)])
    return (
        f"SELECT {columns} FROM {source} WHERE {' AND '.join(conditions)} GROUP BY {', '.join(KEY)}"
        # A fold is often named like the column it folds; inside, the column is meant.
        " SETTINGS prefer_column_name_to_alias = 1"
    )


def merging_select(
    projection: Projection, source: str, where: str, *, prewhere: str = "",
    folds: Sequence[Fold] = (),
) -> str:  # fmt: skip
    """Return the SELECT that merges the partial states of a few messages, and their bits.

    What FINAL does for a whole table; but here `prewhere` and `where` are tested on the key first,
    and only what they leave is read: 34 ms for 50 messages of 5 million, with FINAL 1,600 ms.
    It has one row per key, and all folds unless only some are wanted (`seen.may_have`).
    """
    before = f"PREWHERE {prewhere} " if prewhere else ""
    merged = (each.merged for each in folds or projection.folds)
    columns = ", ".join([*KEY, *merged, MERGED])
    return (
        f"SELECT {columns} FROM {source} AS part {before}WHERE {where} GROUP BY {', '.join(KEY)}"
        f" SETTINGS prefer_column_name_to_alias = 1, {ALL_CORES}"
    )


def reading_select(projection: Projection, source: str) -> str:
    """Return the SELECT that reads the states of `source` (a table with FINAL, or a subquery)."""
    outer = ", ".join(
        f"CAST({reading.sql}, '{reading.kind}') AS {name}" if plain(reading.kind) == BOOL
        else name if reading.sql == name
        else f"{reading.sql} AS {name}"
        for name, reading in projection.readings.items()
    )  # fmt: skip
    inner = ", ".join(f"{step.sql} AS {name}" for name, step in steps(projection).items())
    return f"SELECT {outer} FROM (SELECT *, {inner} FROM {source})"


def computed(projection: Projection) -> dict[str, str]:
    """Return the columns of a table of states that the engine makes of the others, by name."""
    return {**_COMPUTED, SEEN: declared(projection)}


def state_table(projection: Projection, target: Target, name: str) -> str:
    """Return the statement that creates a table of partial states."""
    columns = ", ".join(
        [_KEY_DDL, *(f.ddl for f in projection.folds), *computed(projection).values()]
    )
    columns += f", INDEX {BY_TIME}"
    return (
        f"CREATE TABLE IF NOT EXISTS {name}{target.on_cluster} ({columns}) "
        f"ENGINE = {target.engine('AggregatingMergeTree')} ORDER BY ({', '.join(KEY)}) "
        f"SETTINGS {_STATE_SETTINGS} "
        f"COMMENT {quote('partial states of ' + projection.name + '; read the view instead')}"
    )


def folding_view(projection: Projection, target: Target, name: str, into: str) -> str:
    """Return the statement that folds every insert into `events` into the state table `into`."""
    select = fold_select(projection, target.stored("events"))
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name}{target.on_cluster} TO {into} AS {select}"


def records_table(target: Target) -> str:
    """Return the statement that creates the table of the messages of records."""
    return (
        f"CREATE TABLE IF NOT EXISTS {target.stored(RECORDS)}{target.on_cluster} "
        "(tenant_id LowCardinality(String), channel LowCardinality(String), record_id String, "
        f"recipient String, {HASH} UInt64 CODEC(NONE)) "
        f"ENGINE = {target.engine('ReplacingMergeTree')} "
        f"ORDER BY (tenant_id, channel, record_id, recipient, {HASH}) "
        "COMMENT 'which messages facts say to be about a record'"
    )


def records_view(target: Target, name: str = RECORDS_VIEW) -> str:
    """Return the statement that has the records of every insert into `events` noted."""
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {target.database}.{name}{target.on_cluster} "
        f"TO {target.stored(RECORDS)} AS SELECT tenant_id, channel, "
        # As a log shows it: what it keeps has no zero bytes.
        rf"replaceAll(fact.record_id, '\0', '') AS record_id, recipient, {HASH_SQL} AS {HASH} "
        f"FROM {target.stored('events')} AS fact "
        "WHERE fact.record_id != '' AND message_id != '' AND recipient != ''"
    )


def plain_table(table: Table, target: Target) -> str:
    """Return the statement that creates a table that rows are inserted into."""
    columns = ", ".join(
        f"{name} {kind}" for name, kind in {**table.columns, **table.computed}.items()
    )
    return (
        f"CREATE TABLE IF NOT EXISTS {target.stored(table.name)}{target.on_cluster} ({columns}) "
        f"ENGINE = {target.engine('ReplacingMergeTree', table.version)} "
        f"ORDER BY ({', '.join(table.order_by)}) COMMENT {quote(table.comment)}"
    )


def _distributed(name: str, target: Target, shard_key: str) -> Iterator[str]:
    if target.cluster:
        local = f"{name}_local"
        yield (
            f"CREATE TABLE IF NOT EXISTS {target.database}.{name}{target.on_cluster} "
            f"AS {target.database}.{local} ENGINE = Distributed({quote(target.cluster)}, "
            f"{quote(target.database)}, {quote(local)}, {shard_key})"
        )


def table_statements(target: Target) -> Iterator[str]:
    """Yield the statements that create the database and its tables.

    A table made without an index, a setting or a codec gets it, and its parts when they are merged.
    """
    yield f"CREATE DATABASE IF NOT EXISTS {target.database}{target.on_cluster} ENGINE = Atomic"
    for table in tables().values():
        yield plain_table(table, target)
        yield f"ALTER TABLE {target.stored(table.name)}{target.on_cluster} MODIFY SETTING {_PARTS}"
        by_place = f"cityHash64({', '.join(table.order_by)})"
        shard_key = SHARD_KEY if "recipient" in table.columns else by_place
        yield from _distributed(table.name, target, shard_key)
    yield records_table(target)
    yield from _distributed(RECORDS, target, SHARD_KEY)
    for projection in projections().values():
        states = target.stored(projection.state_table)
        yield state_table(projection, target, states)
        changes = [f"MODIFY SETTING {_BLOCKS}"]
        changes += [f"MODIFY COLUMN IF EXISTS {f.ddl}" for f in projection.folds if f.uncompressed]
        for change in changes:
            yield f"ALTER TABLE {states}{target.on_cluster} {change}"
        yield from _distributed(projection.state_table, target, SHARD_KEY)


def view_statements(target: Target) -> Iterator[str]:
    """Yield the statements that create or renew the views, whose tables have all their columns."""
    yield records_view(target)
    for projection in projections().values():
        states, view = projection.state_table, f"{target.database}.{projection.name}"
        yield folding_view(projection, target, f"{view}_fold", target.stored(states))
        # The same statement changes nothing; a changed fold takes effect from the next insert on.
        yield (
            f"ALTER TABLE {view}_fold{target.on_cluster} "
            f"MODIFY QUERY {fold_select(projection, target.stored('events'))}"
        )
        yield (
            f"CREATE OR REPLACE VIEW {view}{target.on_cluster} AS "
            f"{reading_select(projection, f'{target.database}.{states} FINAL')}"
        )
    for reading in views().values():
        select = reading.select.replace("{database}", target.database).strip()
        yield (
            f"CREATE OR REPLACE VIEW {target.database}.{reading.name}{target.on_cluster} "
            f"AS {select} COMMENT {quote(reading.comment)}"
        )
