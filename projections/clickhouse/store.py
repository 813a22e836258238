"""Writing to ClickHouse, and what its errors mean for the one who writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from projections.clickhouse.client import (
    BadRowsError,
    FatalError,
    MemoryLimitError,
    classified_errors,
)
from projections.column_types import base_type, declared_type
from projections.tables import Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


#: After so many refused rows, with none accepted, the cause is not in the rows.
MAX_REFUSED_ROWS: Final = 50

_ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "String": pa.binary(),  # ClickHouse's String is bytes: a dead letter need not be UTF-8
    "Bool": pa.bool_(),
    "UInt16": pa.uint16(),
    "UInt64": pa.uint64(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "DateTime64(3, 'UTC')": pa.timestamp("ms", tz="UTC"),
    "Array(String)": pa.list_(pa.binary()),
    "Map(String, String)": pa.map_(pa.binary(), pa.binary()),
    "Array(Tuple(name String, value Nullable(String)))": pa.list_(
        pa.struct([("name", pa.binary()), ("value", pa.binary())])
    ),
}
#: What an acknowledged insert means must not depend on a server's version or its users' profiles.
_INSERT_SETTINGS: Final = {
    # Written, not queued; and if a profile insists on the queue, acknowledged when written.
    "async_insert": 0,
    "wait_for_async_insert": 1,
    # A fold that fails is an error: else the events are there and the log has not heard of them.
    "materialized_views_ignore_errors": 0,
    # A retry repeats a whole insert: a server that dropped it as a copy would skip the folds too.
    "insert_deduplicate": 0,
    # Else a shard inserts into its own table what it has selected: a new address moves a row.
    "parallel_distributed_insert_select": 0,
    # Each block is folded already; folding it again before it is written gains nothing (E-027).
    "optimize_on_insert": 0,
    # The folds of the logs run side by side (E-028).
    "parallel_view_processing": 1,
}
#: Settings that not every supported version has; the later one replaces `insert_deduplicate`.
_NEWER_INSERT_SETTINGS: Final = {"deduplicate_insert": "disable"}


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table's inserted columns, in their order."""
    return pa.schema(
        [
            (name, _ARROW_TYPES[base_type(declared_type(declaration))])
            for name, declaration in table.columns.items()
        ]
    )


#: Inserts rows into a table.
Insert = Callable[[Table, pa.Table], None]


class Store:
    """A database to write to, connected at the first write."""

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._client = cache(connect)
        self._database = database

    def insert(self, table: Table, rows: pa.Table) -> None:
        """Insert rows, in halves if they are too many for the database's memory.

        Raises as `insert_rows` and `connect` do; `MemoryLimitError` if one row alone is too much.
        """
        try:
            insert_rows(self._client(), self._database, table, rows)
        except MemoryLimitError:
            if rows.num_rows <= 1:
                raise
            half = rows.num_rows // 2
            for part in (rows.slice(0, half), rows.slice(half)):
                self.insert(table, part)


def insert_rows(client: Client, database: str, table: Table, rows: pa.Table) -> None:
    """Insert rows that have the table's `arrow_schema`; returns when they are queryable.

    Raises `TransientError`, `FatalError` or `BadRowsError`; then some of the rows may have landed,
    and writing all of them again does no harm.
    """
    with classified_errors():
        # The engine makes a block of each chunk.
        client.insert_arrow(
            table.name, rows.combine_chunks(), database=database, settings=insert_settings(client)
        )


def insert_settings(client: Client) -> dict[str, Any]:
    """Return the settings of an insert that is acknowledged when it and its folds are written.

    By the shard key, and on its shard: also what is selected and inserted by one statement.
    """
    newer = {
        name: value
        for name, value in _NEWER_INSERT_SETTINGS.items()
        if name in client.server_settings
    }
    return _INSERT_SETTINGS | newer


def isolate_bad_rows(rows: pa.Table, write: Callable[[pa.Table], None]) -> list[tuple[int, str]]:
    """Write a refused batch in halves, down to single rows.

    Returns the position and reason of each row for which `write` raises `BadRowsError`. Raises
    `FatalError` if all rows are refused, or `MAX_REFUSED_ROWS` before one is accepted.
    """
    refused: list[tuple[int, str]] = []
    accepted = 0
    waiting = [(0, rows)]
    while waiting:
        start, part = waiting.pop()
        try:
            write(part)
            accepted += part.num_rows
        except BadRowsError as error:
            if part.num_rows > 1:
                half = part.num_rows // 2
                waiting += [(start + half, part.slice(half)), (start, part.slice(0, half))]
                continue
            refused.append((start, str(error)))
            everything = len(refused) == rows.num_rows > 1
            if not accepted and (everything or len(refused) >= MAX_REFUSED_ROWS):
                count = f"{len(refused)} of {rows.num_rows}"
                raise FatalError(f"{count} rows are refused, and none is taken: {error}") from error
    return refused
