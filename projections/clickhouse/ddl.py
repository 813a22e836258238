"""The database's definition, generated from the declarations.

A log is three things: a table of partial states, which the engine merges in the background; a
materialised view that folds each insert into `events` as it lands; and a view that reads the
states, merged, as people see them. The same fold expression makes the states in a rebuild.

With a cluster named in the settings every table is a replicated local one (`…_local`) under a
distributed one; the shard key keeps all of a recipient together, so that folds stay on their shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from projections.column_types import BOOL, TIME, base_type
from projections.expressions import Expression, quote
from projections.folds import Fold
from projections.presence import MERGED_PRESENCE, PRESENCE, T64_CODEC, presence_column
from projections.status import derived_columns
from projections.tables import KEY, Fill, Projection, Table, projections, tables, views

SHARD_KEY: Final = "cityHash64(tenant_id, recipient)"
_KEY_DDL: Final = "tenant_id LowCardinality(String), recipient String, message_id String"
#: A column of every state table: its key in eight bytes, to look many messages up by.
KEY_HASH: Final = "key_hash"
KEY_HASH_SQL: Final = "cityHash64(recipient, message_id)"
#: Eight bytes more: by both together messages are told apart without their texts being read. That
#: two of ten million are taken for one has a chance of 1 to 10 to the 25.
KEY_CHECK: Final = "key_check"
#: The date of a partial state, its first time, by a type that is never missing: only by such does
#: the engine find the first and the last without reading every one (E-045).
STATE_DATE: Final = "dated"
_COMPUTED_COLUMNS: Final = {
    KEY_HASH: f"{KEY_HASH} UInt64 MATERIALIZED {KEY_HASH_SQL} CODEC(NONE)",
    KEY_CHECK: f"{KEY_CHECK} UInt64 MATERIALIZED sipHash64(recipient, message_id) CODEC(NONE)",
    STATE_DATE: (
        f"{STATE_DATE} SimpleAggregateFunction(min, {TIME}) "
        f"MATERIALIZED assumeNotNull(first_at) {T64_CODEC}"
    ),
}
#: The table of which messages are about a customer record, and the view that fills it
#: (`projections.queries.record_index`).
RECORD_INDEX_TABLE: Final = "records"
RECORD_INDEX_VIEW: Final = "records_fill"
#: Between the name of a table of states and what tells one rebuild from another.
REBUILD_SUFFIX: Final = "_fresh"
#: The comment of a table that has not got what is in `events` of the past yet.
UNFILLED: Final = "to be filled from events of the past"
#: Tells the engine which granules hold nothing as early or late as what it has found already.
DATE_INDEX: Final = f"by_time {STATE_DATE} TYPE minmax GRANULARITY 1"
#: Small blocks keep the read of a few rows small (E-057).
_BLOCK_SETTING: Final = "min_compress_block_size = 8192"
#: A new part of a plain table is one file, not two for each column, until it has been merged to
#: this size (E-062). Not so the states: pages read a few of their columns, of all parts.
_PART_SETTING: Final = "min_bytes_for_wide_part = 100000000"
#: A few rows of many columns are read by all cores, not by one (E-046).
ALL_CORES: Final = (
    "merge_tree_min_rows_for_concurrent_read = 1, merge_tree_min_bytes_for_concurrent_read = 1"
)
_STATE_SETTINGS: Final = f"index_granularity = 1024, {_BLOCK_SETTING}"


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

    def system(self, table: str) -> str:
        """Return a system table with the rows of every node."""
        if not self.cluster:
            return f"system.{table}"
        return f"clusterAllReplicas({quote(self.cluster)}, system.{table})"

    def each_shard(self, select: str) -> str:
        """Return the rows of a SELECT over stored tables, run on each shard, as a source."""
        return f"cluster({quote(self.cluster)}, view({select}))" if self.cluster else f"({select})"

    def engine(self, name: str, arguments: str = "") -> str:
        """Return a MergeTree engine, replicated on a cluster."""
        return f"{'Replicated' if self.cluster else ''}{name}({arguments})"


def fold_select(log: Projection, source: str, where: str = "") -> str:
    """Return the SELECT that folds the events of `source` into states, one row per key.

    `where` narrows the events further; it may hold bound parameters.
    """
    kinds = ", ".join(map(quote, sorted(log.kinds)))
    conditions = [
        f"channel = {quote(log.channel)}", f"kind IN ({kinds})",
        "message_id != ''", "recipient != ''", *([where] if where else []),
    ]  # fmt: skip
    columns = ", ".join([*KEY, *(fold.sql for fold in log.folds)])
    return (
        f"SELECT {columns} FROM {source} WHERE {' AND '.join(conditions)} GROUP BY {', '.join(KEY)}"
        # A fold is often named like the column it folds; inside, the column is meant.
        " SETTINGS prefer_column_name_to_alias = 1"
    )


def merge_select(
    log: Projection, source: str, where: str, *, prewhere: str = "", folds: Sequence[Fold] = (),
) -> str:  # fmt: skip
    """Return the SELECT that merges the partial states of a few messages, and their bits.

    It does what FINAL does for a whole table; but here `prewhere` and `where` are tested on the key
    first, and only what they leave is read. It has one row per key, and all folds unless only some
    are asked for (`possible_folds`).
    """
    before = f"PREWHERE {prewhere} " if prewhere else ""
    merged = (fold.merged for fold in folds or log.folds)
    columns = ", ".join([*KEY, *merged, MERGED_PRESENCE])
    return (
        f"SELECT {columns} FROM {source} AS part {before}WHERE {where} GROUP BY {', '.join(KEY)}"
        f" SETTINGS prefer_column_name_to_alias = 1, {ALL_CORES}"
    )


def log_select(log: Projection, source: str) -> str:
    """Return the SELECT of a log's rows, of the states of `source` (a table with FINAL, say)."""
    return f"{message_select(log, source)} WHERE NOT {log.hidden.sql}"


def message_select(log: Projection, source: str, more: Mapping[str, str] | None = None) -> str:
    """Return the SELECT of a log's columns of all states of `source`, also of those it hides.

    `more` are other columns of a state, by name, in SQL.
    """
    named = [named_column(name, column) for name, column in log.columns.items()]
    named += [f"{sql} AS {name}" for name, sql in (more or {}).items()]
    columns = ", ".join(named)
    derived = ", ".join(f"{step.sql} AS {name}" for name, step in derived_columns(log).items())
    return f"SELECT {columns} FROM (SELECT *, {derived} FROM {source})"


def named_column(name: str, expression: Expression) -> str:
    """Return an expression of a SELECT by the name of a column, with the type that it declares."""
    if base_type(expression.kind) == BOOL:
        return f"CAST({expression.sql}, '{expression.kind}') AS {name}"
    return name if expression.sql == name else f"{expression.sql} AS {name}"


def computed_columns(log: Projection) -> dict[str, str]:
    """Return the columns of a table of states that the engine makes of the others, by name."""
    return {**_COMPUTED_COLUMNS, PRESENCE: presence_column(log)}


def state_table(log: Projection, target: Target, name: str) -> str:
    """Return the statement that creates a table of partial states."""
    columns = ", ".join(
        [_KEY_DDL, *(fold.ddl for fold in log.folds), *computed_columns(log).values()]
    )
    columns += f", INDEX {DATE_INDEX}"
    return (
        f"CREATE TABLE IF NOT EXISTS {name}{target.on_cluster} ({columns}) "
        f"ENGINE = {target.engine('AggregatingMergeTree')} ORDER BY ({', '.join(KEY)}) "
        f"SETTINGS {_STATE_SETTINGS} "
        f"COMMENT {quote('partial states of ' + log.name + '; read the view instead')}"
    )


def folding_view(log: Projection, target: Target, name: str, into: str) -> str:
    """Return the statement that folds every insert into `events` into the state table `into`."""
    select = fold_select(log, target.stored("events"))
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name}{target.on_cluster} TO {into} AS {select}"


def record_index_table(target: Target) -> str:
    """Return the statement that creates the index of messages by customer record."""
    return (
        f"CREATE TABLE IF NOT EXISTS {target.stored(RECORD_INDEX_TABLE)}{target.on_cluster} "
        "(tenant_id LowCardinality(String), channel LowCardinality(String), record_id String, "
        f"recipient String, {KEY_HASH} UInt64 CODEC(NONE)) "
        f"ENGINE = {target.engine('ReplacingMergeTree')} "
        f"ORDER BY (tenant_id, channel, record_id, recipient, {KEY_HASH}) "
        "COMMENT 'which messages facts say to be about a record'"
    )


def record_index_view(target: Target) -> str:
    """Return the statement that indexes every insert into `events` by customer record."""
    view = f"{target.database}.{RECORD_INDEX_VIEW}{target.on_cluster}"
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view} "
        f"TO {target.stored(RECORD_INDEX_TABLE)} AS SELECT tenant_id, channel, "
        # As a log shows it: what it keeps has no zero bytes.
        r"replaceAll(fact.record_id, '\0', '') AS record_id, recipient, "
        f"{KEY_HASH_SQL} AS {KEY_HASH} "
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
        f"ORDER BY ({', '.join(table.order_by)}) "
        f"SETTINGS index_granularity = {table.index_granularity} "
        f"COMMENT {quote(UNFILLED if table.fill else table.comment)}"
    )


def filling_view(table: Table, fill: Fill, target: Target) -> str:
    """Return the statement that creates the view which fills a table from every insert."""
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {target.database}.{table.name}_fill"
        f"{target.on_cluster} TO {target.stored(table.name)} "
        f"AS {fill.sql(target.stored('events'))}"
    )


def distributed_table(name: str, target: Target, shard_key: str) -> Iterator[str]:
    """Yield the statement that creates the table over the stored ones of a cluster, if any."""
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
    yield f"CREATE DATABASE IF NOT EXISTS {target.database}{target.on_cluster}"
    for table in tables().values():
        yield plain_table(table, target)
        stored = f"{target.stored(table.name)}{target.on_cluster}"
        settings = ", ".join(filter(None, [_PART_SETTING, table.settings]))
        yield f"ALTER TABLE {stored} MODIFY SETTING {settings}"
        by_place = f"cityHash64({', '.join(table.shard_by or table.order_by)})"
        shard_key = SHARD_KEY if "recipient" in table.columns else by_place
        yield from distributed_table(table.name, target, shard_key)
    yield record_index_table(target)
    yield from distributed_table(RECORD_INDEX_TABLE, target, SHARD_KEY)
    for log in projections().values():
        states = target.stored(log.state_table)
        yield state_table(log, target, states)
        changes = [f"MODIFY SETTING {_BLOCK_SETTING}"]
        changes += [
            f"MODIFY COLUMN IF EXISTS {fold.ddl}" for fold in log.folds if fold.uncompressed
        ]
        for change in changes:
            yield f"ALTER TABLE {states}{target.on_cluster} {change}"
        yield from distributed_table(log.state_table, target, SHARD_KEY)


def view_statements(target: Target) -> Iterator[str]:
    """Yield the statements that create or renew the views, whose tables have all their columns."""
    yield record_index_view(target)
    for table in tables().values():
        if table.fill:
            yield filling_view(table, table.fill, target)
            yield (
                f"ALTER TABLE {target.database}.{table.name}_fill{target.on_cluster} "
                f"MODIFY QUERY {table.fill.sql(target.stored('events'))}"
            )
    for log in projections().values():
        states, view = log.state_table, f"{target.database}.{log.name}"
        yield folding_view(log, target, f"{view}_fold", target.stored(states))
        # The same statement changes nothing; a changed fold takes effect from the next insert on.
        yield (
            f"ALTER TABLE {view}_fold{target.on_cluster} "
            f"MODIFY QUERY {fold_select(log, target.stored('events'))}"
        )
        yield (
            f"CREATE OR REPLACE VIEW {view}{target.on_cluster} AS "
            f"{log_select(log, f'{target.database}.{states} FINAL')}"
        )
    for declared in views().values():
        select = declared.select.replace("{database}", target.database).strip()
        yield (
            f"CREATE OR REPLACE VIEW {target.database}.{declared.name}{target.on_cluster} "
            f"AS {select} COMMENT {quote(declared.comment)}"
        )
